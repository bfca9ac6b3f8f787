/* envelope_test -- the fields found, wherever they stand; everything else passed over; what is no JSON refused (the
 * cases of RFC 8259). The fuzz target compares with jansson. */
#include "../../fuzz/envelope.c"
#include "../fuzz.h"
#include "../test.h"

static struct envelope env;
static struct err error;
static const char *param;

static enum err_code scan(const char *text)
{
    error.text[0] = '\0';
    return envelope_scan(text, strlen(text), &env, &param, &error);
}

static void the_fields(void)
{
    CHECK_INT(scan("{\"messages\":[{\"content\":\"\\\"model\\\":\\\"no\\\"\",\"model\":\"no\"}],\"model\":\"tiny\","
                   "\"stream\":true,\"max_completion_tokens\":77,\"priority\":-5}"), ERR_OK);
    CHECK_STR(env.model, "tiny");
    CHECK(env.stream);
    CHECK_INT(env.max_tokens, 77);
    CHECK_INT(env.priority, -5);
    CHECK_INT(scan(" {} \n"), ERR_OK);
    CHECK_STR(env.model, "");
    CHECK(!env.stream);
    CHECK_INT(scan("{\"model\":null,\"stream\":null,\"max_tokens\":null}"), ERR_OK);
}

/* What each dialect calls the most tokens of an answer; Ollama's below zero are no limit. */
static void lengths(void)
{
    static const struct { const char *body; int want; } said[] = {
        { "{\"max_tokens\":5}", 5 },
        { "{\"max_completion_tokens\":6}", 6 },
        { "{\"input\":\"max_tokens\",\"max_output_tokens\":7}", 7 },
        { "{\"options\":{\"num_ctx\":4096,\"num_predict\":8,\"stop\":[\"num_predict\"]}}", 8 },
        { "{\"options\" : { \"num_predict\" : 9 } , \"model\":\"m\"}", 9 },
        { "{\"opt\\u0069ons\":{\"num\\u005fpredict\":10}}", 10 },
        { "{\"options\":{\"num_predict\":-1}}", 0 },
        { "{\"options\":{\"num_predict\":null}}", 0 },
        { "{\"options\":{}}", 0 },
        { "{\"options\":null,\"max_tokens\":11}", 11 },
        { "{\"num_predict\":12,\"messages\":[{\"options\":{\"num_predict\":12}}]}", 0 },
        { "{\"options\":{\"o\":{\"num_predict\":12}}}", 0 },
        { "{\"options\":[{\"num_predict\":12}]}", 0 }, /* the engine refuses it */
    };
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        CHECK_INT(scan(said[i].body), ERR_OK);
        CHECK_INT(env.max_tokens, said[i].want);
    }
    CHECK_INT(scan("{\"options\":{\"num_predict\":\"9\"}}"), ERR_INVALID);
    CHECK_STR(error.text, "'options.num_predict' must be a whole number below 2^31");
    CHECK_STR(param, "options");
    CHECK_INT(scan("{\"options\":{\"num_predict\":9,\"num_predict\":1}}"), ERR_INVALID);
    CHECK_INT(scan("{\"options\":{\"num_predict\":9,}}"), ERR_INVALID);
    CHECK_INT(scan("{\"options\":{},\"options\":{\"num_predict\":1}}"), ERR_INVALID);
}

/* Whoever escapes a key or value must mean the same to the front and to the engine. */
static void escapes(void)
{
    CHECK_INT(scan("{\"m\\u006Fdel\":\"\\u00e9\\ud83d\\ude00\\/\"}"), ERR_OK);
    CHECK_STR(env.model, "\xc3\xa9\xf0\x9f\x98\x80/");
    CHECK_INT(scan("{\"model\":\"a\\u0000b\"}"), ERR_INVALID);
    CHECK_INT(scan("{\"model\":\"\\ud83d\"}"), ERR_INVALID);
}

static void wrong_types(void)
{
    CHECK_INT(scan("{\"model\":7}"), ERR_INVALID);
    CHECK_STR(param, "model");
    CHECK_INT(scan("{\"stream\":\"yes\"}"), ERR_INVALID);
    CHECK_STR(param, "stream");
    CHECK_INT(scan("{\"max_tokens\":1.5}"), ERR_INVALID);
    CHECK_STR(param, "max_tokens");
    CHECK_INT(scan("{\"max_tokens\":99999999999999999999}"), ERR_INVALID);
    CHECK_INT(scan("{\"model\":\"a\",\"mod\\u0065l\":\"b\"}"), ERR_INVALID);
    CHECK_STR(error.text, "'model' is given twice");
    char long_name[400];
    memset(long_name, 'a', sizeof long_name);
    memcpy(long_name, "{\"model\":\"", 10);
    memcpy(long_name + 397, "\"}", 3);
    CHECK_INT(scan(long_name), ERR_INVALID);
    CHECK_STR(param, "model");
}

static void no_json(void)
{
    static const char *const bad[] = {
        "", " ", "[]", "7", "null", "{", "{\"a\"", "{\"a\":", "{\"a\":1", "{\"a\":1,", "{\"a\":1,}", "{a:1}", "{'a':1}",
        "{\"a\":01}", "{\"a\":.5}", "{\"a\":1.}", "{\"a\":1e}", "{\"a\":+1}", "{\"a\":-}", "{\"a\":tru}", "{\"a\":[1,]}",
        "{\"a\":[1 2]}", "{\"a\":\"\t\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12g4\"}", "{\"a\":\"b}", "{} {}", "{}x",
        "{\"a\":1]", "{\"a\":[1}", "{\"a\" 1}", "\xef\xbb\xbf{}", "{\"a\":NaN}", "{\"a\":\"\\", "{,}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (scan(bad[i]) != ERR_INVALID)
            printf("# accepted: %s\n", bad[i]);
        CHECK_INT(scan(bad[i]), ERR_INVALID);
        CHECK(error.text[0]);
    }
}

static void depth(void)
{
    struct buf b = { 0 };
    buf_puts(&b, "{\"a\":");
    for (int i = 0; i < 100000; i++)
        buf_putc(&b, '[');
    CHECK_INT(scan(b.data), ERR_INVALID);
    CHECK(strstr(error.text, "deeper"));
    buf_release(&b);
    CHECK_INT(scan("{\"a\":[[[[[[[[[[{\"b\":[{}]}]]]]]]]]]]}"), ERR_OK);
}

static void fuzzed(void)
{
    CHECK(fuzz_run("fuzz/corpus/envelope", 30000, LLVMFuzzerTestOneInput) > 30000);
}

int main(void)
{
    RUN(the_fields);
    RUN(lengths);
    RUN(escapes);
    RUN(wrong_types);
    RUN(no_json);
    RUN(depth);
    RUN(fuzzed);
    DONE();
}
