/* grammar_test -- schemas against another validator's judgement, dead ends, masks, patterns, GBNF.
 *
 * tests/text/schema_cases.json (schema_cases.py makes it) says which instances the jsonschema package accepts. */
#include "../test.h"

#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "text/grammar.h"

#ifndef TW_SANITIZED
/* What the code under test asks of the system, counted. */
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t n);
static long allocations;
void *calloc(size_t n, size_t size)
{
    allocations++;
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n)
{
    allocations++;
    return __libc_realloc(p, n);
}
#endif

static bool accepts(const struct grammar *g, const char *p, size_t n)
{
    struct grammar_state *s = grammar_start(g);
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++)
        ok = grammar_advance_bytes(s, p + i, 1);
    ok = ok && grammar_can_end(s);
    grammar_state_free(s);
    return ok;
}

#define ACCEPTS(g, text) accepts(g, text, sizeof text - 1)

static int append(const char *p, size_t n, void *out)
{
    return buf_append(out, p, n) ? 0 : -1;
}

/* Each instance in three spellings: compact, with blanks, indented. */
static int judge(const struct grammar *g, const json_t *schema, const json_t *list, bool want)
{
    static const size_t flags[] = { JSON_COMPACT, 0, JSON_INDENT(2) };
    json_t *v;
    size_t i;
    int wrong = 0;
    json_array_foreach((json_t *)list, i, v)
        for (int f = 0; f < 3; f++) {
            struct buf b = { 0 };
            json_dump_callback(v, append, &b, flags[f] | JSON_ENCODE_ANY);
            if (accepts(g, buf_str(&b), b.len) != want) {
                char *s = json_dumps(schema, JSON_ENCODE_ANY | JSON_COMPACT);
                printf("# %s: %.80s should be %s\n", s, buf_str(&b), want ? "accepted" : "refused");
                mem_free(s);
                wrong++;
            }
            buf_release(&b);
        }
    return wrong;
}

/* A random text under the grammar never comes to a dead end. */
static int wander(const struct grammar *g, struct rng *r)
{
    struct grammar_state *s = grammar_start(g);
    int wrong = 0;
    for (int step = 0; step < 300; step++) {
        unsigned char can[256];
        unsigned n = 0;
        for (unsigned b = 0; b < 256; b++) {
            struct grammar_state *t = grammar_state_clone(s);
            char c = (char)b;
            if ((b > 0x20 || step % 8 == 0) && grammar_advance_bytes(t, &c, 1))
                can[n++] = (unsigned char)b;
            grammar_state_free(t);
        }
        if (!n) {
            wrong += !grammar_can_end(s) && step % 8 == 0;
            if (grammar_can_end(s))
                break;
            continue;
        }
        char c = (char)can[rng_below(r, n)];
        CHECK(grammar_advance_bytes(s, &c, 1));
    }
    grammar_state_free(s);
    return wrong;
}

static void schemas(void)
{
    struct err e = { 0 };
    json_t *cases = jsonx_parse_file("tests/text/schema_cases.json", 1 << 22, &e), *c;
    struct rng r = { .seed = 7 };
    size_t i;
    int wrong = 0;
    CHECK(json_array_size(cases) > 80);
    json_array_foreach(cases, i, c) {
        const json_t *schema = json_object_get(c, "s");
        struct grammar *g = grammar_from_schema(schema, &e);
        if (!g)
            printf("# case %zu: %s\n", i, e.text);
        CHECK(g);
        if (!g)
            continue;
        wrong += judge(g, schema, json_object_get(c, "yes"), true);
        wrong += judge(g, schema, json_object_get(c, "no"), false);
        wrong += wander(g, &r);
        grammar_free(g);
    }
    CHECK_INT(wrong, 0);
    json_decref(cases);
}

static void refused(void)
{
    static const char *const bad[][2] = {
        { "{\"properties\":{\"a\":{\"uniqueItems\":true,\"type\":\"array\",\"items\":{\"type\":\"object\"}}}}",
          "#/properties/a/uniqueItems" },
        { "{\"$ref\":\"http://elsewhere/x\"}", "$ref" },
        { "{\"unevaluatedProperties\":false}", "#/unevaluatedProperties" },
        { "{\"items\":{\"pattern\":\"(a)\\\\1\"}}", "#/items/pattern" },
        { "{\"type\":\"string\",\"format\":\"idn-email\"}", "#/format" },
        { "{\"type\":\"string\",\"minLength\":3,\"maxLength\":2}", "no value" },
        { "{\"type\":\"object\",\"required\":[\"a\"],\"properties\":{\"a\":{\"$ref\":\"#\"}}}", "no value" },
        { "{\"$ref\":\"#\"}", "$ref" },
        { "{\"allOf\":[{\"type\":\"string\"},{\"type\":\"integer\"}]}", "no value" },
        { "false", "no value" },
        { "{\"type\":\"strnig\"}", "#/type" },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = { 0 };
        json_t *s = jsonx_parse(bad[i][0], strlen(bad[i][0]), &e);
        struct grammar *g = grammar_from_schema(s, &e);
        CHECK(!g);
        if (!strstr(e.text, bad[i][1]))
            printf("# %s: %s\n", bad[i][0], e.text);
        CHECK(strstr(e.text, bad[i][1]));
        grammar_free(g);
        json_decref(s);
    }
}

static void key_order_and_doubles(void)
{
    struct err e = { 0 };
    json_t *s = json_pack("{s:{s:{},s:{}},s:[s,s]}", "properties", "a", "b", "required", "a", "b");
    struct grammar *g = grammar_from_schema(s, &e);
    CHECK(ACCEPTS(g, "{\"b\":1,\"a\":2}"));
    CHECK(ACCEPTS(g, "{ \"b\" : 1 ,\n\t\"a\" : 2 }\n"));
    CHECK(!ACCEPTS(g, "{\"a\":1,\"a\":2,\"b\":3}"));
    CHECK(ACCEPTS(g, "{\"\\u0001\":1,\"a\":2,\"b\":3}"));
    CHECK(ACCEPTS(g, "{\"a\":\"\\ud83d\\ude00\",\"b\":\"\\u00e9\"}"));
    CHECK(!ACCEPTS(g, "{\"a\":\"\\ud83d\",\"b\":1}"));
    CHECK(!ACCEPTS(g, "{\"a\":\"\xff\",\"b\":1}"));
    CHECK(!ACCEPTS(g, "{\"a\":01,\"b\":1}"));
    CHECK(!ACCEPTS(g, "{\"a\":1,\"b\":2}x"));
    grammar_free(g);
    json_decref(s);
}

static void patterns(void)
{
    static const struct { const char *re, *yes, *no; } cases[] = {
        { "[a-z]+-\\d{2,3}", "abc-12", "abc-1" }, { "a|bc|", "", "b" }, { "(?:ab)*c?", "ababc", "abb" },
        { "[^\\s\\d]", "é", "1" }, { "\\u00e9+", "éé", "e" }, { ".{3}", "日本語", "日本" }, { "^x$", "x", "xx" },
        { "(?=.*\\d)[a-z0-9]+", "ab1", "ab" }, { "(?!foo)\\w+", "fob", "foo" }, { "\\p{Lu}\\p{Ll}*", "Éa", "éa" },
        { "a{0}b", "b", "ab" }, { "[\\]\\-a]+", "]-a", "b" }, { "x{2,}", "xxx", "x" }, { "\\.\\*", ".*", "ab" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err e = { 0 };
        struct grammar *g = grammar_from_regex(cases[i].re, strlen(cases[i].re), &e);
        CHECK(g);
        if (!g)
            continue;
        CHECK(accepts(g, cases[i].yes, strlen(cases[i].yes)));
        CHECK(!accepts(g, cases[i].no, strlen(cases[i].no)));
        grammar_free(g);
    }
    static const char *const bad[] = { "(", "a)", "[a", "*", "a{2,1}", "\\1", "(?<=a)b", "a\\bb", "((((a{9999}){9999}){9999}){9999})" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct err e = { 0 };
        CHECK(!grammar_from_regex(bad[i], strlen(bad[i]), &e));
        CHECK(e.text[0]);
    }
}

static void gbnf(void)
{
    static const char arithmetic[] =
        "# sums\nroot ::= expr \"=\" num\nexpr ::= term ([-+*/] term)*\nterm ::= num | \"(\" expr \")\"\n"
        "num ::= [0-9]+ ws\nws ::= [ \\t]*\n";
    struct err e = { 0 };
    struct grammar *g = grammar_from_gbnf(arithmetic, sizeof arithmetic - 1, &e);
    CHECK(g);
    CHECK(ACCEPTS(g, "1+(2*(3-4))=5"));
    CHECK(ACCEPTS(g, "12 +3=15 "));
    CHECK(!ACCEPTS(g, "1+(2=3"));
    CHECK(!ACCEPTS(g, "1+=3"));
    grammar_free(g);
    static const char *const bad[] = { "root ::= root \"a\" | \"b\"", "root ::= x", "x ::= \"a\"", "root ::= \"a\" root",
                                       "root ::= (", "root ::= \"a", "root ::= a\na ::= b\nb ::= c? b \"x\" | \"y\"\nc ::= \"z\"" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK(!grammar_from_gbnf(bad[i], strlen(bad[i]), &e));
    g = grammar_from_choices((const char *[]){ "yes", "no", "yesterday" }, (size_t[]){ 3, 2, 9 }, 3, &e);
    CHECK(ACCEPTS(g, "yes") && ACCEPTS(g, "yesterday") && ACCEPTS(g, "no") && !ACCEPTS(g, "yest"));
    grammar_free(g);
    g = grammar_json_object(&e);
    CHECK(ACCEPTS(g, "{\"a\":[1,{}]}") && !ACCEPTS(g, "[]"));
    grammar_free(g);
}

/* The mask is what trying every token gives, at every step of a text. */
static void masks_agree(const struct grammar *g, const char *text)
{
    static const char *const words[] = { "{", "}", "\"", "\":", "\": ", ",", ", ", "[", "]", "a", "b", "ab", "é", "\xc3", "\xa9", "1", "2", "12",
        ".5", "-", "e", "true", "null", "{\"", "\"a\"", "\"a\":", "\"b\": \"", "x\"}", "\\", "\\n", "n", " ", "\n", "  ", "},", "\",\"", "longer words here",
        "\\u00", "41", "", "0", "00", "xx", "日本", "\"]", "]}", "kind", "p", "q" };
    struct grammar_token tokens[64];
    size_t n = sizeof words / sizeof words[0];
    for (size_t i = 0; i < n; i++)
        tokens[i] = (struct grammar_token){ words[i], strlen(words[i]) };
    struct grammar_trie *t = grammar_trie_new(tokens, n);
    struct grammar_cache *c = grammar_cache_new(g, t);
    struct grammar_state *s = grammar_start(g);
    int wrong = 0;
    for (size_t at = 0; at <= strlen(text); at++) {
        uint32_t bits[4] = { 0 }, again[4] = { 0 };
        grammar_mask(s, t, c, bits);
        grammar_mask(s, t, NULL, again);
        wrong += memcmp(bits, again, sizeof bits) != 0;
        for (size_t i = 0; i < n; i++) {
            struct grammar_state *try = grammar_state_clone(s);
            bool can = words[i][0] && grammar_advance_bytes(try, words[i], strlen(words[i]));
            wrong += can != (bits[i / 32] >> i % 32 & 1);
            grammar_state_free(try);
        }
        if (at < strlen(text))
            CHECK(grammar_advance_bytes(s, text + at, 1));
    }
    CHECK_INT(wrong, 0);
    CHECK(grammar_can_end(s));
    grammar_state_free(s);
    grammar_cache_free(c);
    grammar_trie_free(t);
}

static void masks(void)
{
    static const char *const schemas[][2] = {
        { "{}", "{\"a\": [1.5e2, true, null, \"é\\n\\u0041\"], \"b\": {\"c\": -12}}" },
        { "{\"properties\":{\"a\":{\"type\":\"string\",\"maxLength\":3},\"b\":{\"pattern\":\"^a+\"}},\"required\":[\"a\"],\"additionalProperties\":false}",
          "{\"b\":\"aab\",\"a\":\"日本\"}" },
        { "{\"patternProperties\":{\"^a\":{\"type\":\"integer\",\"minimum\":12}},\"additionalProperties\":{\"enum\":[\"ab\",\"a\"]}}",
          "{\"ab\":120,\"b\":\"ab\"}" },
        { "{\"type\":\"array\",\"items\":{\"enum\":[\"a\",\"ab\",\"b\"]},\"uniqueItems\":true}", "[\"ab\",\"a\"]" },
    };
    struct err e = { 0 };
    for (size_t i = 0; i < sizeof schemas / sizeof schemas[0]; i++) {
        json_t *s = jsonx_parse(schemas[i][0], strlen(schemas[i][0]), &e);
        struct grammar *g = grammar_from_schema(s, &e);
        CHECK(g);
        masks_agree(g, schemas[i][1]);
        grammar_free(g);
        json_decref(s);
    }
    static const char rules[] = "root ::= \"[\" item (\",\" item)* \"]\"\nitem ::= root | [a-z]+ | \"\\\"\" [^\"]* \"\\\"\"\n";
    struct grammar *g = grammar_from_gbnf(rules, sizeof rules - 1, &e);
    CHECK(g);
    masks_agree(g, "[ab,[\"é 1\"],b]");
    grammar_free(g);
    g = grammar_from_regex("(ab|12)+[^\"]*", strlen("(ab|12)+[^\"]*"), &e);
    masks_agree(g, "ab12longer words here");
    grammar_free(g);
}

/* Once a state has its room, following tokens asks for none: but for a frame where a member is added, an array opens. */
static void a_token_allocates_nothing(void)
{
#ifdef TW_SANITIZED
    SKIP("sanitizers have an allocator of their own");
#else
    static const char *const tokens[] = { "ab", "cde", "f", " gh", "ijklm" };
    struct err e = { 0 };
    json_t *schema = json_pack("{s:s}", "type", "string");
    struct grammar *g = grammar_from_schema(schema, &e);
    struct grammar_state *s = grammar_start(g), *other = grammar_state_clone(s);
    CHECK(grammar_advance_bytes(s, "\"ab", 3) && !grammar_advance_bytes(s, "ab\"\"", 4));
    grammar_state_copy(other, s);
    long before = allocations;
    bool ok = true;
    for (int i = 0; i < 1000; i++)
        ok = ok && grammar_advance_bytes(s, tokens[i % 5], strlen(tokens[i % 5])) &&
             !grammar_advance_bytes(s, "x\"}", 3);
    grammar_state_copy(other, s);
    CHECK(ok);
    CHECK_INT(allocations - before, 0);
    CHECK(grammar_advance_bytes(other, "z\"", 2) && grammar_must_end(other) && !grammar_can_end(s));
    grammar_state_free(s);
    grammar_state_free(other);
    grammar_free(g);
    json_decref(schema);
#endif
}

int main(void)
{
    RUN(schemas);
    RUN(refused);
    RUN(key_order_and_doubles);
    RUN(patterns);
    RUN(gbnf);
    RUN(masks);
    RUN(a_token_allocates_nothing);
    DONE();
}
