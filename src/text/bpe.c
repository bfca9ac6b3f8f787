/* bpe -- byte-pair encoding: words by the pre-tokeniser, each begun as single bytes (as characters in raw
 * vocabularies), neighbours joined by rank of the merge. */
#include "text/vocab_impl.h"

#include "text/utf8.h"

#include <string.h>

enum { INVALID_AS = 0x01 }; /* how the pre-tokeniser sees a byte that is no character: as a control character */

static bool pair(const void *ctx, const char *text, const struct merge_symbol *left, const struct merge_symbol *right,
                 uint32_t *order, int32_t *id)
{
    (void)text;
    if (left->id < 0 || right->id < 0)
        return false;
    const struct vocab_merge *m = vocab_merge_find(ctx, left->id, right->id);
    if (m->left < 0)
        return false;
    *order = m->rank;
    *id = m->result;
    return true;
}

/* The word as the vocabulary writes it, when it is a token; -1 otherwise. */
static int whole_word(const struct vocab *v, const char *word, size_t n, struct buf *scratch)
{
    if (n > (size_t)v->token_len_max)
        return -1;
    if (v->raw)
        return vocab_find(v, word, n);
    buf_clear(scratch);
    for (size_t i = 0; i < n; i++) {
        char letter[4];
        buf_append(scratch, letter, (size_t)utf8_encode(vocab_byte_letter((uint8_t)word[i]), letter));
    }
    return vocab_find(v, buf_str(scratch), scratch->len);
}

static void start_symbols(const struct vocab *v, const char *word, size_t n, struct merge_work *w)
{
    merge_clear(w);
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        int len = v->raw ? utf8_decode(word + i, n - i, &cp) : 1;
        len = len ? len : 1;
        int32_t id = v->byte_symbol[(unsigned char)word[i]];
        if (v->raw)
            id = vocab_symbol(v, word + i, (size_t)len, vocab_hash_more(VOCAB_HASH_START, word + i, (size_t)len));
        merge_add(w, (uint32_t)i, (uint32_t)len, id);
        i += (size_t)len;
    }
}

/* A symbol that is no token: what its bytes are called, where they are called anything. */
static void spell(const struct vocab *v, const char *s, size_t n, struct vocab_ids *out)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char b = (unsigned char)s[i];
        if (v->raw && v->byte_symbol[b] >= 0)
            vocab_ids_push(out, v->byte_symbol[b]);
        for (int k = 0; !v->raw && k < 2; k++)
            if (v->byte_fallback[b][k] >= 0)
                vocab_ids_push(out, v->byte_fallback[b][k]);
    }
}

static bool only_newlines(const char *word, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (word[i] != '\n')
            return false;
    return true;
}

static void encode_word(const struct vocab *v, const char *word, size_t n, struct vocab_scratch *s,
                        struct vocab_ids *out)
{
    unsigned flags = v->rule->flags;
    if ((flags & PRETOK_IGNORE_MERGES) || ((flags & PRETOK_NEWLINES) && only_newlines(word, n))) {
        int id = whole_word(v, word, n, &s->word);
        if (id >= 0) {
            vocab_ids_push(out, id);
            return;
        }
    }
    start_symbols(v, word, n, &s->work);
    merge_run(&s->work, word, pair, v);
    for (int32_t i = 0; i >= 0; i = s->work.symbols[i].next) {
        const struct merge_symbol *m = &s->work.symbols[i];
        if (m->id >= 0 && m->id < v->count)
            vocab_ids_push(out, m->id);
        else
            spell(v, word + m->off, m->len, out);
    }
}

/* Puts into s->text what the pre-tokeniser will see; *bytes is what the words are cut from. */
static const char *prepare(const struct vocab *v, const char *text, size_t *n, struct vocab_scratch *s,
                           const char **bytes)
{
    uint32_t cp;
    bool escape = v->rule->flags & PRETOK_ESCAPE;
    size_t len = *n;
    buf_clear(&s->text);
    if (escape) {
        for (size_t i = 0; i < len; i++)
            text[i] == ' ' ? buf_puts(&s->text, "\xe2\x96\x81") : buf_putc(&s->text, text[i]);
        text = buf_str(&s->text);
        *n = len = s->text.len;
    }
    *bytes = text;
    size_t good = 0;
    for (int k; good < len && (k = utf8_decode(text + good, len - good, &cp)) > 0;)
        good += (size_t)k;
    if (good == len)
        return text;
    size_t at = s->text.len; /* the copy goes after the escaped text, if there is one */
    buf_reserve(&s->text, len);
    if (escape)
        *bytes = text = s->text.data;
    for (size_t i = 0; i < len;) {
        int k = utf8_decode(text + i, len - i, &cp);
        k > 0 ? buf_append(&s->text, text + i, (size_t)k) : buf_putc(&s->text, INVALID_AS);
        i += k > 0 ? (size_t)k : 1;
    }
    return s->text.data + at;
}

enum err_code bpe_encode(const struct vocab *v, const char *text, size_t n, struct vocab_scratch *s,
                         struct vocab_ids *out, struct err *e)
{
    const char *bytes;
    const char *seen = prepare(v, text, &n, s, &bytes);
    enum err_code c = pretok_split(v->pretok, seen, n, &s->cuts, e);
    size_t start = 0, end;
    for (size_t i = 0; !c && i < s->cuts.count; i++)
        for (; start < s->cuts.end[i]; start = end) {
            end = v->raw ? vocab_word_end(v, bytes, start, s->cuts.end[i]) : s->cuts.end[i];
            encode_word(v, bytes + start, end - start, s, out);
        }
    return c;
}
