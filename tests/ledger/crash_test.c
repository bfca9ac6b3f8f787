/* crash_test -- kill -9 at random, a hundred times: no acknowledged row is lost, none is there twice, sums equal rows.
 * And how many rows a second the writer makes durable. (kill -9 leaves the page cache: that fsync reaches the disk is
 * SQLite's synchronous=FULL, checked here only as a setting.) */
#include "../test.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "ledger/admin.h"
#include "ledger/ledger.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 100, IDS_MAX = 2000000 };
static const uint32_t READY = UINT32_MAX; /* the child has opened the ledger */

static char dir[64];
static int ack_fd = -1; /* set in the child alone */

static int64_t now(void)
{
    return clock_wall_ns() / 1000000;
}

static void acknowledge(void *arg, int64_t cost)
{
    uint32_t id = (uint32_t)(uintptr_t)arg;
    ssize_t n = write(ack_fd, &id, sizeof id);
    (void)n;
}

static void settle_one(struct ledger *l, uint32_t id, struct rng *r)
{
    char text[32];
    snprintf(text, sizeof text, "request-%u", id);
    struct ledger_ask ask = { .model = "m", .request_id = text };
    struct ledger_answer a;
    ledger_admit(l, &ask, now(), &a);
    if (a.verdict != LEDGER_ADMITTED)
        return;
    /* the row's content follows from its id, so that it can be checked */
    struct ledger_use u = { .prompt_tokens = id % 977, .output_tokens = id % 101, .energy_mj = id % 13 };
    if (rng_below(r, 10) == 0)
        ledger_abandon(l, a.ticket, now());
    else
        ledger_settle(l, a.ticket, &u, now(), acknowledge, (void *)(uintptr_t)id);
}

/* The child: settles new ids and, now and then, old ones again, until it is killed. */
static void serve(uint32_t first, uint64_t seed)
{
    struct ledger *l;
    struct err e;
    struct rng r = { .seed = seed };
    if (ledger_open(dir, "", now(), &l, &e))
        _exit(3);
    ssize_t n = write(ack_fd, &READY, sizeof READY);
    (void)n;
    for (uint32_t id = first;;) {
        for (uint64_t burst = rng_below(&r, 300); burst > 0; burst--)
            settle_one(l, rng_below(&r, 20) || !id ? id++ : (uint32_t)rng_below(&r, id), &r);
        struct pollfd p = { .fd = ledger_fd(l), .events = POLLIN };
        poll(&p, 1, (int)rng_below(&r, 5));
        ledger_poll(l, now());
    }
}

static int check_rows(const uint8_t *acked, int64_t *rows)
{
    struct store *s;
    struct err e;
    char *path = store_path(dir);
    sqlite3_stmt *st;
    int missing = 0, wrong = 0, twice = 0;
    uint8_t *seen = mem_new(IDS_MAX, 1);
    if (store_open(path, false, now(), &s, &e)) {
        printf("# %s\n", e.text);
        return 1;
    }
    int64_t ok = 0;
    CHECK_INT(store_int(s, "SELECT integrity_check = 'ok' FROM pragma_integrity_check", NULL, 0, &ok, NULL), ERR_OK);
    CHECK_INT(ok, 1);
    CHECK_INT(store_int(s, "PRAGMA synchronous", NULL, 0, &ok, NULL), ERR_OK);
    CHECK_INT(ok, 2); /* FULL */
    CHECK_INT(store_prepare(s, "SELECT CAST(substr(request_id, 9) AS INTEGER), prompt, output, energy_mj FROM usage",
                            &st, NULL), ERR_OK);
    for (*rows = 0; sqlite3_step(st) == SQLITE_ROW; ++*rows) {
        int64_t id = sqlite3_column_int64(st, 0);
        twice += seen[id]++;
        wrong += sqlite3_column_int64(st, 1) != id % 977 || sqlite3_column_int64(st, 2) != id % 101 ||
                 sqlite3_column_int64(st, 3) != id % 13;
    }
    sqlite3_finalize(st);
    for (int id = 0; id < IDS_MAX; id++)
        missing += acked[id] && !seen[id];
    struct admin_check check;
    CHECK_INT(admin_verify(s, &check, NULL), ERR_OK);
    CHECK_INT(check.wrong, 0);
    CHECK(check.rows == *rows && check.requests == *rows);
    store_close(s);
    mem_free(seen);
    mem_free(path);
    if (missing || wrong || twice)
        printf("# %d acknowledged rows missing, %d wrong, %d twice\n", missing, wrong, twice);
    return missing + wrong + twice;
}

static void a_hundred_kills(void)
{
    uint8_t *acked = mem_new(IDS_MAX, 1);
    uint32_t next = 0;
    int64_t acks = 0, rows = 0;
    struct rng r = { .seed = 20261121 };
    snprintf(dir, sizeof dir, "/tmp/tw_crash_XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    for (int round = 0; round < ROUNDS; round++) {
        int fds[2];
        CHECK(pipe(fds) == 0);
        fflush(stdout);
        pid_t child = fork();
        if (!child) {
            close(fds[0]);
            ack_fd = fds[1];
            serve(next, (uint64_t)round);
        }
        close(fds[1]);
        uint32_t id;
        if (round % 4) /* a quarter of the kills may fall into opening and recovery */
            CHECK(read(fds[0], &id, sizeof id) == sizeof id && id == READY);
        usleep((useconds_t)rng_below(&r, 80000));
        kill(child, SIGKILL);
        while (read(fds[0], &id, sizeof id) == sizeof id) {
            if (id == READY)
                continue;
            CHECK(id < IDS_MAX);
            acked[id % IDS_MAX] = 1;
            acks++;
            next = id + 1 > next ? id + 1 : next;
        }
        close(fds[0]);
        int status;
        CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        if (round % 25 == 24)
            CHECK_INT(check_rows(acked, &rows), 0);
        next += 5000; /* ids the child may have used without telling */
    }
    printf("# %lld acknowledgements, %lld rows\n", (long long)acks, (long long)rows);
    CHECK(acks > ROUNDS);
    mem_free(acked);
}

static int64_t finished;
static void count(void *arg, int64_t cost)
{
    finished++;
}

static bool ledger_in_flight(const struct ledger *l)
{
    struct ledger_stats st;
    ledger_get_stats(l, &st);
    return st.queued > 0;
}

static void rows_per_second(void)
{
    struct ledger *l;
    struct err e;
    struct timespec cpu;
    CHECK_INT(ledger_open(dir, "", now(), &l, &e), ERR_OK);
    enum { ROWS = 20000 };
    finished = 0;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    int64_t start = clock_mono_ns(), cpu_start = cpu.tv_sec * 1000000000ll + cpu.tv_nsec;
    for (int sent = 0; finished < ROWS;) {
        for (; sent < ROWS && sent - finished < 2000; sent++) {
            char id[32];
            snprintf(id, sizeof id, "chatcmpl-%08x%08x", sent * 2654435761u, sent);
            struct ledger_ask ask = { .model = "some-model", .request_id = id };
            struct ledger_answer a;
            ledger_admit(l, &ask, now(), &a);
            struct ledger_use u = { .prompt_tokens = 500, .output_tokens = 100, .finish = "stop" };
            ledger_settle(l, a.ticket, &u, now(), count, NULL);
        }
        struct pollfd p = { .fd = ledger_fd(l), .events = POLLIN };
        poll(&p, 1, 1000);
        ledger_poll(l, now());
    }
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    double s = (double)(clock_mono_ns() - start) * 1e-9;
    double cpu_s = (double)(cpu.tv_sec * 1000000000ll + cpu.tv_nsec - cpu_start) * 1e-9;
    struct ledger_stats st;
    ledger_get_stats(l, &st);
    printf("# %.0f durable rows/s, %.1f us of processor time a row, %lld commits\n", ROWS / s, cpu_s / ROWS * 1e6,
           (long long)st.commits);
    start = clock_mono_ns();
    for (int i = 0; i < 100; i++) { /* one at a time: what a lone request waits for its acknowledgement */
        settle_one(l, (uint32_t)(IDS_MAX - 1 - i), &(struct rng){ .seed = 1 });
        for (int64_t before = finished; finished == before && ledger_in_flight(l);) {
            struct pollfd p = { .fd = ledger_fd(l), .events = POLLIN };
            poll(&p, 1, 1000);
            ledger_poll(l, now());
        }
    }
    printf("# %.2f ms for a row alone\n", (double)(clock_mono_ns() - start) * 1e-8);
    CHECK(ROWS / s > 1000); /* the figure itself is in docs/ledger.md: this machine may be busy */
    ledger_close(l);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    FILE *p = popen(command, "r");
    if (p)
        pclose(p);
}

int main(void)
{
    RUN(a_hundred_kills);
    RUN(rows_per_second);
    DONE();
}
