/* carry_test -- rows carried from a gateway's ledger into the home site's: all of them, once, whatever is said twice. */
#include "../test.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "ledger/admin.h"
#include "ledger/carry.h"

#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

enum { ROWS = 40 };
static char door[64], home[64];

static int64_t now(void)
{
    return clock_wall_ns() / 1000000;
}

static void make_dir(char out[64])
{
    snprintf(out, 64, "/tmp/tw_carry_XXXXXX");
    CHECK(mkdtemp(out) != NULL);
}

static void remove_dir(const char *dir)
{
    static const char *const files[] = { "ledger.db", "ledger.db-wal", "ledger.db-shm" };
    char path[128];
    for (size_t i = 0; i < MEM_COUNT(files); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

static struct store *open_store(const char *dir)
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

static int64_t one(const char *dir, const char *sql)
{
    struct store *s = open_store(dir);
    int64_t n = -1;
    CHECK_INT(store_int(s, sql, NULL, -1, &n, NULL), ERR_OK);
    store_close(s);
    return n;
}

/* A ledger in `door` with a tenant, a team, a key and ROWS settled requests. */
static void fill(void)
{
    char key[LEDGER_KEY_CHARS + 1];
    int64_t tenant, team, id;
    struct store *s = open_store(door);
    struct err e = { 0 };
    struct price p = { 150000000, 75000000, 600000000 };
    CHECK_INT(admin_tenant_add(s, "clinic", 3, now(), &tenant, &e), ERR_OK);
    CHECK_INT(admin_team_need(s, tenant, "radiology", now(), &team, &e), ERR_OK);
    struct admin_key k = { .tenant = tenant, .team = team, .name = "first", .models = "", .role = LEDGER_USER };
    CHECK_INT(admin_key_add(s, &k, now(), key, &id, &e), ERR_OK);
    CHECK_INT(admin_price_set(s, "*", 0, &p, "list", &e), ERR_OK);
    store_close(s);
    struct ledger *l;
    CHECK_INT(ledger_open(door, "DE", now(), &l, &e), ERR_OK);
    const struct ledger_key *found;
    CHECK_INT(ledger_key_lookup(l, key, LEDGER_KEY_CHARS, now(), &found), LEDGER_FOUND);
    for (int i = 0; i < ROWS; i++) {
        char name[32];
        uint8_t hash[LEDGER_HASH_BYTES] = { (uint8_t)i, 0xAB };
        snprintf(name, sizeof name, "r-%d", i);
        struct ledger_ask ask = { .key = i % 2 ? found : NULL, .model = "m", .request_id = name, .prompt_tokens = 100,
                                  .output_tokens = 50 };
        struct ledger_answer a;
        ledger_admit(l, &ask, now(), &a);
        CHECK_INT(a.verdict, LEDGER_ADMITTED);
        struct ledger_use u = { .prompt_tokens = 100 + i, .cached_tokens = 10, .output_tokens = 7, .queue_us = 3,
                                .decode_us = 1000, .energy_mj = 5, .finish = "stop",
                                .receipt_hash = i % 3 ? hash : NULL };
        ledger_settle(l, a.ticket, &u, now(), NULL, NULL);
    }
    ledger_close(l);
}

static void carried_once(void)
{
    struct carry *from, *to;
    struct err e = { .text = "" };
    int fresh_rows = 0;
    make_dir(door);
    make_dir(home);
    fill();
    CHECK_INT(carry_open(door, false, now(), &from, &e), ERR_OK);
    CHECK_INT(carry_open(home, true, now(), &to, &e), ERR_OK);
    for (int round = 0; round < 2; round++) {
        uint64_t at = 0;
        char id[LEDGER_REQUEST_ID_MAX + 1], want[32];
        for (int i = 0; i < ROWS; i++) {
            struct buf json = { 0 };
            bool fresh = false;
            snprintf(want, sizeof want, "r-%d", i);
            CHECK_INT(carry_next(from, at, &at, id, &json, &e), ERR_OK);
            CHECK_STR(id, want);
            CHECK_INT(carry_take(to, buf_str(&json), json.len, now(), &fresh, &e), ERR_OK);
            fresh_rows += fresh;
            buf_release(&json);
        }
        CHECK_INT(carry_next(from, at, &at, id, &(struct buf){ 0 }, &e), ERR_NOT_FOUND);
    }
    CHECK_INT(fresh_rows, ROWS);
    carry_close(from);
    carry_close(to);
}

/* Every sum is the same in both books, by tenant and team too. */
static void same_sums(void)
{
    static const char *const sums[] = {
        "SELECT count(*) FROM usage", "SELECT sum(prompt) FROM usage", "SELECT sum(cached * 3 + output) FROM usage",
        "SELECT sum(cost_micros) FROM usage", "SELECT sum(energy_mj) FROM usage", "SELECT sum(settled_ms) FROM usage",
        "SELECT sum(queue_us + decode_us) FROM usage", "SELECT count(receipt) FROM usage",
        "SELECT sum(requests * 7 + prompt + cost_micros) FROM daily",
        "SELECT count(*) FROM usage u JOIN tenant t ON t.id = u.tenant WHERE t.name = 'clinic'",
        "SELECT count(*) FROM usage u JOIN team t ON t.id = u.team WHERE t.name = 'radiology'",
        "SELECT count(*) FROM usage WHERE jurisdiction = 'DE' AND finish = 'stop'",
    };
    for (size_t i = 0; i < MEM_COUNT(sums); i++)
        CHECK_INT(one(home, sums[i]), one(door, sums[i]));
    CHECK_INT(one(home, sums[9]), ROWS / 2);
    CHECK(one(home, sums[3]) > 0);
    struct admin_check check;
    struct store *s = open_store(home);
    CHECK_INT(admin_verify(s, &check, NULL), ERR_OK);
    CHECK_INT(check.wrong, 0);
    store_close(s);
}

/* What is no row changes nothing. */
static void hostile(void)
{
    static const char *const bad[] = {
        "", "[]", "{}", "{\"v\":2,\"request_id\":\"a\",\"tenant\":\"t\",\"model\":\"m\"}",
        "{\"v\":1,\"tenant\":\"t\",\"model\":\"m\"}", "{\"v\":1,\"request_id\":\"a\",\"tenant\":7,\"model\":\"m\"}",
        "{\"v\":1,\"request_id\":\"a\",\"tenant\":\"t\",\"model\":\"m\",\"prompt\":-1}",
        "{\"v\":1,\"request_id\":\"a\",\"tenant\":\"t\",\"model\":\"m\",\"cached\":1}",
        "{\"v\":1,\"request_id\":\"a\",\"tenant\":\"t\",\"model\":\"m\",\"receipt\":\"AB\"}",
        "{\"v\":1,\"request_id\":\"a\",\"tenant\":\"t\",\"model\":\"m\",\"cost_micros\":9223372036854775807}",
        "{\"v\":1,\"request_id\":\"a\",\"tenant\":\"a\\nb\",\"model\":\"m\"}",
    };
    struct carry *to;
    struct err e = { .text = "" };
    CHECK_INT(carry_open(home, true, now(), &to, &e), ERR_OK);
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        bool fresh = false;
        enum err_code c = carry_take(to, bad[i], strlen(bad[i]), now(), &fresh, &e);
        if (!c)
            printf("# taken: %s\n", bad[i]);
        CHECK(c != ERR_OK && !fresh && e.text[0]);
    }
    carry_close(to);
    CHECK_INT(one(home, "SELECT count(*) FROM usage"), ROWS);
    remove_dir(door);
    remove_dir(home);
}

int main(void)
{
    RUN(carried_once);
    RUN(same_sums);
    RUN(hostile);
    DONE();
}
