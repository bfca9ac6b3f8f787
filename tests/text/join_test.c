/* join_test -- grammars put together: what they accept, and that a mask allows exactly the tokens whose bytes the state
 * can follow, at every place of every text. The texts were judged by hand from the composition's meaning. */
#include "../test.h"

#include "base/mem.h"
#include "text/grammar_join.h"

#include <string.h>

static const char SCHEMA[] = "{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\"},\"s\":{\"enum\":[\"a\","
                             "\"b\"]},\"l\":{\"type\":\"array\",\"items\":{\"type\":\"number\"}}},\"required\":[\"n\"],"
                             "\"additionalProperties\":false}";
static const char *const TOKENS[] = {
    "<", "<c", "<call", "<call>", "call>", ">", ">{", "\"n\": 1", "1", "12", "}", "}</call>", "</", "/call>", "x", "y <", "{",
    "\"", "n", "s", "a\"", "\":", " ", ",", ", ", "[", "]", "1]", "1}", "\"}<", "\xc3", "\xbc", "\xf8\x80\x80\x80\x87", "\n", "t<call>{\"n",
    "5}</call><call>",
};

static grammar_item text(struct grammar_join *j, const char *s)
{
    return grammar_join_text(j, s, strlen(s));
}

/* free text up to <call>, an object, </call>, again and again; or free text. */
static struct grammar *calls(struct err *e)
{
    struct grammar_join *j = grammar_join_new();
    json_t *schema = json_loads(SCHEMA, 0, NULL);
    struct buf mark = { 0 }, also = { 0 };
    buf_puts(&mark, "<call>");
    grammar_control(7, &also);
    grammar_item object = grammar_join_grammar(j, grammar_from_schema(schema, e));
    grammar_item more[] = { text(j, "<call>"), object, text(j, "</call>") };
    grammar_item first[] = { grammar_join_free_text(j, &mark, 1, true, &also, NULL), object, text(j, "</call>"),
                             grammar_join_star(j, grammar_join_seq(j, more, 3)) };
    grammar_item either[] = { grammar_join_seq(j, first, 4), grammar_join_free_text(j, &mark, 1, false, &also, NULL) };
    struct grammar *g = grammar_join_finish(j, grammar_join_alt(j, either, 2), e);
    json_decref(schema);
    buf_release(&mark);
    buf_release(&also);
    return g;
}

static bool accepts(const struct grammar *g, const char *s, bool *begins)
{
    struct grammar_state *st = grammar_start(g);
    *begins = grammar_advance_bytes(st, s, strlen(s));
    bool ok = *begins && grammar_can_end(st);
    grammar_state_free(st);
    return ok;
}

static const struct {
    const char *text;
    int verdict; /* 2: complete; 1: a beginning; 0: neither */
} texts[] = {
    { "", 2 }, { "hello < there", 2 }, { "hello <call", 2 }, { "<call>", 1 }, { "x<call>{\"n\": 12}", 1 },
    { "x<call>{\"n\": 12}</call>", 2 }, { "x<call>{\"n\":12,\"l\":[1,2.5]}</call>", 2 }, { "x<call>{}</call>", 0 },
    { "x<call>{\"n\": 1}</call> y", 0 }, { "<call>{\"n\":1}</call><call>{\"n\":2,\"s\":\"b\"}</call>", 2 },
    { "<call>{\"n\":1}</call><call>{\"n\":2,\"s\":\"c\"", 0 }, { "\xf8\x80\x80\x80\x87 text", 2 },
    { "\xf8\x80\x80\x80\x86", 0 }, { "\xc3", 1 }, { "a <call>  {", 0 },
};

static void accepted(void)
{
    struct err e;
    struct grammar *g = calls(&e);
    CHECK(g != NULL);
    for (size_t i = 0; g && i < MEM_COUNT(texts); i++) {
        bool begins, whole = accepts(g, texts[i].text, &begins);
        if (whole + begins != texts[i].verdict)
            printf("# '%s'\n", texts[i].text);
        CHECK_INT(whole + begins, texts[i].verdict);
    }
    grammar_free(g);
}

static void check_masks(const struct grammar *g, const char *s)
{
    struct grammar_token tokens[MEM_COUNT(TOKENS)];
    for (size_t i = 0; i < MEM_COUNT(TOKENS); i++)
        tokens[i] = (struct grammar_token){ TOKENS[i], strlen(TOKENS[i]) };
    struct grammar_trie *t = grammar_trie_new(tokens, MEM_COUNT(TOKENS));
    struct grammar_cache *c = grammar_cache_new(g, t);
    struct grammar_state *st = grammar_start(g);
    uint32_t bits[MEM_COUNT(TOKENS) / 32 + 2];
    for (size_t at = 0; at <= strlen(s); at++) {
        grammar_mask(st, t, c, bits);
        for (size_t i = 0; i < MEM_COUNT(TOKENS); i++) {
            struct grammar_state *probe = grammar_state_clone(st);
            bool can = grammar_advance_bytes(probe, TOKENS[i], strlen(TOKENS[i])), may = bits[i / 32] >> i % 32 & 1;
            if (can != may)
                printf("# after '%.*s' token '%s': %d\n", (int)at, s, TOKENS[i], may);
            CHECK(can == may);
            grammar_state_free(probe);
        }
        if (at < strlen(s) && !grammar_advance_bytes(st, s + at, 1))
            break;
    }
    grammar_state_free(st);
    grammar_cache_free(c);
    grammar_trie_free(t);
}

static void masks(void)
{
    struct grammar *g = calls(NULL);
    for (size_t i = 0; g && i < MEM_COUNT(texts); i++)
        check_masks(g, texts[i].text);
    grammar_free(g);
}

/* Recursive rules, and a thought before them: a grammar of rules is taken in like any other. */
static void rules_taken_in(void)
{
    static const char rules[] = "root ::= term ([+] term)*\nterm ::= [0-9]+ | \"(\" root \")\"\n";
    struct err e;
    struct grammar_join *j = grammar_join_new();
    struct buf mark = { 0 };
    buf_puts(&mark, "</think>");
    grammar_item seq[] = { grammar_join_free_text(j, &mark, 1, true, NULL, NULL), grammar_join_regex(j, "[ \\n]{0,2}"),
                           grammar_join_grammar(j, grammar_from_gbnf(rules, sizeof rules - 1, &e)) };
    struct grammar *g = grammar_join_finish(j, grammar_join_seq(j, seq, 3), &e);
    bool begins;
    CHECK(g && accepts(g, "so 1<2 </think>\n(1+22)+3", &begins));
    CHECK(g && !accepts(g, "hm</think>(1", &begins) && begins);
    CHECK(g && !accepts(g, "hm</think>1+)", &begins) && !begins);
    if (g)
        check_masks(g, "a</think>\n(1+2)");
    grammar_free(g);
    buf_release(&mark);
}

int main(void)
{
    RUN(accepted);
    RUN(masks);
    RUN(rules_taken_in);
    DONE();
}
