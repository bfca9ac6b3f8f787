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
    RUN(escapes);
    RUN(wrong_types);
    RUN(no_json);
    RUN(depth);
    RUN(fuzzed);
    DONE();
}
