/* ledger_test -- the whole ledger on a real file: keys, admission and settlement, what comes back after a restart, what
 * the commands change under a running server, exports that sum up. */
#include "../test.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "base/sha256.h"
#include "ledger/admin.h"
#include "ledger/ledger.h"
#include "ledger/report.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

static char dir[64];

static int64_t now(void)
{
    return clock_wall_ns() / 1000000;
}

static void fresh_dir(void)
{
    snprintf(dir, sizeof dir, "/tmp/tw_ledger_XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
}

static void remove_dir(void)
{
    static const char *const files[] = { "ledger.db", "ledger.db-wal", "ledger.db-shm", "out.csv" };
    char path[128];
    for (size_t i = 0; i < MEM_COUNT(files); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

static struct ledger *open_ledger(void)
{
    struct ledger *l = NULL;
    struct err e;
    if (ledger_open(dir, "DE", now(), &l, &e)) {
        printf("# %s\n", e.text);
        CHECK(!"opened");
        exit(1);
    }
    return l;
}

static struct store *open_store(void)
{
    struct store *s = NULL;
    struct err e;
    char *path = store_path(dir);
    if (store_open(path, true, now(), &s, &e)) {
        printf("# %s\n", e.text);
        exit(1);
    }
    mem_free(path);
    return s;
}

/* A tenant with one key; 150/75/600 micro-units for a million tokens of any model... times a million. */
static void set_up(char key[LEDGER_KEY_CHARS + 1], int64_t *tenant, const char *models)
{
    struct store *s = open_store();
    struct err e = { 0 };
    int64_t id;
    struct price p = { 150000000, 75000000, 600000000 };
    CHECK_INT(admin_tenant_add(s, "clinic", 3, now(), tenant, &e), ERR_OK);
    int64_t team = 0;
    CHECK_INT(admin_team_need(s, *tenant, "radiology", now(), &team, &e), ERR_OK);
    struct admin_key k = { .tenant = *tenant, .team = team, .name = "first", .models = models, .role = LEDGER_USER };
    CHECK_INT(admin_key_add(s, &k, now(), key, &id, &e), ERR_OK);
    CHECK_INT(admin_price_set(s, "*", 0, &p, "list", &e), ERR_OK);
    store_close(s);
}

static void wait_rows(struct ledger *l, int64_t rows)
{
    struct ledger_stats st;
    for (int i = 0; i < 500; i++) {
        struct pollfd p = { .fd = ledger_fd(l), .events = POLLIN };
        ledger_poll(l, now());
        ledger_get_stats(l, &st);
        if (st.rows + st.duplicates >= rows)
            return;
        poll(&p, 1, 20);
    }
    CHECK(!"rows became durable in time");
}

static int done_count;
static int64_t done_cost;
static void done(void *arg, int64_t cost)
{
    done_count++;
    done_cost += cost;
    CHECK(arg == &done_count);
}

static int64_t use(struct ledger *l, const struct ledger_key *k, const char *id, int64_t prompt, int64_t cached,
                   int64_t output)
{
    struct ledger_ask ask = { .key = k, .model = "m", .request_id = id, .prompt_tokens = prompt, .output_tokens = output };
    struct ledger_answer a;
    ledger_admit(l, &ask, now(), &a);
    CHECK_INT(a.verdict, LEDGER_ADMITTED);
    if (a.verdict != LEDGER_ADMITTED)
        return -1;
    struct ledger_use u = { .prompt_tokens = prompt, .cached_tokens = cached, .output_tokens = output,
                            .energy_mj = 2500, .energy_modelled = true, .finish = "stop" };
    return ledger_settle(l, a.ticket, &u, now(), done, &done_count);
}

static void keys_are_found_by_hash(void)
{
    fresh_dir();
    char key[LEDGER_KEY_CHARS + 1], other[LEDGER_KEY_CHARS + 1];
    uint8_t hash[32], again[32];
    int64_t tenant;
    set_up(key, &tenant, "m,other-model");
    CHECK_INT(strlen(key), 46);
    CHECK(!strncmp(key, "tw-", 3));
    CHECK(strspn(key + 3, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == 43);
    ledger_key_make(other, hash);
    CHECK(strcmp(key, other) != 0);
    CHECK(ledger_key_hash(other, 46, again) && !memcmp(hash, again, 32));
    sha256_of(other, 46, again);
    CHECK(!memcmp(hash, again, 32));
    struct ledger *l = open_ledger();
    const struct ledger_key *k = NULL;
    CHECK(ledger_has_keys(l));
    CHECK_INT(ledger_key_lookup(l, key, 46, now(), &k), LEDGER_FOUND);
    CHECK(k && !strcmp(k->tenant, "clinic") && !strcmp(k->team, "radiology") && k->weight == 3);
    CHECK(k && ledger_key_may_use(k, "m") && ledger_key_may_use(k, "other-model"));
    CHECK(k && !ledger_key_may_use(k, "other") && !ledger_key_may_use(k, "model"));
    CHECK_INT(ledger_key_lookup(l, other, 46, now(), &k), LEDGER_UNKNOWN);
    CHECK_INT(ledger_key_lookup(l, key, 45, now(), &k), LEDGER_MALFORMED);
    CHECK_INT(ledger_key_lookup(l, "sk-", 3, now(), &k), LEDGER_MALFORMED);
    struct ledger_ask ask = { .key = k, .model = "forbidden", .request_id = "r" };
    struct ledger_answer a;
    ledger_admit(l, &ask, now(), &a);
    CHECK_INT(a.verdict, LEDGER_FORBIDDEN);
    CHECK_INT(a.ticket, -1);
    ledger_close(l);
    /* the key itself is nowhere in the file */
    struct buf b = { 0 };
    char *path = store_path(dir);
    file_read(path, 1 << 24, &b, NULL);
    CHECK(b.len > 0 && !memmem(b.data, b.len, key + 12, 20));
    mem_free(path);
    buf_release(&b);
    remove_dir();
}

static void rows_counters_and_export_agree(void)
{
    fresh_dir();
    char key[LEDGER_KEY_CHARS + 1];
    int64_t tenant;
    set_up(key, &tenant, "");
    struct ledger *l = open_ledger();
    const struct ledger_key *k = NULL;
    ledger_key_lookup(l, key, 46, now(), &k);
    struct rng r = { .seed = 1 };
    int64_t cost = 0, prompt = 0, output = 0;
    done_count = 0;
    done_cost = 0;
    for (int i = 0; i < 500; i++) {
        char id[32];
        snprintf(id, sizeof id, "req-%d", i);
        int64_t p = (int64_t)rng_below(&r, 3000), c = (int64_t)rng_below(&r, (uint64_t)p + 1);
        int64_t o = (int64_t)rng_below(&r, 900);
        cost += use(l, k, id, p, c, o);
        prompt += p;
        output += o;
    }
    wait_rows(l, 500);
    CHECK_INT(done_count, 500);
    CHECK(done_cost == cost);
    ledger_close(l);
    struct store *s = open_store();
    struct admin_check check;
    CHECK_INT(admin_verify(s, &check, NULL), ERR_OK);
    CHECK_INT(check.rows, 500);
    CHECK_INT(check.requests, 500);
    CHECK(check.cost_micros == cost);
    CHECK_INT(check.wrong, 0);
    char path[128];
    snprintf(path, sizeof path, "%s/out.csv", dir);
    FILE *f = fopen(path, "w+");
    struct report_export sums;
    struct report_range all = { 0, INT64_MAX / 2, 0 };
    CHECK_INT(report_focus(s, &all, "us", f, &sums, NULL), ERR_OK);
    CHECK(sums.cost_micros == cost && sums.prompt == prompt && sums.output == output && sums.rows == 500);
    CHECK_INT(sums.energy_mj, 500 * 2500);
    fclose(f);
    /* one sum off by one is noticed */
    CHECK_INT(store_exec(s, "UPDATE daily SET output = output + 1", NULL), ERR_OK);
    CHECK_INT(admin_verify(s, &check, NULL), ERR_OK);
    CHECK_INT(check.wrong, 2);
    store_close(s);
    remove_dir();
}

static void a_request_id_is_billed_once(void)
{
    fresh_dir();
    char key[LEDGER_KEY_CHARS + 1];
    int64_t tenant;
    set_up(key, &tenant, "");
    struct ledger *l = open_ledger();
    const struct ledger_key *k = NULL;
    ledger_key_lookup(l, key, 46, now(), &k);
    int64_t once = use(l, k, "same", 100, 0, 10);
    CHECK(use(l, k, "same", 100, 0, 10) == once);
    wait_rows(l, 2);
    struct ledger_stats st;
    ledger_get_stats(l, &st);
    CHECK_INT(st.rows, 1);
    CHECK_INT(st.duplicates, 1);
    ledger_close(l);
    l = open_ledger(); /* and after a restart */
    ledger_key_lookup(l, key, 46, now(), &k);
    use(l, k, "same", 100, 0, 10);
    wait_rows(l, 1);
    ledger_get_stats(l, &st);
    CHECK_INT(st.duplicates, 1);
    ledger_close(l);
    struct store *s = open_store();
    struct admin_check check;
    CHECK_INT(admin_verify(s, &check, NULL), ERR_OK);
    CHECK_INT(check.rows, 1);
    CHECK(check.cost_micros == once);
    store_close(s);
    remove_dir();
}

static void limits_hold_over_a_restart(void)
{
    fresh_dir();
    char key[LEDGER_KEY_CHARS + 1];
    int64_t tenant;
    set_up(key, &tenant, "");
    struct store *s = open_store();
    CHECK_INT(admin_limit_set(s, LEDGER_TENANT, tenant, LEDGER_MONTH_TOKENS, 1000, NULL), ERR_OK);
    store_close(s);
    struct ledger *l = open_ledger();
    const struct ledger_key *k = NULL;
    ledger_key_lookup(l, key, 46, now(), &k);
    use(l, k, "a", 600, 0, 100);
    wait_rows(l, 1);
    ledger_close(l);
    l = open_ledger();
    ledger_key_lookup(l, key, 46, now(), &k);
    struct ledger_ask ask = { .key = k, .model = "m", .request_id = "b", .prompt_tokens = 0, .output_tokens = 200 };
    struct ledger_answer a;
    ledger_admit(l, &ask, now(), &a);
    CHECK_INT(a.verdict, LEDGER_ADMITTED);
    CHECK_INT(a.allowance_tokens, 300);
    struct ledger_answer b;
    ledger_revise(l, a.ticket, 101, 200, now(), &b); /* the prompt makes it too much */
    CHECK_INT(b.verdict, LEDGER_LIMITED);
    CHECK_INT(b.limit, LEDGER_MONTH_TOKENS);
    CHECK_INT(b.scope, LEDGER_TENANT);
    CHECK(b.retry_after_s > 0 && strstr(b.message, "clinic"));
    ledger_revise(l, a.ticket, 100, 200, now(), &b);
    CHECK_INT(b.verdict, LEDGER_ADMITTED);
    ledger_abandon(l, a.ticket, now());
    ask.output_tokens = 1001;
    ledger_admit(l, &ask, now(), &a);
    CHECK_INT(a.verdict, LEDGER_TOO_LARGE);
    CHECK_INT(a.retry_after_s, 0);
    ledger_close(l);
    remove_dir();
}

static void commands_reach_a_running_server(void)
{
    fresh_dir();
    struct ledger *l = open_ledger();
    CHECK(!ledger_has_keys(l));
    use(l, NULL, "anonymous", 10, 0, 10); /* booked on "local" */
    char key[LEDGER_KEY_CHARS + 1];
    int64_t tenant, id;
    set_up(key, &tenant, "");
    const struct ledger_key *k = NULL;
    for (int i = 0; i < 150 && !ledger_has_keys(l); i++) {
        usleep(20000);
        ledger_poll(l, now());
    }
    CHECK_INT(ledger_key_lookup(l, key, 46, now(), &k), LEDGER_FOUND);
    struct ledger_ask ask = { .key = k, .model = "m", .request_id = "in flight", .output_tokens = 5 };
    struct ledger_answer a;
    ledger_admit(l, &ask, now(), &a);
    struct store *s = open_store();
    CHECK_INT(admin_key_find(s, key, &id, NULL), ERR_OK);
    CHECK_INT(admin_key_revoke(s, id, now(), NULL), ERR_OK);
    CHECK_INT(admin_key_revoke(s, id, now(), NULL), ERR_INVALID);
    store_close(s);
    for (int i = 0; i < 150 && ledger_key_lookup(l, key, 46, now(), &k) == LEDGER_FOUND; i++) {
        usleep(20000);
        ledger_poll(l, now());
    }
    CHECK_INT(ledger_key_lookup(l, key, 46, now(), &k), LEDGER_REVOKED);
    struct ledger_use u = { .output_tokens = 5 };
    ledger_settle(l, a.ticket, &u, now(), NULL, NULL); /* what was running is still booked */
    wait_rows(l, 2);
    ledger_close(l);
    remove_dir();
}

static void an_erased_tenant_leaves_nothing(void)
{
    fresh_dir();
    char key[LEDGER_KEY_CHARS + 1];
    int64_t tenant, rows;
    set_up(key, &tenant, "");
    struct ledger *l = open_ledger();
    const struct ledger_key *k = NULL;
    ledger_key_lookup(l, key, 46, now(), &k);
    for (int i = 0; i < 50; i++) {
        char id[40];
        snprintf(id, sizeof id, "patient-%d", i);
        use(l, k, id, 10, 0, 10);
    }
    use(l, NULL, "kept", 1, 0, 1);
    wait_rows(l, 51); /* and it keeps running */
    struct store *s = open_store();
    CHECK_INT(admin_tenant_erase(s, 1, now(), NULL), ERR_INVALID);
    CHECK_INT(admin_tenant_erase(s, tenant, now(), NULL), ERR_OK);
    struct admin_check check;
    CHECK_INT(admin_verify(s, &check, NULL), ERR_OK);
    CHECK_INT(check.rows, 1);
    CHECK_INT(check.requests, 51); /* the sums stay */
    CHECK_INT(check.wrong, 0);
    CHECK_INT(admin_purge(s, meter_day(now()) + 1, &rows, NULL), ERR_OK);
    CHECK_INT(rows, 1);
    CHECK_INT(admin_verify(s, &check, NULL), ERR_OK);
    CHECK_INT(check.wrong, 0);
    store_close(s);
    static const char *const files[] = { "ledger.db", "ledger.db-wal" };
    for (size_t i = 0; i < MEM_COUNT(files); i++) {
        struct buf b = { 0 };
        char path[128];
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        if (!access(path, F_OK))
            CHECK_INT(file_read(path, 1 << 26, &b, NULL), ERR_OK);
        CHECK(!b.len || (!memmem(b.data, b.len, "patient", 7) && !memmem(b.data, b.len, "clinic", 6)));
        CHECK(!b.len || !memmem(b.data, b.len, "radiology", 9));
        buf_release(&b);
    }
    use(l, NULL, "later", 1, 0, 1);
    wait_rows(l, 52);
    for (int i = 0; i < 150 && ledger_key_lookup(l, key, 46, now(), &k) == LEDGER_FOUND; i++) {
        usleep(20000);
        ledger_poll(l, now());
    }
    CHECK_INT(ledger_key_lookup(l, key, 46, now(), &k), LEDGER_UNKNOWN);
    ledger_close(l);
    remove_dir();
}

static void headers(void)
{
    struct ledger_answer a = { .retry_after_s = 7, .requests = { 60, 12, 48000 }, .tokens = { 1000, 0, 61500 } };
    struct buf b = { 0 };
    ledger_rate_headers(&a, &b);
    CHECK_STR(buf_str(&b),
        "x-ratelimit-limit-requests: 60\r\nx-ratelimit-remaining-requests: 12\r\nx-ratelimit-reset-requests: 48s\r\n"
        "x-ratelimit-limit-tokens: 1000\r\nx-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 1m2s\r\n"
        "RateLimit-Policy: \"requests\";q=60;w=60, \"tokens\";q=1000;w=60\r\n"
        "RateLimit: \"requests\";r=12;t=48, \"tokens\";r=0;t=62\r\nRetry-After: 7\r\n");
    buf_clear(&b);
    struct ledger_use u = { .prompt_tokens = 12, .cached_tokens = 8, .output_tokens = 5, .queue_us = 1999,
                            .prefill_us = 20000, .decode_us = 300500, .kv_page_ms = 1250, .energy_mj = 7003,
                            .energy_modelled = true };
    ledger_usage_header(&u, 1500001, &b);
    CHECK_STR(buf_str(&b), "prompt=12, cached=8, output=5, queue-ms=1, prefill-ms=20, decode-ms=300, kv-page-s=1.250, "
                           "energy-j=7.003;modelled, cost=1.500001");
    buf_release(&b);
}

/* L3: when the disk keeps nothing, admission stops before the queue is full; nothing settled is lost or waits. */
static void a_stuck_disk_stops_admission(void)
{
    fresh_dir();
    struct ledger *l = open_ledger();
    struct store *s = open_store();
    CHECK_INT(store_exec(s, "BEGIN IMMEDIATE", NULL), ERR_OK); /* nobody else can write */
    struct ledger_answer a = { .verdict = LEDGER_ADMITTED };
    int admitted = 0;
    for (; admitted <= LEDGER_IN_FLIGHT_MAX; admitted++) {
        char id[32];
        snprintf(id, sizeof id, "stuck-%d", admitted);
        struct ledger_ask ask = { .model = "m", .request_id = id };
        ledger_admit(l, &ask, now(), &a);
        if (a.verdict != LEDGER_ADMITTED)
            break;
        struct ledger_use u = { .output_tokens = 1 };
        ledger_settle(l, a.ticket, &u, now(), NULL, NULL);
    }
    CHECK_INT(admitted, LEDGER_IN_FLIGHT_MAX);
    CHECK_INT(a.verdict, LEDGER_BUSY);
    CHECK(a.retry_after_s >= 1 && a.ticket == -1);
    CHECK_INT(store_exec(s, "ROLLBACK", NULL), ERR_OK);
    store_close(s);
    wait_rows(l, LEDGER_IN_FLIGHT_MAX);
    struct ledger_ask ask = { .model = "m", .request_id = "again" };
    ledger_admit(l, &ask, now(), &a);
    CHECK_INT(a.verdict, LEDGER_ADMITTED);
    ledger_abandon(l, a.ticket, now());
    ledger_close(l);
    remove_dir();
}

static void joules_reach_the_row(void)
{
    fresh_dir();
    struct ledger *l = open_ledger();
    struct ledger_ask one = { .model = "m", .request_id = "one" }, two = { .model = "m", .request_id = "two" };
    struct ledger_answer a, b;
    ledger_admit(l, &one, now(), &a);
    ledger_admit(l, &two, now(), &b);
    ledger_worked(l, a.ticket, 300);
    ledger_worked(l, b.ticket, 100);
    ledger_energy(l, 8000, true);
    struct ledger_use u = { .prompt_tokens = 1, .energy_mj = -1 }, v = { .prompt_tokens = 1, .energy_mj = -1 };
    ledger_settle(l, a.ticket, &u, now(), NULL, NULL);
    ledger_settle(l, b.ticket, &v, now(), NULL, NULL);
    CHECK_INT(u.energy_mj, 6000);
    CHECK_INT(v.energy_mj, 2000);
    CHECK(u.energy_modelled);
    ledger_energy(l, 77, true);
    struct ledger_stats st;
    ledger_get_stats(l, &st);
    CHECK_INT(st.idle_mj, 77);
    ledger_close(l);
    struct store *s = open_store();
    int64_t sum = 0;
    CHECK_INT(store_int(s, "SELECT sum(energy_mj * energy_modelled) FROM usage", NULL, 0, &sum, NULL), ERR_OK);
    CHECK_INT(sum, 8000);
    store_close(s);
    remove_dir();
}

static void retention_is_kept_while_serving(void)
{
    fresh_dir();
    struct ledger *l = open_ledger();
    int64_t rows = -1, long_ago = now() - (int64_t)40 * 86400000;
    struct ledger_ask ask = { .model = "m", .request_id = "old" };
    struct ledger_answer a;
    struct ledger_use u = { .prompt_tokens = 5 };
    ledger_admit(l, &ask, long_ago, &a);
    ledger_settle(l, a.ticket, &u, long_ago, NULL, NULL);
    use(l, NULL, "new", 1, 0, 1);
    wait_rows(l, 2);
    struct store *s = open_store();
    CHECK_INT(admin_retention_set(s, -1, NULL), ERR_INVALID);
    CHECK_INT(admin_retention_set(s, 30, NULL), ERR_OK);
    CHECK_INT(admin_machine_set(s, 45500, 7000, NULL), ERR_OK);
    for (int i = 0; i < 300 && rows != 1; i++) {
        usleep(20000);
        ledger_poll(l, now());
        store_int(s, "SELECT count(*) FROM usage", NULL, 0, &rows, NULL);
    }
    CHECK_INT(rows, 1);
    CHECK_NEAR(ledger_machine(l).idle_w, 45.5, 1e-9);
    struct admin_check check;
    CHECK_INT(admin_verify(s, &check, NULL), ERR_OK);
    CHECK_INT(check.requests, 2);
    CHECK_INT(check.wrong, 0);
    store_close(s);
    ledger_close(l);
    remove_dir();
}

static void strange_files_are_refused(void)
{
    fresh_dir();
    struct ledger *l = NULL;
    struct err e;
    char *path = store_path(dir);
    CHECK_INT(file_write(path, "this is no database, it only pretends to be one", 47, NULL), ERR_OK);
    CHECK_INT(ledger_open(dir, "", now(), &l, &e), ERR_CORRUPT);
    unlink(path);
    struct store *s = open_store();
    CHECK_INT(store_exec(s, "PRAGMA user_version = 99", NULL), ERR_OK);
    store_close(s);
    CHECK_INT(ledger_open(dir, "", now(), &l, &e), ERR_UNSUPPORTED);
    CHECK(strstr(e.text, "newer"));
    CHECK_INT(ledger_open(dir, "", -1, &l, &e), ERR_INVALID);
    mem_free(path);
    remove_dir();
}

int main(void)
{
    RUN(keys_are_found_by_hash);
    RUN(rows_counters_and_export_agree);
    RUN(a_request_id_is_billed_once);
    RUN(limits_hold_over_a_restart);
    RUN(commands_reach_a_running_server);
    RUN(an_erased_tenant_leaves_nothing);
    RUN(headers);
    RUN(a_stuck_disk_stops_admission);
    RUN(joules_reach_the_row);
    RUN(retention_is_kept_while_serving);
    RUN(strange_files_are_refused);
    DONE();
}
