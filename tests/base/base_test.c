/* base_test -- buffers, arenas, random numbers, the pool and the queue. */
#include "../test.h"
#include "base/file.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/opt.h"
#include "base/crew.h"
#include "base/pool.h"
#include "base/queue.h"
#include "base/rng.h"

#include <pthread.h>
#include <unistd.h>
#include <sys/stat.h>
#include <stdlib.h>
#include <stdio.h>

static void buf_keeps_its_maximum(void)
{
    struct buf b;
    buf_init(&b, 8);
    CHECK(buf_puts(&b, "12345678"));
    CHECK(!buf_putc(&b, '9'));
    CHECK(b.overflow);
    CHECK_STR(buf_str(&b), "12345678");
    buf_drop_front(&b, 3);
    CHECK_STR(buf_str(&b), "45678");
    buf_release(&b);
    CHECK_STR(buf_str(&b), "");
}

static void arena_keeps_its_limit(void)
{
    struct arena a;
    arena_init(&a, 1 << 20);
    for (int i = 0; i < 100; i++) {
        char *p = arena_alloc(&a, 100, 10);
        CHECK(p && p[0] == 0 && p[999] == 0);
        memset(p, 0xff, 1000);
    }
    CHECK(!arena_alloc(&a, (size_t)-1, 8));
    CHECK(!arena_alloc(&a, 1 << 20, 1));
    arena_release(&a);
}

/* Known answers of Random123 (kat_vectors, philox4x32 10). */
static void philox_known_answers(void)
{
    struct rng_block b = rng_at(0, 0, 0);
    CHECK_INT(b.w[0], 0x6627e8d5);
    CHECK_INT(b.w[1], 0xe169c58d);
    CHECK_INT(b.w[2], 0xbc57ac4c);
    CHECK_INT(b.w[3], 0x9b00dbd8);
    b = rng_at(~0ull, ~0ull, ~0ull);
    CHECK_INT(b.w[0], 0x408f276d);
    CHECK_INT(b.w[1], 0x41c83b0e);
    CHECK_INT(b.w[2], 0xa20bc7c6);
    CHECK_INT(b.w[3], 0x6d5451fd);
    b = rng_at(0x299f31d0a4093822ull, 0x85a308d3243f6a88ull, 0x0370734413198a2eull);
    CHECK_INT(b.w[0], 0xd16cfe09);
    CHECK_INT(b.w[1], 0x94fdcceb);
    CHECK_INT(b.w[2], 0x5001e420);
    CHECK_INT(b.w[3], 0x24126ea1);
}

static void rng_below_stays_below(void)
{
    struct rng r = { .seed = 7 };
    int seen[10] = { 0 };
    for (int i = 0; i < 10000; i++)
        seen[rng_below(&r, 10)]++;
    for (int i = 0; i < 10; i++)
        CHECK_NEAR(seen[i], 1000, 150);
}

enum { CHUNKS = 1000 };
static int touched[CHUNKS];
static void touch(struct team *t, void *arg)
{
    for (int round = 0; round < 20; round++) {
        for (int i; (i = team_next(t, CHUNKS)) >= 0;)
            touched[i]++;
        team_barrier(t);
        int first, end;
        team_slice(t, CHUNKS, &first, &end);
        for (int i = first; i < end; i++)
            touched[i]++;
        team_barrier(t);
    }
}

static void pool_shares_work_once(void)
{
    for (int threads = 1; threads <= 4; threads++) {
        struct pool *p = pool_new(threads);
        memset(touched, 0, sizeof touched);
        for (int run = 0; run < 5; run++)
            pool_run(p, touch, NULL);
        int wrong = 0;
        for (int i = 0; i < CHUNKS; i++)
            wrong += touched[i] != 5 * 20 * 2;
        CHECK_INT(wrong, 0);
        pool_free(p);
    }
}

/* The same with fewer, more, and all of a pool from run to run, and who is left out is left out. */
static int seen_count, seen_ranks;
static void touch_and_tell(struct team *t, void *arg)
{
    touch(t, arg);
    __atomic_fetch_or(&seen_ranks, 1 << t->rank, __ATOMIC_RELAXED);
    if (t->rank == 0)
        seen_count = t->count;
}

static void pool_limit_leaves_the_others_out(void)
{
    struct pool *p = pool_new(4);
    memset(touched, 0, sizeof touched);
    for (int run = 0; run < 60; run++) {
        int limit = 1 + run * 7 % 4;
        seen_ranks = 0;
        pool_limit(p, limit);
        pool_run(p, touch_and_tell, NULL);
        CHECK_INT(seen_count, limit);
        CHECK_INT(seen_ranks, (1 << limit) - 1);
    }
    int wrong = 0;
    for (int i = 0; i < CHUNKS; i++)
        wrong += touched[i] != 60 * 20 * 2;
    CHECK_INT(wrong, 0);
    pool_free(p);
}

/* Runs of 5 ms until `until_ms`, of a crew of which `robbed` always lose their processors and which does percent of
 * what one thread alone on a processor does. Returns how many of the runs had all members. */
static int work(struct crew *c, int64_t *now_ms, int64_t until_ms, int robbed, int percent_all, int percent_fewer)
{
    int all = 0;
    for (; *now_ms < until_ms; *now_ms += 5) {
        bool full = crew_size(c, *now_ms * 1000000) == c->full;
        all += full;
        crew_note(c, &(struct crew_run){ .now_ns = (*now_ms + 5) * 1000000, .wall_ns = 5000000, .robbed = robbed,
                                         .useful_ns = 50000 * (full ? percent_all : percent_fewer) });
    }
    return all;
}

static void crew_shrinks_only_when_it_pays(void)
{
    struct crew c;
    int64_t now = 0;
    crew_init(&c, 2);
    CHECK_INT(work(&c, &now, 1000, 1, 120, 0), 200); /* robbed, but two get more done than one could */
    CHECK_INT(work(&c, &now, 2000, 0, 50, 0), 200);  /* slow, but nobody was robbed: the work is like that */
    CHECK(crew_size(&c, now * 1000000) == 2);
}

static void crew_shrinks_and_tries_again(void)
{
    struct crew c;
    int64_t now = 0;
    crew_init(&c, 2);
    int all = work(&c, &now, 10000, 2, 40, 50);
    printf("# all members in %d of 2000 runs\n", all);
    CHECK(all >= 20 && all <= 100); /* a window of 20 ms each, first after 100 ms, at last every 1.6 s */
    work(&c, &now, 12000, 0, 170, 90); /* the others are gone */
    CHECK_INT(work(&c, &now, 13000, 0, 170, 90), 200);
    CHECK_INT(c.rest_ns / 1000000, 100); /* and forgotten */
}

static void crew_leaves_out_who_is_robbed(void)
{
    struct crew c;
    int64_t now = 0;
    crew_init(&c, 64);
    work(&c, &now, 20, 3, 3000, 0); /* three busy loops beside 64 threads that wait for each other */
    CHECK_INT(crew_size(&c, now * 1000000), 61);
    work(&c, &now, 40, 0, 0, 5900);
    CHECK_INT(crew_size(&c, now * 1000000), 61);
    work(&c, &now, 60, 61, 0, 3000); /* and many more come: still more than one alone would do */
    CHECK_INT(crew_size(&c, now * 1000000), 61);
    work(&c, &now, 80, 61, 0, 70);
    CHECK_INT(crew_size(&c, now * 1000000), 1);
}

static void *pop_all(void *arg)
{
    long sum = 0;
    for (long *v; (v = queue_pop(arg, -1));)
        sum += *v;
    return (void *)sum;
}

static void queue_hands_over(void)
{
    static long values[1000];
    struct queue *q = queue_new(4);
    pthread_t reader;
    pthread_create(&reader, NULL, pop_all, q);
    for (long i = 0; i < 1000; i++) {
        values[i] = i;
        CHECK(queue_push(q, &values[i]));
    }
    queue_close(q);
    CHECK(!queue_push(q, &values[0]));
    void *sum;
    pthread_join(reader, &sum);
    CHECK_INT((long)sum, 499500);
    CHECK(queue_pop(q, 5) == NULL);
    queue_free(q);
}

struct options {
    int64_t n, bytes;
    bool on;
    const char *name;
    struct opt_ints list;
};

static const struct opt rows[] = {
    { "count", 'n', OPT_INT, "N", "how many", OPT_FIELD(struct options, n), 1, 9 },
    { "bytes", 0, OPT_SIZE, "SIZE", "how large", OPT_FIELD(struct options, bytes), 0, 0 },
    { "on", 0, OPT_FLAG, NULL, "switch", OPT_FIELD(struct options, on), 0, 0 },
    { "name", 0, OPT_STRING, "S", "name", OPT_FIELD(struct options, name), 0, 0 },
    { "list", 0, OPT_INTS, "N,..", "list", OPT_FIELD(struct options, list), 0, 100 },
    { 0 },
};
static const struct opt_command command = { "t", "", "test", NULL, rows };

static void options_parse(void)
{
    static const char *const words[] = { "t", "-n3", "a", "--bytes=2K", "--on", "--name", "x", "--list", "1,2,30",
                                         "--", "-b" };
    char *argv[11];
    memcpy(argv, words, sizeof argv);
    struct options o = { 0 };
    int positional;
    CHECK_INT(opt_parse(&command, 11, argv, &o, &positional), OPT_RUN);
    CHECK_INT(o.n, 3);
    CHECK_INT(o.bytes, 2048);
    CHECK(o.on);
    CHECK_STR(o.name, "x");
    CHECK_INT(o.list.count, 3);
    CHECK_INT(o.list.v[2], 30);
    CHECK_INT(positional, 2);
    CHECK_STR(argv[1], "a");
    CHECK_STR(argv[2], "-b");
}

static void options_refuse(void)
{
    static const char *const bad[][3] = { { "t", "--count", "10" }, { "t", "--bytes", "x" }, { "t", "--nope", "" },
                              { "t", "--on=1", "" }, { "t", "x", "--name" }, { "t", "--list", "1,,2" } };
    fflush(stdout);
    FILE *saved = stderr;
    stderr = fopen("/dev/null", "w");
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        struct options o = { 0 };
        int positional;
        char *argv[3];
        memcpy(argv, bad[i], sizeof argv);
        CHECK_INT(opt_parse(&command, 3, argv, &o, &positional), OPT_WRONG);
    }
    fclose(stderr);
    stderr = saved;
}

static void json_quotes_and_refuses(void)
{
    struct buf b = { 0 };
    jsonx_quote("a\"\n\x01\xff\xc3\xa9", 7, &b);
    CHECK_STR(buf_str(&b), "\"a\\\"\\n\\u0001\xEF\xBF\xBD\xC3\xA9\"");
    buf_release(&b);
    struct err e = { 0 };
    CHECK(!jsonx_parse("{\"a\":1,\"a\":2}", 13, &e));
    CHECK(strstr(e.text, "line 1") != NULL);
}

static void file_write_spares_what_is_no_file(void)
{
    char dir[] = "/tmp/base_test.XXXXXX", fifo[64], link[64], plain[64];
    CHECK(mkdtemp(dir) != NULL);
    snprintf(fifo, sizeof fifo, "%s/fifo", dir);
    snprintf(link, sizeof link, "%s/link", dir);
    snprintf(plain, sizeof plain, "%s/plain", dir);
    struct stat st;
    struct err e = { 0 };
    CHECK_INT(mkfifo(fifo, 0600), 0);
    CHECK_INT(symlink("plain", link), 0);
    CHECK_INT(file_write(plain, "old", 3, &e), ERR_OK);
    CHECK_INT(file_write(plain, "new!", 4, &e), ERR_OK);
    CHECK_INT(file_write(fifo, "x", 1, &e), ERR_INVALID);
    CHECK(!lstat(fifo, &st) && S_ISFIFO(st.st_mode));
    CHECK_INT(file_write(link, "x", 1, &e), ERR_INVALID);
    CHECK(!lstat(link, &st) && S_ISLNK(st.st_mode));
    CHECK(!lstat(plain, &st) && st.st_size == 4);
    CHECK_INT(unlink(fifo) | unlink(link) | unlink(plain) | rmdir(dir), 0);
}

int main(void)
{
    RUN(buf_keeps_its_maximum);
    RUN(arena_keeps_its_limit);
    RUN(philox_known_answers);
    RUN(rng_below_stays_below);
    RUN(pool_shares_work_once);
    RUN(pool_limit_leaves_the_others_out);
    RUN(crew_shrinks_only_when_it_pays);
    RUN(crew_shrinks_and_tries_again);
    RUN(crew_leaves_out_who_is_robbed);
    RUN(queue_hands_over);
    RUN(options_parse);
    RUN(options_refuse);
    RUN(json_quotes_and_refuses);
    RUN(file_write_spares_what_is_no_file);
    DONE();
}
