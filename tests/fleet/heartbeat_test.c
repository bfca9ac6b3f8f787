/* heartbeat_test -- written and read again; hostile ones refused by name; the fuzz target on mutated ones. */
#include "../test.h"
#include "../fuzz.h"
#include "base/mem.h"
#include "fleet/heartbeat.h"

#include "../../fuzz/heartbeat.c"

#define HASH "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"

static void test_round_trip(void)
{
    struct heartbeat h = { .boot = 0xfeedfacecafebeef, .draining = true, .model_count = 2 }, r;
    h.models = mem_new(2, sizeof *h.models);
    struct heartbeat_model *m = h.models;
    *m = (struct heartbeat_model){ .id = "a \"quoted\" id", .hash = HASH, .ctx = 8192, .running = 3, .waiting = 9,
                                   .kv_pages = 1000, .kv_pages_free = 17, .prefill_backlog = 4096,
                                   .steps = 1LL << 40, .tokens_per_s = 123.5, .prefixes = { 1, UINT64_MAX },
                                   .prefix_count = 2, .outside = true, .aliases = json_pack("[s]", "default"),
                                   .facts = json_pack("{s:i}", "ctx", 8192) };
    snprintf(h.models[1].id, sizeof h.models[1].id, "b");
    struct buf b = { 0 };
    struct err e = { 0 };
    heartbeat_write(&h, &b);
    CHECK_INT(heartbeat_read(buf_str(&b), b.len, &r, &e), ERR_OK);
    CHECK_STR(e.text, "");
    CHECK(r.boot == h.boot && r.draining && r.model_count == 2);
    CHECK_STR(r.models[0].id, m->id);
    CHECK_STR(r.models[0].hash, HASH);
    CHECK_STR(r.models[0].numerics, "");
    CHECK(r.models[0].ctx == 8192 && r.models[0].running == 3 && r.models[0].waiting == 9 &&
          r.models[0].kv_pages == 1000 && r.models[0].kv_pages_free == 17 && r.models[0].prefill_backlog == 4096 &&
          r.models[0].steps == 1LL << 40 && r.models[0].tokens_per_s > 123.4 && r.models[0].tokens_per_s < 123.6);
    CHECK(r.models[0].outside);
    CHECK(r.models[0].prefix_count == 2 && r.models[0].prefixes[0] == 1 && r.models[0].prefixes[1] == UINT64_MAX);
    CHECK(json_equal(r.models[0].aliases, m->aliases) && json_equal(r.models[0].facts, m->facts));
    CHECK(!r.models[1].facts && !r.models[1].aliases);
    heartbeat_release(&r);
    heartbeat_release(&h);
    buf_release(&b);
}

#define START "{\"v\":1,\"boot\":\"0123456789abcdef\",\"models\":"

static void test_hostile(void)
{
    static const char *const bad[] = {
        "", "[]", "null", "{}", "{\"v\":2,\"boot\":\"0123456789abcdef\",\"models\":[]}",
        "{\"v\":1,\"boot\":\"0123456789ABCDEF\",\"models\":[]}", "{\"v\":1,\"boot\":\"0123\",\"models\":[]}",
        "{\"v\":1,\"boot\":81985529216486895,\"models\":[]}", START "{}}", START "[1]}", START "[{}]}",
        START "[{\"id\":\"\"}]}", START "[{\"id\":\"a\\nb\"}]}", START "[{\"id\":\"a\\u0000b\"}]}",
        START "[{\"id\":\"a\"},{\"id\":\"a\"}]}", START "[{\"id\":\"a\",\"hash\":\"00\"}]}",
        START "[{\"id\":\"a\",\"numerics\":7}]}", START "[{\"id\":\"a\",\"running\":-1}]}",
        START "[{\"id\":\"a\",\"steps\":1e9}]}", START "[{\"id\":\"a\",\"steps\":9223372036854775807}]}",
        START "[{\"id\":\"a\",\"tokens_per_s\":-0.5}]}", START "[{\"id\":\"a\",\"prefixes\":[\"1\"]}]}",
        START "[{\"id\":\"a\",\"prefixes\":{}}]}", START "[{\"id\":\"a\",\"aliases\":[1]}]}",
        START "[{\"id\":\"a\",\"facts\":[]}]}", START "[{\"id\":\"a\"}],\"draining\":1}", START "[{\"id\":\"a\"}]",
    };
    for (size_t i = 0; i < MEM_COUNT(bad); i++) {
        struct heartbeat h = { .boot = 42 };
        struct err e = { 0 };
        if (heartbeat_read(bad[i], strlen(bad[i]), &h, &e) != ERR_INVALID || !e.text[0] || h.boot != 42)
            printf("# taken: %s\n", bad[i]);
        CHECK(e.code == ERR_INVALID && e.text[0] && h.boot == 42 && !h.models);
    }
}

static void test_limits(void)
{
    for (int over = 0; over <= 1; over++) {
        struct buf b = { 0 };
        struct heartbeat h;
        buf_puts(&b, START "[");
        for (int i = 0; i < HEARTBEAT_MODELS_MAX + over; i++)
            buf_printf(&b, "%s{\"id\":\"m%d\"}", i ? "," : "", i);
        buf_puts(&b, "]}");
        CHECK_INT(heartbeat_read(buf_str(&b), b.len, &h, NULL), over ? ERR_INVALID : ERR_OK);
        if (!over)
            heartbeat_release(&h);
        buf_clear(&b);
        buf_puts(&b, START "[{\"id\":\"m\",\"prefixes\":[");
        for (int i = 0; i < HEARTBEAT_PREFIXES_MAX + over; i++)
            buf_printf(&b, "%s\"%016x\"", i ? "," : "", (unsigned)i);
        buf_puts(&b, "]}]}");
        CHECK_INT(heartbeat_read(buf_str(&b), b.len, &h, NULL), over ? ERR_INVALID : ERR_OK);
        if (!over)
            heartbeat_release(&h);
        buf_release(&b);
    }
}

static void test_mutated(void)
{
    CHECK(fuzz_run("fuzz/corpus/heartbeat", 20000, LLVMFuzzerTestOneInput) > 20000);
}

int main(void)
{
    RUN(test_round_trip);
    RUN(test_hostile);
    RUN(test_limits);
    RUN(test_mutated);
    DONE();
}
