/* tokenize -- tokenworks tokenize: text on stdin to ids, or ids on stdin to text. */
#include "cmd/cmd.h"

#include "base/file.h"
#include "base/mem.h"
#include "text/utf8.h"
#include "text/vocab.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

struct tokenize_options {
    const char *vocab, *pre;
    bool special, json, decode;
};

static const struct opt rows[] = {
    { "vocab", 0, OPT_STRING, "FILE", "model file (GGUF) whose vocabulary is used",
      OPT_FIELD(struct tokenize_options, vocab), 0, 0 },
    { "pre", 0, OPT_STRING, "NAME", "pre-tokeniser instead of the file's own",
      OPT_FIELD(struct tokenize_options, pre), 0, 0 },
    { "special", 0, OPT_FLAG, NULL, "the text of control tokens means those tokens",
      OPT_FIELD(struct tokenize_options, special), 0, 0 },
    { "json", 0, OPT_FLAG, NULL, "print the ids as one JSON array",
      OPT_FIELD(struct tokenize_options, json), 0, 0 },
    { "decode", 0, OPT_FLAG, NULL, "the other way: ids on stdin, text on stdout",
      OPT_FIELD(struct tokenize_options, decode), 0, 0 },
    { 0 },
};
const struct opt_command cmd_tokenize_spec = {
    "tokenize", "--vocab FILE [options] <TEXT", "turn text on stdin into token ids, or back",
    "Reads all of stdin, as bytes. Prints a line for each token: its id, a tab, its text with control\n"
    "characters, backslashes and bytes that are not UTF-8 escaped. Neither BOS nor EOS is added.\n"
    "With --decode stdin holds ids separated by anything that is no digit; --special shows control tokens.", rows,
};

static void print_escaped(const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        int len = utf8_decode(s + i, n - i, &cp);
        if (len == 0 || cp < 0x20 || cp == 0x7f) {
            const char *short_form = s[i] == '\n' ? "\\n" : s[i] == '\t' ? "\\t" : s[i] == '\r' ? "\\r" : NULL;
            short_form ? (void)fputs(short_form, stdout) : (void)printf("\\x%02x", (unsigned char)s[i]);
        } else if (cp == '\\') {
            fputs("\\\\", stdout);
        } else {
            fwrite(s + i, 1, (size_t)len, stdout);
        }
        i += len ? (size_t)len : 1;
    }
}

static void print_ids(const struct vocab *v, const struct vocab_ids *ids, bool json)
{
    struct buf text = { 0 };
    if (json)
        putchar('[');
    for (size_t i = 0; i < ids->count; i++) {
        if (json) {
            printf("%s%d", i ? ", " : "", ids->v[i]);
            continue;
        }
        buf_clear(&text);
        vocab_token_bytes(v, ids->v[i], true, &text);
        printf("%d\t", ids->v[i]);
        print_escaped(buf_str(&text), text.len);
        putchar('\n');
    }
    if (json)
        puts("]");
    buf_release(&text);
}

static enum err_code read_ids(const struct vocab *v, const char *s, struct vocab_ids *ids, struct err *e)
{
    while (*s) {
        if (!isdigit((unsigned char)*s)) {
            s++;
            continue;
        }
        char *end;
        long long id = strtoll(s, &end, 10);
        if (id >= vocab_size(v))
            return err_set(e, ERR_INVALID, "%.*s is no token: the vocabulary has %d", (int)(end - s), s, vocab_size(v));
        vocab_ids_push(ids, (int32_t)id);
        s = end;
    }
    return ERR_OK;
}

static enum err_code run(const struct tokenize_options *o, const struct vocab *v, struct err *e)
{
    struct buf in = { 0 }, text = { 0 };
    struct vocab_ids ids = { 0 };
    enum err_code c = file_read("-", VOCAB_TEXT_MAX, &in, e);
    if (!c && o->decode) {
        c = read_ids(v, buf_str(&in), &ids, e);
        if (!c) {
            vocab_decode(v, ids.v, ids.count, o->special, &text);
            fwrite(buf_str(&text), 1, text.len, stdout);
        }
    } else if (!c) {
        c = vocab_encode(v, buf_str(&in), in.len, o->special, &ids, e);
        if (!c)
            print_ids(v, &ids, o->json);
    }
    buf_release(&in);
    buf_release(&text);
    vocab_ids_release(&ids);
    return c;
}

int cmd_tokenize(int argc, char **argv)
{
    struct tokenize_options o = { 0 };
    int positional;
    enum opt_result r = opt_parse(&cmd_tokenize_spec, argc, argv, &o, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (!o.vocab || positional) {
        fprintf(stderr, "tokenworks tokenize: give --vocab FILE and the text on stdin\n");
        return 2;
    }
    struct gguf_file *f = NULL;
    struct vocab *v = NULL;
    struct err e;
    enum err_code c = gguf_open(o.vocab, &f, &e);
    if (!c)
        c = vocab_new(f, o.pre, &v, &e);
    if (!c)
        c = run(&o, v, &e);
    vocab_free(v);
    gguf_close(f);
    return c ? cmd_fail(&cmd_tokenize_spec, &e) : fflush(stdout) ? 1 : 0;
}
