/* spm -- SentencePiece's byte-pair model (Llama, Phi-3, Gemma): spaces become U+2581, characters join while the
 * joined text is a token, best score first; what is no token falls back to its bytes. */
#include "text/vocab_impl.h"

#include "text/utf8.h"

#include <string.h>

/* Floats in order as integers, highest score smallest. */
static uint32_t score_order(float score)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof(bits));
    if (bits == 0x80000000u)
        bits = 0; /* -0 is 0 */
    bits = bits & 0x80000000u ? ~bits : bits | 0x80000000u; /* rises with the score */
    return ~bits;
}

static bool pair(const void *ctx, const char *text, const struct merge_symbol *left, const struct merge_symbol *right,
                 uint32_t *order, int32_t *id)
{
    const struct vocab *v = ctx;
    size_t n = left->len + right->len;
    if (n > (size_t)v->token_len_max)
        return false;
    *id = vocab_find(v, text + left->off, n);
    if (*id < 0)
        return false;
    *order = score_order(v->score[*id]);
    return true;
}

static void encode_word(const struct vocab *v, const char *word, size_t n, struct merge_work *w,
                        struct vocab_ids *out)
{
    merge_clear(w);
    for (size_t i = 0; i < n;) {
        uint32_t cp;
        int len = utf8_decode(word + i, n - i, &cp);
        len = len ? len : 1;
        merge_add(w, (uint32_t)i, (uint32_t)len, vocab_find(v, word + i, (size_t)len));
        i += (size_t)len;
    }
    merge_run(w, word, pair, v);
    for (int32_t i = 0; i >= 0; i = w->symbols[i].next) {
        const struct merge_symbol *m = &w->symbols[i];
        if (m->id >= 0) {
            vocab_ids_push(out, m->id);
            continue;
        }
        for (uint32_t k = 0; k < m->len; k++) {
            int32_t id = v->byte_symbol[(unsigned char)word[m->off + k]];
            if (id >= 0 || v->unk >= 0)
                vocab_ids_push(out, id >= 0 ? id : v->unk);
        }
    }
}

void spm_encode(const struct vocab *v, const char *text, size_t n, struct vocab_scratch *s, struct vocab_ids *out)
{
    struct buf *b = &s->text;
    buf_clear(b);
    if (v->add_space_prefix && s->at_start)
        buf_puts(b, "\xe2\x96\x81");
    for (size_t i = 0; i < n; i++)
        text[i] == ' ' ? buf_puts(b, "\xe2\x96\x81") : buf_putc(b, text[i]);
    for (size_t at = 0, end; at < b->len; at = end) {
        end = vocab_word_end(v, b->data, at, b->len);
        encode_word(v, b->data + at, end - at, &s->work, out);
    }
}
