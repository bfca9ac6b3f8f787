/* stream -- from ids back to bytes, one token at a time, never half a character. */
#include "text/vocab_impl.h"

#include "text/utf8.h"

#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "<0xE2>" -> 0xe2. */
static void put_byte(const char *s, size_t n, struct buf *out)
{
    if (n == 6 && !memcmp(s, "<0x", 3) && s[5] == '>' && hex(s[3]) >= 0 && hex(s[4]) >= 0)
        buf_putc(out, (char)(hex(s[3]) * 16 + hex(s[4])));
    else
        buf_append(out, s, n);
}

static void put_unescaped(const char *s, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n;) {
        bool space = n - i >= 3 && !memcmp(s + i, "\xe2\x96\x81", 3);
        buf_putc(out, space ? ' ' : s[i]);
        i += space ? 3 : 1;
    }
}

/* Letters of the byte alphabet become their bytes; a character that is none stands for itself. */
static void put_letters(const char *s, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n;) {
        uint32_t cp = 0;
        int len = utf8_decode(s + i, n - i, &cp);
        int byte = len ? vocab_letter_byte(cp) : -1;
        len = len ? len : 1;
        if (byte >= 0)
            buf_putc(out, (char)byte);
        else
            buf_append(out, s + i, (size_t)len);
        i += (size_t)len;
    }
}

void vocab_token_bytes(const struct vocab *v, int id, bool special, struct buf *out)
{
    if (id < 0 || id >= v->count)
        return;
    unsigned a = v->attr[id];
    const char *s = v->blob.data + v->text[id].off;
    size_t n = v->text[id].len;
    if (a & (ATTR_CONTROL | ATTR_UNKNOWN)) {
        if (special)
            buf_append(out, s, n);
    } else if (a & ATTR_USER) {
        buf_append(out, s, n);
    } else if (a & ATTR_BYTE) {
        put_byte(s, n, out);
    } else if (a & ATTR_NORMAL) {
        bool letters = v->family == VOCAB_BPE && !v->raw;
        letters ? put_letters(s, n, out) : put_unescaped(s, n, out);
    }
}

/* The first visible token's leading space is the vocabulary's, not the text's. */
static bool drops_first_space(const struct vocab *v)
{
    return v->family == VOCAB_WORDPIECE || (v->family == VOCAB_SPM && v->add_space_prefix);
}

/* Appends a token's bytes; *started as in struct vocab_stream. */
static void put_token(const struct vocab *v, int id, bool special, bool *started, struct buf *out)
{
    size_t before = out->len;
    vocab_token_bytes(v, id, special, out);
    if (out->len == before || *started)
        return;
    *started = true;
    if (drops_first_space(v) && out->data[before] == ' ') {
        memmove(out->data + before, out->data + before + 1, out->len - before); /* the NUL too */
        out->len--;
    }
}

void vocab_decode(const struct vocab *v, const int32_t *ids, size_t count, bool special, struct buf *out)
{
    bool started = false;
    for (size_t i = 0; i < count; i++)
        put_token(v, ids[i], special, &started, out);
}

/* Could these bytes become a character with more of them? */
static bool unfinished(const char *s, size_t n)
{
    int want = utf8_promised((unsigned char)s[0]);
    if (want <= (int)n)
        return false;
    char whole[4];
    uint32_t cp;
    memcpy(whole, s, n);
    /* Some second bytes rule out every ending: try the lowest and the highest. */
    memset(whole + n, 0x80, 4 - n);
    if (utf8_decode(whole, (size_t)want, &cp))
        return true;
    memset(whole + n, 0xbf, 4 - n);
    return utf8_decode(whole, (size_t)want, &cp);
}

void vocab_stream_push(struct vocab_stream *s, const struct vocab *v, int id, bool special, struct buf *out)
{
    struct buf b = { 0 };
    buf_append(&b, s->held, (size_t)s->held_len);
    struct buf piece = { 0 };
    put_token(v, id, special, &s->started, &piece);
    buf_append(&b, piece.data, piece.len);
    s->held_len = 0;
    for (size_t i = 0; i < b.len;) {
        uint32_t cp;
        int len = utf8_decode(b.data + i, b.len - i, &cp);
        if (len > 0) {
            buf_append(out, b.data + i, (size_t)len);
            i += (size_t)len;
        } else if (unfinished(b.data + i, b.len - i)) {
            s->held_len = (int)(b.len - i);
            memcpy(s->held, b.data + i, (size_t)s->held_len);
            break;
        } else {
            /* The longest beginning of a character is one U+FFFD, as browsers do it. */
            size_t k = 1;
            while (i + k < b.len && k < 3 && unfinished(b.data + i, k + 1) && unfinished(b.data + i, k))
                k++;
            buf_puts(out, "\xef\xbf\xbd");
            i += k;
        }
    }
    buf_release(&piece);
    buf_release(&b);
}

void vocab_stream_finish(struct vocab_stream *s, struct buf *out)
{
    if (s->held_len)
        buf_puts(out, "\xef\xbf\xbd");
    s->held_len = 0;
}
