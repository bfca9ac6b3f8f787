/* wordpiece -- BERT's tokeniser: normalise (accents off, lower case, control characters out), words at white
 * space, punctuation and CJK characters on their own, then the longest token again and again.
 *
 * The vocabulary writes a word's beginning as U+2581 (files are converted so); a word with a stretch that no
 * token begins is one unknown token. Decomposition keeps the first character only, as the reference engine
 * does: for letters with accents that is the letter, for Hangul the first jamo. */
#include "text/vocab_impl.h"

#include "text/utf8.h"

#include <string.h>
#include <utf8proc.h>

static bool is_cjk(uint32_t cp)
{
    return (cp >= 0x4e00 && cp <= 0x9fff) || (cp >= 0x3400 && cp <= 0x4dbf) || (cp >= 0x20000 && cp <= 0x2a6df) ||
           (cp >= 0x2a700 && cp <= 0x2b73f) || (cp >= 0x2b740 && cp <= 0x2b81f) || (cp >= 0x2b920 && cp <= 0x2ceaf) ||
           (cp >= 0xf900 && cp <= 0xfaff) || (cp >= 0x2f800 && cp <= 0x2fa1f);
}

static bool in(utf8proc_category_t c, utf8proc_category_t first, utf8proc_category_t last)
{
    return c >= first && c <= last;
}

static uint32_t without_accent(uint32_t cp)
{
    utf8proc_int32_t out[32];
    int bound = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)cp, out, 32, UTF8PROC_DECOMPOSE, &bound);
    return n > 0 ? (uint32_t)out[0] : cp;
}

/* The longest token at word[i..n); its length, *id set; 0 when there is none. */
static size_t longest(const struct vocab *v, const char *word, size_t n, int32_t *id)
{
    size_t max = n < (size_t)v->token_len_max ? n : (size_t)v->token_len_max, len = 0;
    uint64_t hash = VOCAB_HASH_START;
    for (size_t k = 0; k < max; k++) {
        hash = vocab_hash_more(hash, word + k, 1);
        int32_t s = vocab_symbol(v, word, k + 1, hash);
        if (s >= 0) {
            *id = s;
            len = k + 1;
        }
    }
    return len;
}

static void end_word(const struct vocab *v, struct buf *word, struct vocab_ids *out)
{
    static const size_t mark = 3; /* U+2581, put there by begin */
    size_t before = out->count;
    if (word->len > mark) {
        for (size_t i = 0; i < word->len;) {
            int32_t id;
            size_t len = longest(v, word->data + i, word->len - i, &id);
            if (len == 0) {
                out->count = before;
                break;
            }
            vocab_ids_push(out, id);
            i += len;
        }
        if (out->count == before && v->unk >= 0)
            vocab_ids_push(out, v->unk);
    }
    buf_clear(word);
    buf_puts(word, "\xe2\x96\x81");
}

void wordpiece_encode(const struct vocab *v, const char *text, size_t n, struct vocab_scratch *s,
                      struct vocab_ids *out)
{
    struct buf *word = &s->word;
    buf_clear(word);
    buf_puts(word, "\xe2\x96\x81");
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        int len = utf8_decode(text + i, n - i, &cp);
        i += len ? (size_t)len : 1;
        if (v->strip_accents && len)
            cp = without_accent(cp);
        if (utf8_is_space(cp)) {
            end_word(v, word, out);
            continue;
        }
        utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
        bool mark = in(c, UTF8PROC_CATEGORY_MN, UTF8PROC_CATEGORY_ME);
        if (cp == 0 || cp == 0xfffd || in(c, UTF8PROC_CATEGORY_CC, UTF8PROC_CATEGORY_CO) || (mark && v->strip_accents))
            continue;
        bool alone = in(c, UTF8PROC_CATEGORY_PC, UTF8PROC_CATEGORY_PO) || is_cjk(cp) ||
                     (cp < 0x7f && in(c, UTF8PROC_CATEGORY_SM, UTF8PROC_CATEGORY_SO));
        char bytes[4];
        uint32_t low = v->lowercase ? (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp) : cp;
        int m = utf8_encode(low, bytes);
        if (alone)
            end_word(v, word, out);
        buf_append(word, bytes, (size_t)m);
        if (alone)
            end_word(v, word, out);
    }
    end_word(v, word, out);
}
