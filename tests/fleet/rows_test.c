/* rows_test -- rows from a gateway to the home site over a real server: killed on the way, marks lost, takes refused.
 * The book at home has each row once. */
#include "../test.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/file.h"
#include "fleet/rows.h"
#include "nats_server.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { ROWS = 500 };

static struct nats_server server;
static char mark[96];

/* ---- the gateway's ledger: row i at place 10 i */

static atomic_int settled; /* so many rows are there */

static bool next_row(void *arg, uint64_t after, struct rows_row *out)
{
    int i = (int)(after / 10) + 1;
    if (i > atomic_load(&settled))
        return false;
    out->at = (uint64_t)i * 10;
    snprintf(out->id, sizeof out->id, "ch.zurich.door/req-%d", i);
    buf_printf(out->data, "{\"row\":%d}", i);
    return true;
}

/* ---- the book at home */

static struct book {
    pthread_mutex_t lock;
    int seen[ROWS + 1];           /* how often each was brought */
    int in, wrong, refuse;        /* rows in the book; refuse: so many takes fail */
} book = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool take(void *arg, const char *id, const char *data, size_t n)
{
    int i = 0, row = 0;
    char text[32] = "";
    snprintf(text, sizeof text, "%.*s", (int)(n < 31 ? n : 31), data);
    pthread_mutex_lock(&book.lock);
    bool ok = sscanf(id, "ch.zurich.door/req-%d", &i) == 1 && sscanf(text, "{\"row\":%d}", &row) == 1 && i == row &&
              i > 0 && i <= ROWS;
    bool refuse = ok && book.refuse > 0;
    book.wrong += !ok;
    book.refuse -= refuse;
    if (ok && !refuse)
        book.in += !book.seen[i]++;
    pthread_mutex_unlock(&book.lock);
    return !refuse;
}

static int in_book(void)
{
    pthread_mutex_lock(&book.lock);
    int n = book.in;
    pthread_mutex_unlock(&book.lock);
    return n;
}

static bool reaches(int want, int ms)
{
    for (int64_t until = clock_mono_ns() + ms * 1000000LL; in_book() < want && clock_mono_ns() < until;)
        usleep(5000);
    if (in_book() < want)
        printf("# %d of %d rows\n", in_book(), want);
    return in_book() >= want;
}

static struct rows_out *open_out(void)
{
    struct bus_options bus = { .url = server.url };
    struct err e = { 0 };
    struct rows_out *r = rows_out_open(&bus, "tw.v1.ch.zurich.rows", mark, next_row, NULL, &e);
    CHECK_STR(e.text, "");
    return r;
}

static struct rows_in *open_in(void)
{
    struct bus_options bus = { .url = server.url };
    struct rows_in_options o = { .bus = &bus, .subjects = "tw.v1.*.*.rows" };
    struct err e = { 0 };
    struct rows_in *r = rows_in_open(&o, take, NULL, &e);
    CHECK_STR(e.text, "");
    return r;
}

static void test_there(void)
{
    atomic_store(&settled, 200);
    struct rows_in *in = open_in();
    struct rows_out *out = open_out();
    CHECK(reaches(200, 8000));
    book.refuse = 3; /* the disk is full for a moment */
    int64_t start = clock_mono_ns();
    atomic_store(&settled, 210);
    rows_out_wake(out);
    CHECK(reaches(210, 5000));
    printf("# the last of them after %.0f ms\n", (double)(clock_mono_ns() - start) / 1e6);
    CHECK_INT(rows_in_stats(in).again, 3);
    CHECK(rows_in_stats(in).done >= 210 && rows_in_stats(in).reached);
    rows_out_close(out);
    rows_in_close(in);
    struct buf b = { 0 };
    CHECK(!file_read(mark, 64, &b, NULL));
    CHECK_STR(buf_str(&b), "2100\n");
    buf_release(&b);
}

/* The server dies while rows are on their way; the home site is away meanwhile. */
static void test_server_killed(void)
{
    struct rows_out *out = open_out();
    atomic_store(&settled, 300);
    rows_out_wake(out);
    usleep(20000);
    nats_server_kill(&server);
    atomic_store(&settled, 350);
    rows_out_wake(out);
    usleep(100000);
    CHECK(nats_server_run(&server));
    struct rows_in *in = open_in();
    CHECK(reaches(350, 10000));
    rows_out_close(out);
    rows_in_close(in);
}

/* A gateway that lost its mark says everything again. */
static void test_said_again(void)
{
    struct rows_in *in = open_in();
    CHECK_INT(unlink(mark), 0);
    atomic_store(&settled, ROWS);
    struct rows_out *out = open_out();
    CHECK(reaches(ROWS, 8000));
    for (int i = 0; i < 400 && rows_out_stats(out).done < ROWS; i++)
        usleep(5000);
    int known = (int)rows_out_stats(out).again, missing = 0, twice = 0;
    rows_out_close(out);
    for (int i = 0; i < 400 && rows_in_stats(in).done < ROWS - known; i++)
        usleep(5000);
    rows_in_close(in);
    for (int i = 1; i <= ROWS; i++) {
        missing += !book.seen[i];
        twice += book.seen[i] > 1;
    }
    printf("# of 350 said again the stream knew %d, the book %d\n", known, twice);
    CHECK(known + twice >= 350); /* a server that was started anew has forgotten those that were taken */
    CHECK_INT(missing, 0);
    CHECK(book.in == ROWS && book.wrong == 0);
}

static void test_damaged_mark(void)
{
    struct bus_options bus = { .url = server.url };
    static const char *const bad[] = { "", "x\n", "12", "-5\n", "12 \n" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = { 0 };
        CHECK(!file_write(mark, bad[i], strlen(bad[i]), NULL));
        CHECK(!rows_out_open(&bus, "tw.v1.ch.zurich.rows", mark, next_row, NULL, &e));
        CHECK_INT(e.code, ERR_CORRUPT);
    }
}

int main(void)
{
    if (!nats_server_program()) {
        printf("ok 1 - rows # SKIP nats-server is not installed\n1..1\n");
        return 0;
    }
    if (!nats_server_start(&server, "jetstream { store_dir: \"@/js\" }"))
        return 1;
    snprintf(mark, sizeof mark, "%s/mark", server.dir);
    RUN(test_there);
    RUN(test_server_killed);
    RUN(test_said_again);
    RUN(test_damaged_mark);
    nats_server_end(&server);
    DONE();
}
