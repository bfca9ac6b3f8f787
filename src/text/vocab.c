/* vocab -- see vocab.h. Looking tokens up, and the way from text to ids: special tokens are cut out first, the
 * rest goes to the family's encoder. */
#include "text/vocab_impl.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

uint64_t vocab_hash_more(uint64_t state, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++)
        state = (state ^ (unsigned char)text[i]) * 0x100000001b3u;
    return state;
}

int32_t vocab_symbol(const struct vocab *v, const char *text, size_t n, uint64_t hash)
{
    for (size_t i = (hash ^ hash >> 32) & v->slots_mask;; i = (i + 1) & v->slots_mask) {
        int32_t s = v->slots[i]; /* some slots are always free: the loop meets one */
        if (s < 0)
            return -1;
        if (v->hash[s] == hash && v->text[s].len == n && !memcmp(v->blob.data + v->text[s].off, text, n))
            return s;
    }
}

const struct vocab_merge *vocab_merge_find(const struct vocab *v, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    key *= 0x9e3779b97f4a7c15u;
    for (size_t i = (key >> 32) & v->merges_mask;; i = (i + 1) & v->merges_mask) {
        const struct vocab_merge *m = &v->merges[i];
        if (m->left < 0 || (m->left == left && m->right == right))
            return m;
    }
}

/* The printable bytes stand for themselves, the others for U+0100 and on, in order. */
uint32_t vocab_byte_letter(uint8_t byte)
{
    if ((byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae)
        return byte;
    if (byte <= 0x20)
        return 0x100u + byte;
    return byte == 0xad ? 0x143 : 0x121u + (byte - 0x7fu);
}

int vocab_letter_byte(uint32_t cp)
{
    if (cp <= 0xff)
        return vocab_byte_letter((uint8_t)cp) == cp ? (int)cp : -1;
    if (cp <= 0x120)
        return (int)(cp - 0x100);
    if (cp <= 0x142)
        return (int)(cp - 0x121 + 0x7f);
    return cp == 0x143 ? 0xad : -1;
}

enum err_code vocab_new(const struct gguf_file *f, const char *pre, struct vocab **out, struct err *e)
{
    struct vocab *v = MEM_NEW(struct vocab);
    enum err_code c = vocab_load(v, f, pre, e);
    if (!c)
        c = vocab_load_specials(v, f, e);
    if (c)
        vocab_free(v);
    else
        *out = v;
    return c;
}

void vocab_free(struct vocab *v)
{
    if (!v)
        return;
    pretok_free(v->pretok);
    buf_release(&v->blob);
    mem_free(v->text);
    mem_free(v->hash);
    mem_free(v->score);
    mem_free(v->attr);
    mem_free(v->slots);
    mem_free(v->merges);
    mem_free(v);
}

static bool space_at(const char *text, size_t at, size_t n)
{
    return n - at >= 3 && !memcmp(text + at, "\xe2\x96\x81", 3);
}

size_t vocab_word_end(const struct vocab *v, const char *text, size_t at, size_t n)
{
    while (at < n && space_at(text, at, n))
        at += 3;
    while (at < n && !(v->words_apart && space_at(text, at, n)))
        at++;
    return at;
}

int vocab_size(const struct vocab *v) { return v->count; }
enum vocab_family vocab_family(const struct vocab *v) { return v->family; }
int vocab_bos(const struct vocab *v) { return v->bos; }
int vocab_eos(const struct vocab *v) { return v->eos; }
int vocab_eot(const struct vocab *v) { return v->eot; }
int vocab_sep(const struct vocab *v) { return v->sep; }
int vocab_unk(const struct vocab *v) { return v->unk; }
int vocab_pad(const struct vocab *v) { return v->pad; }
bool vocab_add_bos(const struct vocab *v) { return v->add_bos; }
bool vocab_add_eos(const struct vocab *v) { return v->add_eos; }
bool vocab_add_sep(const struct vocab *v) { return v->add_sep; }
int vocab_token_len_max(const struct vocab *v) { return v->token_len_max; }

bool vocab_is_end(const struct vocab *v, int id)
{
    return id >= 0 && id < v->count && (v->attr[id] & ATTR_END);
}

enum vocab_token_kind vocab_kind(const struct vocab *v, int id)
{
    ASSERT(id >= 0 && id < v->count);
    unsigned a = v->attr[id];
    if (a & ATTR_CONTROL)
        return VOCAB_CONTROL;
    if (a & ATTR_UNKNOWN)
        return VOCAB_UNKNOWN;
    if (a & ATTR_USER)
        return VOCAB_USER;
    if (a & ATTR_BYTE)
        return VOCAB_BYTE;
    return a & ATTR_NORMAL ? VOCAB_NORMAL : VOCAB_UNUSED;
}

int vocab_find(const struct vocab *v, const char *text, size_t n)
{
    int32_t s = vocab_symbol(v, text, n, vocab_hash_more(VOCAB_HASH_START, text, n));
    return s < v->count ? s : -1;
}

struct gguf_str vocab_token_text(const struct vocab *v, int id)
{
    ASSERT(id >= 0 && id < v->count);
    return (struct gguf_str){ v->blob.data + v->text[id].off, v->text[id].len };
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
        ids->v = mem_grow(ids->v, ids->cap, sizeof(*ids->v));
    }
    ids->v[ids->count++] = id;
}

static enum err_code encode_raw(const struct vocab *v, const char *text, size_t n, struct vocab_scratch *s,
                                struct vocab_ids *out, struct err *e)
{
    switch (v->family) {
    case VOCAB_BPE:
        return bpe_encode(v, text, n, s, out, e);
    case VOCAB_SPM:
        spm_encode(v, text, n, s, out);
        return ERR_OK;
    case VOCAB_WORDPIECE:
        wordpiece_encode(v, text, n, s, out);
        return ERR_OK;
    }
    ASSERT(!"family");
    return ERR_CORRUPT;
}

enum err_code vocab_encode(const struct vocab *v, const char *text, size_t n, bool special, struct vocab_ids *out,
                           struct err *e)
{
    if (n > VOCAB_TEXT_MAX)
        return err_set(e, ERR_LIMIT, "the text has %zu bytes; at most %d are encoded in one call", n, VOCAB_TEXT_MAX);
    struct vocab_part *parts;
    size_t count = vocab_split_special(v, text, n, special, &parts), before = out->count;
    struct vocab_scratch s = { .at_start = true };
    enum err_code c = ERR_OK;
    for (size_t i = 0; i < count && !c; i++) {
        if (parts[i].id >= 0)
            vocab_ids_push(out, parts[i].id);
        else
            c = encode_raw(v, text + parts[i].off, parts[i].len, &s, out, e);
        s.at_start = parts[i].id >= 0;
    }
    if (c)
        out->count = before;
    merge_release(&s.work);
    pretok_cuts_release(&s.cuts);
    buf_release(&s.text);
    buf_release(&s.word);
    mem_free(parts);
    return c;
}
