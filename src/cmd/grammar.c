/* grammar -- tokenworks grammar check: does a text obey a schema, token by token, and how fast are the masks? */
#include "cmd/cmd.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "text/grammar.h"
#include "text/vocab.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT_MAX = 16 << 20 };

struct options {
    const char *vocab, *schema, *regex, *gbnf;
    bool stats;
};
static const struct opt rows[] = {
    { "vocab", 0, OPT_STRING, "FILE", "the GGUF file whose tokens to use", OPT_FIELD(struct options, vocab), 0, 0 },
    { "schema", 0, OPT_STRING, "FILE", "a JSON Schema", OPT_FIELD(struct options, schema), 0, 0 },
    { "regex", 0, OPT_STRING, "R", "a pattern for all of the text", OPT_FIELD(struct options, regex), 0, 0 },
    { "gbnf", 0, OPT_STRING, "FILE", "a grammar in GBNF; it begins at root", OPT_FIELD(struct options, gbnf), 0, 0 },
    { "stats", 0, OPT_FLAG, NULL, "print compile and mask times as JSON", OPT_FIELD(struct options, stats), 0, 0 },
    { 0 },
};
const struct opt_command cmd_grammar_spec = {
    "grammar", "check --vocab FILE --schema FILE | --regex R | --gbnf FILE", "check a text against a schema or grammar",
    "Reads a text on stdin and follows it token by token, as generation would: exit status 0 when the automaton\n"
    "accepts all of it, 1 when it does not, 2 when the schema asks for something that cannot be enforced (its\n"
    "keyword and path are named on stderr).",
    rows,
};

struct stats {
    double compile_ms, trie_ms;
    double *mask_us;
    size_t masks, bytes; /* bytes: of the text, followed */
};

static struct grammar *compile(const struct options *o, struct err *e)
{
    struct buf text = { 0 };
    struct grammar *g = NULL;
    if (o->regex)
        return grammar_from_regex(o->regex, strlen(o->regex), e);
    if (file_read(o->schema ? o->schema : o->gbnf, INPUT_MAX, &text, e))
        return NULL;
    if (o->gbnf) {
        g = grammar_from_gbnf(buf_str(&text), text.len, e);
    } else {
        json_t *schema = jsonx_parse(buf_str(&text), text.len, e);
        g = schema ? grammar_from_schema(schema, e) : NULL;
        json_decref(schema);
    }
    buf_release(&text);
    return g;
}

static struct grammar_trie *read_tokens(const struct vocab *v)
{
    size_t count = (size_t)vocab_size(v);
    struct grammar_token *tokens = mem_new(count + 1, sizeof *tokens);
    struct buf *bytes = mem_new(count + 1, sizeof *bytes);
    for (size_t i = 0; i < count; i++) {
        vocab_token_bytes(v, (int)i, false, &bytes[i]);
        tokens[i] = (struct grammar_token){ bytes[i].data, bytes[i].len };
    }
    struct grammar_trie *t = grammar_trie_new(tokens, count);
    for (size_t i = 0; i < count; i++)
        buf_release(&bytes[i]);
    mem_free(bytes);
    mem_free(tokens);
    return t;
}

/* One token: its bit must be set, then its bytes are followed. */
static bool follow(struct grammar_state *s, const struct grammar_trie *t, struct grammar_cache *c,
        const struct vocab *v,
                   int id, uint32_t *bits, struct stats *st)
{
    struct buf b = { 0 };
    int64_t start = clock_mono_ns();
    grammar_mask(s, t, c, bits);
    st->mask_us[st->masks++] = (double)(clock_mono_ns() - start) / 1e3;
    vocab_token_bytes(v, id, false, &b);
    bool ok = (bits[id / 32] >> id % 32 & 1) && grammar_advance_bytes(s, buf_str(&b), b.len);
    st->bytes += ok ? b.len : 0;
    buf_release(&b);
    return ok;
}

static int by_value(const void *a, const void *b)
{
    double p = *(const double *)a, q = *(const double *)b;
    return p < q ? -1 : p > q;
}

static void print_stats(struct stats *st, size_t tokens, bool accepted)
{
    qsort(st->mask_us, st->masks, sizeof *st->mask_us, by_value);
    size_t n = st->masks ? st->masks : 1;
    printf("{\"accepted\":%s,\"tokens\":%zu,\"compile_ms\":%.3f,\"trie_ms\":%.3f,"
           "\"mask_us\":{\"p50\":%.2f,\"p90\":%.2f,\"p99\":%.2f,\"max\":%.2f}}\n",
           accepted ? "true" : "false", tokens, st->compile_ms, st->trie_ms,
           st->mask_us[n / 2], st->mask_us[n * 9 / 10], st->mask_us[n * 99 / 100], st->mask_us[n - 1]);
}

static int check(const struct options *o, const struct grammar *g, const struct vocab *v, const struct buf *text,
                 double compile_ms, struct err *e)
{
    struct stats st = { .compile_ms = compile_ms };
    struct vocab_ids ids = { 0 };
    int64_t start = clock_mono_ns();
    struct grammar_trie *t = read_tokens(v);
    st.trie_ms = (double)(clock_mono_ns() - start) / 1e6;
    struct grammar_cache *c = grammar_cache_new(g, t);
    struct grammar_state *s = grammar_start(g);
    uint32_t *bits = mem_new(grammar_trie_tokens(t) / 32 + 1, sizeof *bits);
    bool ok = !vocab_encode(v, buf_str(text), text->len, false, &ids, e);
    st.mask_us = mem_new(ids.count + 2, sizeof *st.mask_us);
    for (size_t i = 0; ok && i < ids.count; i++)
        ok = follow(s, t, c, v, ids.v[i], bits, &st);
    bool whole = ok;
    ok = ok && grammar_can_end(s);
    if (!ok)
        fprintf(stderr, "tokenworks grammar: not accepted: %s after %zu of %zu bytes\n",
                whole ? "the text may not end" : "what follows is not allowed", st.bytes, text->len);
    if (o->stats)
        print_stats(&st, ids.count, ok);
    mem_free(st.mask_us);
    mem_free(bits);
    vocab_ids_release(&ids);
    grammar_state_free(s);
    grammar_cache_free(c);
    grammar_trie_free(t);
    return ok ? 0 : 1;
}

int cmd_grammar(int argc, char **argv)
{
    struct options o = { 0 };
    struct err e = { 0 };
    int positional;
    enum opt_result r = opt_parse(&cmd_grammar_spec, argc, argv, &o, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (positional != 1 || strcmp(argv[1], "check") || !o.vocab || !!o.schema + !!o.regex + !!o.gbnf != 1) {
        fprintf(stderr, "tokenworks grammar: give check, --vocab FILE and one of --schema, --regex, --gbnf\n");
        return 2;
    }
    int64_t start = clock_mono_ns();
    struct grammar *g = compile(&o, &e);
    double compile_ms = (double)(clock_mono_ns() - start) / 1e6;
    if (!g) {
        cmd_fail(&cmd_grammar_spec, &e);
        return 2;
    }
    struct gguf_file *f = NULL;
    struct vocab *v = NULL;
    struct buf text = { 0 };
    int status;
    if (gguf_open(o.vocab, &f, &e) || vocab_new(f, NULL, &v, &e) || file_read("-", INPUT_MAX, &text, &e))
        status = cmd_fail(&cmd_grammar_spec, &e);
    else
        status = check(&o, g, v, &text, compile_ms, &e);
    buf_release(&text);
    vocab_free(v);
    gguf_close(f);
    grammar_free(g);
    return status;
}
