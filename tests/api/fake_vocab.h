/* fake_vocab -- a vocabulary small enough to read: the 256 bytes, four control tokens, a few words. It stands in for
 * text/vocab.c at link time so that the tests of api/ can say token by token what arrives. */
#ifndef TESTS_API_FAKE_VOCAB_H
#define TESTS_API_FAKE_VOCAB_H
#include "base/mem.h"
#include "text/vocab.h"

#include <string.h>

struct vocab {
    bool add_bos;
};

enum { FAKE_BOS = 256, FAKE_EOS, FAKE_IM_START, FAKE_IM_END, FAKE_HELLO, FAKE_WORLD, FAKE_ST, FAKE_OP, FAKE_E_ACUTE,
       FAKE_SIZE };
static const char *const fake_text[] = { "<s>", "</s>", "<|im_start|>", "<|im_end|>", "Hello", " world", "ST", "OP",
                                         "\xC3\xA9" };

static inline struct vocab_ids fake_ids(const char *text) /* as the tests write them: bytes and control tokens */
{
    struct vocab_ids ids = { 0 };
    vocab_encode(NULL, text, strlen(text), true, &ids, NULL);
    return ids;
}

int vocab_size(const struct vocab *v) { return FAKE_SIZE; }
enum vocab_family vocab_family(const struct vocab *v) { return VOCAB_BPE; }
int vocab_bos(const struct vocab *v) { return FAKE_BOS; }
int vocab_eos(const struct vocab *v) { return FAKE_EOS; }
int vocab_sep(const struct vocab *v) { return -1; }
bool vocab_add_sep(const struct vocab *v) { return false; }
bool vocab_add_eos(const struct vocab *v) { return false; }
bool vocab_add_bos(const struct vocab *v) { return v->add_bos; }
bool vocab_is_end(const struct vocab *v, int id) { return id == FAKE_EOS || id == FAKE_IM_END; }
enum vocab_token_kind vocab_kind(const struct vocab *v, int id)
{
    return id >= FAKE_BOS && id <= FAKE_IM_END ? VOCAB_CONTROL : VOCAB_NORMAL;
}

void vocab_token_bytes(const struct vocab *v, int id, bool special, struct buf *out)
{
    if (id < 256)
        buf_putc(out, (char)id);
    else if (special || vocab_kind(v, id) != VOCAB_CONTROL)
        buf_puts(out, fake_text[id - 256]);
}

int vocab_find(const struct vocab *v, const char *text, size_t n)
{
    for (int k = FAKE_BOS; k < FAKE_SIZE; k++)
        if (strlen(fake_text[k - 256]) == n && !memcmp(text, fake_text[k - 256], n))
            return k;
    return n == 1 ? (unsigned char)*text : -1;
}

struct gguf_str vocab_token_text(const struct vocab *v, int id)
{
    static const char none[] = "?";
    const char *s = id >= 256 ? fake_text[id - 256] : none;
    return (struct gguf_str){ s, strlen(s) };
}

void vocab_ids_release(struct vocab_ids *ids)
{
    mem_free(ids->v);
    *ids = (struct vocab_ids){ 0 };
}

void vocab_ids_push(struct vocab_ids *ids, int32_t id)
{
    if (ids->count == ids->cap) {
        ids->cap = ids->cap ? ids->cap * 2 : 64;
        ids->v = mem_grow(ids->v, ids->cap, sizeof *ids->v);
    }
    ids->v[ids->count++] = id;
}

/* Control tokens where special, otherwise a token for each byte. */
enum err_code vocab_encode(const struct vocab *v, const char *text, size_t n, bool special, struct vocab_ids *out,
                           struct err *e)
{
    for (size_t i = 0; i < n;) {
        int id = -1;
        for (int k = FAKE_BOS; special && k <= FAKE_IM_END && id < 0; k++) {
            size_t len = strlen(fake_text[k - 256]);
            if (len <= n - i && !memcmp(text + i, fake_text[k - 256], len))
                id = k;
        }
        vocab_ids_push(out, id >= 0 ? id : (unsigned char)text[i]);
        i += id >= 0 ? strlen(fake_text[id - 256]) : 1;
    }
    return ERR_OK;
}

static size_t fake_char_len(unsigned char c)
{
    return c < 0x80 ? 1 : c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : c >= 0xC2 ? 2 : 1;
}

void vocab_stream_push(struct vocab_stream *s, const struct vocab *v, int id, bool special, struct buf *out)
{
    struct buf b = { 0 };
    vocab_token_bytes(v, id, special, &b);
    for (size_t i = 0; i < b.len; i++) {
        s->held[s->held_len++] = b.data[i];
        if ((size_t)s->held_len >= fake_char_len((unsigned char)s->held[0])) {
            buf_append(out, s->held, (size_t)s->held_len);
            s->held_len = 0;
        }
    }
    buf_release(&b);
}

void vocab_stream_finish(struct vocab_stream *s, struct buf *out)
{
    if (s->held_len)
        buf_puts(out, "\xEF\xBF\xBD");
    s->held_len = 0;
}
#endif
