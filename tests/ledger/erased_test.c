/* erased_test -- rows are deleted at a gateway and at the home site: no bill is lost, none counts twice, nothing that was
 * erased comes back. */
#include "../test.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "ledger/admin.h"
#include "ledger/carry.h"

#include <stdlib.h>
#include <unistd.h>

static char dir[64];
static const int64_t DAY = 86400000;

static int64_t now(void)
{
    return clock_wall_ns() / 1000000;
}

static void fresh_dir(void)
{
    snprintf(dir, sizeof dir, "/tmp/tw_erased_XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
}

static void remove_dir(void)
{
    static const char *const files[] = { "ledger.db", "ledger.db-wal", "ledger.db-shm", CARRY_MARK_FILE };
    char path[128];
    for (size_t i = 0; i < MEM_COUNT(files); i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void mark(const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, CARRY_MARK_FILE);
    CHECK_INT(file_write(path, text, strlen(text), NULL), ERR_OK);
}

static struct store *open_store(void)
{
    struct store *s = NULL;
    char *path = store_path(dir);
    CHECK_INT(store_open(path, true, now(), &s, NULL), ERR_OK);
    mem_free(path);
    return s;
}

static struct carry *open_carry(void)
{
    struct carry *c = NULL;
    CHECK_INT(carry_open(dir, true, now(), &c, NULL), ERR_OK);
    return c;
}

/* A row comes in, as the home site takes it. */
static enum err_code put(struct carry *c, int i, const char *tenant, int64_t settled_ms, struct err *e)
{
    char json[256];
    bool fresh;
    snprintf(json, sizeof json, "{\"v\":1,\"request_id\":\"r-%d\",\"tenant\":\"%s\",\"model\":\"m\",\"prompt\":10,\"output\":2,"
             "\"cost_micros\":7,\"settled_ms\":%lld}", i, tenant, (long long)settled_ms);
    return carry_take(c, json, strlen(json), now(), &fresh, e);
}

static int64_t one(struct store *s, const char *sql)
{
    int64_t n = -1;
    CHECK_INT(store_int(s, sql, NULL, -1, &n, NULL), ERR_OK);
    return n;
}

static int64_t tenant_id(struct store *s, const char *name)
{
    int64_t id = 0;
    return admin_tenant_find(s, name, &id, NULL) ? 0 : id;
}

/* E1 */
static void no_number_is_given_twice(void)
{
    fresh_dir();
    struct carry *c = open_carry();
    struct store *s = open_store();
    char id[LEDGER_REQUEST_ID_MAX + 1];
    struct buf json = { 0 };
    uint64_t at = 0, last = 0;
    int64_t gone = 0;
    for (int i = 1; i <= 5; i++)
        CHECK_INT(put(c, i, i < 4 ? "stays" : "goes", now(), NULL), ERR_OK);
    mark("5\n");
    CHECK_INT(admin_tenant_erase(s, tenant_id(s, "goes"), now(), NULL), ERR_OK);
    CHECK_INT(one(s, "SELECT max(id) FROM usage"), 3);
    CHECK_INT(carry_last(c, &last, NULL), ERR_OK);
    CHECK_INT((int64_t)last, 5);
    CHECK_INT(put(c, 6, "stays", now(), NULL), ERR_OK);
    CHECK_INT(carry_next(c, 5, &at, id, &json, NULL), ERR_OK); /* number 4 or 5 would never have been sent */
    CHECK_STR(id, "r-6");
    CHECK_INT((int64_t)at, 6);
    mark("6\n");
    CHECK_INT(admin_purge(s, meter_day(now()) + 1, &gone, NULL), ERR_OK);
    CHECK_INT(gone, 4);
    CHECK_INT(put(c, 7, "stays", now() + 2 * DAY, NULL), ERR_OK);
    CHECK_INT(carry_next(c, 6, &at, id, &json, NULL), ERR_OK);
    CHECK_STR(id, "r-7");
    buf_release(&json);
    carry_close(c);
    store_close(s);
    remove_dir();
}

/* E2 */
static void what_was_not_sent_stays(void)
{
    fresh_dir();
    struct carry *c = open_carry();
    struct store *s = open_store();
    struct err e = { .text = "" };
    int64_t gone = -1;
    for (int i = 1; i <= 6; i++)
        CHECK_INT(put(c, i, i % 2 ? "odd" : "even", now() - 3 * DAY, NULL), ERR_OK);
    mark("what?\n"); /* nobody knows: nothing was */
    CHECK_INT(admin_purge(s, meter_day(now()), &gone, NULL), ERR_OK);
    CHECK_INT(gone, 0);
    mark("4\n");
    CHECK_INT(admin_tenant_erase(s, tenant_id(s, "even"), now(), &e), ERR_BUSY);
    CHECK(strstr(e.text, "1 requests of it have not reached") != NULL);
    CHECK(tenant_id(s, "even") > 0 && one(s, "SELECT count(*) FROM usage") == 6);
    CHECK_INT(admin_purge(s, meter_day(now()), &gone, NULL), ERR_OK);
    CHECK_INT(gone, 4);
    CHECK_INT(one(s, "SELECT count(*) FROM usage WHERE id > 4"), 2);
    mark("6\n");
    CHECK_INT(admin_tenant_erase(s, tenant_id(s, "even"), now(), &e), ERR_OK);
    CHECK_INT(one(s, "SELECT count(*) FROM usage"), 1);
    carry_close(c);
    store_close(s);
    remove_dir();
}

/* E3 */
static void what_was_erased_does_not_come_back(void)
{
    fresh_dir();
    struct carry *c = open_carry();
    struct store *s = open_store();
    struct err e = { .text = "" };
    int64_t gone = 0, then = now() - 5 * DAY;
    CHECK_INT(put(c, 1, "goes", now() - 1000, NULL), ERR_OK);
    CHECK_INT(put(c, 2, "stays", then, NULL), ERR_OK);
    CHECK_INT(admin_tenant_erase(s, tenant_id(s, "goes"), now(), NULL), ERR_OK);
    CHECK_INT(put(c, 1, "goes", now() - 1000, &e), ERR_INVALID);
    CHECK(strstr(e.text, "erased") && !strstr(e.text, "goes"));
    CHECK_INT(tenant_id(s, "goes"), 0);
    CHECK_INT(put(c, 1, "stays", then, NULL), ERR_OK); /* another's is taken, known or not */
    CHECK_INT(put(c, 3, "goes", now() + 1000, NULL), ERR_OK); /* it became a customer again */
    CHECK_INT(admin_purge(s, meter_day(then) + 1, &gone, NULL), ERR_OK);
    CHECK_INT(gone, 2);
    CHECK_INT(put(c, 2, "stays", then, &e), ERR_INVALID);
    CHECK(strstr(e.text, "purged") != NULL);
    CHECK_INT(put(c, 4, "stays", then + DAY, NULL), ERR_OK);
    CHECK_INT(one(s, "SELECT sum(requests) FROM daily"), 5);
    struct admin_check check;
    CHECK_INT(admin_verify(s, &check, NULL), ERR_OK);
    CHECK_INT(check.wrong, 0);
    carry_close(c);
    store_close(s);
    remove_dir();
}

int main(void)
{
    RUN(no_number_is_given_twice);
    RUN(what_was_not_sent_stays);
    RUN(what_was_erased_does_not_come_back);
    DONE();
}
