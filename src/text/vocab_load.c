/* vocab_load -- the tokens and merges of a model file into arrays and two hash tables, in one pass each.
 *
 * The file's header was checked by gguf/; here every count and id is checked before use. */
#include "text/vocab_impl.h"

#include "base/mem.h"
#include "text/utf8.h"

#include <stdio.h>
#include <string.h>

enum { TOKENS_MAX = 1 << 22, MERGES_MAX = 1 << 23, TEXT_BYTES_MAX = 1 << 30, TOKEN_BYTES_MAX = 1 << 16 };

static const char key_tokens[] = "tokenizer.ggml.tokens", key_merges[] = "tokenizer.ggml.merges";
static const char key_scores[] = "tokenizer.ggml.scores", key_types[] = "tokenizer.ggml.token_type";

/* A table that is at most five eighths full, a power of two. */
static size_t table_size(size_t items)
{
    size_t n = 64;
    while (n < items + items / 5 * 3)
        n *= 2;
    return n;
}

static size_t strings_at(const struct gguf_file *f, const char *key)
{
    enum gguf_kind kind;
    size_t count;
    const struct gguf_value *v = gguf_find(f, key);
    return v && gguf_value_array(v, &kind, &count) && kind == GGUF_STRING ? count : 0;
}

size_t vocab_measure(const struct gguf_file *f)
{
    enum { TOKEN_TEXT = 8 }; /* bytes of a token's text, of most vocabularies' means the largest */
    size_t tokens = strings_at(f, key_tokens), merges = strings_at(f, key_merges);
    const struct vocab *v;
    return tokens * (TOKEN_TEXT + sizeof *v->text + sizeof *v->hash + sizeof *v->score + sizeof *v->attr) +
           (tokens ? table_size(tokens) * sizeof *v->slots : 0) + (merges ? table_size(merges) * sizeof *v->merges : 0);
}

/* Adds a symbol at the end; the hash table keeps the first of equal texts. There must be room (I1). */
static int32_t add_symbol(struct vocab *v, const char *text, size_t n, uint64_t hash)
{
    int32_t s = v->symbols++;
    v->text[s] = (struct vocab_span){ (uint32_t)v->blob.len, (uint32_t)n };
    v->hash[s] = hash;
    buf_append(&v->blob, text, n);
    size_t i = (hash ^ hash >> 32) & v->slots_mask;
    for (; v->slots[i] >= 0; i = (i + 1) & v->slots_mask) {
        int32_t o = v->slots[i];
        if (v->hash[o] == hash && v->text[o].len == n && !memcmp(v->blob.data + v->text[o].off, text, n))
            return s;
    }
    v->slots[i] = s;
    return s;
}

static uint16_t attr_of(int64_t type)
{
    static const uint16_t attrs[] = {
        [VOCAB_NORMAL] = ATTR_NORMAL, [VOCAB_UNKNOWN] = ATTR_UNKNOWN, [VOCAB_CONTROL] = ATTR_CONTROL,
        [VOCAB_USER] = ATTR_USER, [VOCAB_UNUSED] = ATTR_UNUSED, [VOCAB_BYTE] = ATTR_BYTE,
    };
    return type >= 0 && type < (int64_t)MEM_COUNT(attrs) ? attrs[type] : 0;
}

/* An optional array beside the tokens: NULL when absent, refused when shorter than they are. */
static enum err_code side_array(const struct gguf_file *f, const char *key, size_t tokens,
                                const struct gguf_value **out, struct err *e)
{
    enum gguf_kind kind;
    size_t count;
    *out = gguf_find(f, key);
    if (!*out)
        return ERR_OK;
    if (!gguf_value_array(*out, &kind, &count) || kind == GGUF_STRING || kind == GGUF_ARRAY || count < tokens)
        return err_set(e, ERR_CORRUPT, "%s: '%s' is not an array of a number for each of the %zu tokens", gguf_name(f),
                       key, tokens);
    return ERR_OK;
}

/* Makes room for the tokens and for what extra strings the merges may bring (three each at most; the arrays
 * are sized for tokens plus extra, and extra grows only when a merge needs it). */
static void reserve(struct vocab *v, size_t symbols)
{
    v->text = mem_grow(v->text, symbols, sizeof(*v->text));
    v->hash = mem_grow(v->hash, symbols, sizeof(*v->hash));
}

static void make_slots(struct vocab *v, size_t items)
{
    size_t n = table_size(items);
    v->slots = mem_grow(v->slots, n, sizeof(*v->slots));
    memset(v->slots, 0xff, n * sizeof(*v->slots));
    v->slots_mask = n - 1;
}

static enum err_code load_tokens(struct vocab *v, const struct gguf_file *f, struct err *e)
{
    const struct gguf_value *tokens = gguf_find(f, key_tokens), *scores, *types;
    enum gguf_kind kind;
    size_t count;
    if (!tokens || !gguf_value_array(tokens, &kind, &count) || kind != GGUF_STRING || count == 0)
        return err_set(e, ERR_CORRUPT, "%s: '%s' is missing or not an array of strings: the file holds no vocabulary",
                       gguf_name(f), key_tokens);
    if (count > TOKENS_MAX)
        return err_set(e, ERR_LIMIT, "%s: %zu tokens; at most %d are supported", gguf_name(f), count, TOKENS_MAX);
    enum err_code c = side_array(f, key_scores, count, &scores, e);
    if (!c)
        c = side_array(f, key_types, count, &types, e);
    if (c)
        return c;
    reserve(v, count);
    v->score = mem_new(count, sizeof(*v->score));
    v->attr = mem_new(count, sizeof(*v->attr));
    make_slots(v, count);
    for (size_t i = 0; i < count; i++) {
        struct gguf_str s;
        char empty[32];
        double score = 0;
        int64_t type = VOCAB_NORMAL;
        if (!gguf_array_string(tokens, i, &s) || s.len > TOKEN_BYTES_MAX)
            return err_set(e, ERR_CORRUPT, "%s: token %zu is longer than %d bytes", gguf_name(f), i, TOKEN_BYTES_MAX);
        if (s.len == 0) /* such tokens exist in padded vocabularies; they need a text nobody writes */
            s = (struct gguf_str){ empty, (size_t)snprintf(empty, sizeof(empty), "[EMPTY_%zu]", i) };
        add_symbol(v, s.data, s.len, vocab_hash_more(VOCAB_HASH_START, s.data, s.len));
        v->token_len_max = (int)s.len > v->token_len_max ? (int)s.len : v->token_len_max;
        if (scores)
            gguf_array_double(scores, i, &score);
        if (types)
            gguf_array_int(types, i, &type);
        v->score[i] = (float)score;
        v->attr[i] = attr_of(type);
    }
    v->count = v->symbols;
    return v->blob.overflow ? err_set(e, ERR_LIMIT, "%s: the tokens take more than %d bytes", gguf_name(f),
                                      TEXT_BYTES_MAX) : ERR_OK;
}

/* The symbol of a text that merges name; a new one when no token has it. */
static int32_t intern(struct vocab *v, const char *text, size_t n, uint64_t hash)
{
    int32_t s = vocab_symbol(v, text, n, hash);
    if (s >= 0)
        return s;
    if (v->symbols >= v->count) { /* rare: such merges end in no token. Grow by doubling past the tokens. */
        size_t extra = (size_t)(v->symbols - v->count);
        if ((extra & (extra - 1)) == 0)
            reserve(v, (size_t)v->count + (extra ? 2 * extra : 1));
        if (2 * (size_t)(v->symbols + 1) > v->slots_mask + 1) {
            make_slots(v, 2 * (size_t)(v->symbols + 1));
            for (int32_t i = 0; i < v->symbols; i++) {
                size_t k = (v->hash[i] ^ v->hash[i] >> 32) & v->slots_mask;
                while (v->slots[k] >= 0 && v->hash[v->slots[k]] != v->hash[i])
                    k = (k + 1) & v->slots_mask;
                if (v->slots[k] < 0)
                    v->slots[k] = i;
            }
        }
    }
    return add_symbol(v, text, n, hash);
}

static void add_merge(struct vocab *v, struct gguf_str s, uint32_t rank)
{
    const char *space = s.len > 1 ? memchr(s.data + 1, ' ', s.len - 1) : NULL;
    if (!space || space + 1 == s.data + s.len || s.len > TOKEN_BYTES_MAX)
        return; /* not a pair: it can never apply */
    size_t n = (size_t)(space - s.data), m = s.len - n - 1;
    uint64_t hash = vocab_hash_more(VOCAB_HASH_START, s.data, n);
    int32_t left = intern(v, s.data, n, hash);
    int32_t right = intern(v, space + 1, m, vocab_hash_more(VOCAB_HASH_START, space + 1, m));
    struct vocab_merge *slot = (struct vocab_merge *)vocab_merge_find(v, left, right);
    if (slot->left >= 0)
        return; /* the first of equal merges counts */
    char joined[512];
    char *both = n + m <= sizeof(joined) ? joined : mem_new(n + m, 1);
    memcpy(both, s.data, n);
    memcpy(both + n, space + 1, m);
    int32_t result = intern(v, both, n + m, vocab_hash_more(hash, both + n, m));
    if (both != joined)
        mem_free(both);
    *slot = (struct vocab_merge){ left, right, result, rank };
}

static enum err_code load_merges(struct vocab *v, const struct gguf_file *f, struct err *e)
{
    const struct gguf_value *merges = gguf_find(f, key_merges);
    enum gguf_kind kind;
    size_t count;
    if (!merges || !gguf_value_array(merges, &kind, &count) || kind != GGUF_STRING)
        return err_set(e, ERR_CORRUPT, "%s: '%s' is missing or not an array of strings: byte pairs need it",
                       gguf_name(f), key_merges);
    if (count > MERGES_MAX)
        return err_set(e, ERR_LIMIT, "%s: %zu merges; at most %d are supported", gguf_name(f), count, MERGES_MAX);
    size_t n = table_size(count);
    v->merges = mem_new(n, sizeof(*v->merges));
    memset(v->merges, 0xff, n * sizeof(*v->merges));
    v->merges_mask = n - 1;
    for (size_t i = 0; i < count; i++) {
        struct gguf_str s;
        if (gguf_array_string(merges, i, &s))
            add_merge(v, s, (uint32_t)i);
    }
    return v->blob.overflow ? err_set(e, ERR_LIMIT, "%s: the merges' texts take more than %d bytes", gguf_name(f),
                                      TEXT_BYTES_MAX) : ERR_OK;
}

static int32_t symbol_of(const struct vocab *v, const char *text, size_t n)
{
    return vocab_symbol(v, text, n, vocab_hash_more(VOCAB_HASH_START, text, n));
}

/* What single bytes are called. */
static void load_bytes(struct vocab *v)
{
    for (int b = 0; b < 256; b++) {
        char text[8], letter[4];
        char self = (char)b;
        int len = utf8_encode(vocab_byte_letter((uint8_t)b), letter);
        v->byte_fallback[b][0] = v->byte_fallback[b][1] = -1;
        if (v->family == VOCAB_BPE && !v->raw) {
            v->byte_symbol[b] = symbol_of(v, letter, (size_t)len);
            for (int i = 0; i < len; i++)
                v->byte_fallback[b][i] = vocab_find(v, letter + i, 1);
            continue;
        }
        snprintf(text, sizeof(text), "<0x%02X>", b);
        v->byte_symbol[b] = vocab_find(v, text, 6);
        if (v->byte_symbol[b] < 0 && v->family == VOCAB_SPM)
            v->byte_symbol[b] = vocab_find(v, &self, 1);
    }
}

/* Is there no symbol with a space after something else? */
static bool words_are_apart(const struct vocab *v)
{
    static const char space[] = "\xe2\x96\x81";
    for (int i = 0; i < v->symbols; i++) {
        const char *s = v->blob.data + v->text[i].off;
        size_t n = v->text[i].len, at = 0;
        while (n - at >= 3 && !memcmp(s + at, space, 3))
            at += 3;
        if (at < n && memmem(s + at, n - at, space, 3))
            return false;
    }
    return true;
}

static enum err_code load_pretok(struct vocab *v, const struct gguf_file *f, const char *pre, struct err *e)
{
    v->rule = pretok_find(pre);
    if (!v->rule) {
        struct buf names = { 0 };
        pretok_names(&names);
        err_set(e, ERR_UNSUPPORTED, "unknown pre-tokeniser '%.32s'; known: %s", pre, buf_str(&names));
        buf_release(&names);
        return ERR_UNSUPPORTED;
    }
    v->raw = v->rule->flags & PRETOK_RAW;
    v->add_bos = v->rule->flags & PRETOK_ADD_BOS;
    return pretok_new(v->rule, &v->pretok, e);
}

static enum err_code load_family(struct vocab *v, const struct gguf_file *f, const char *model, const char *pre,
                                 struct err *e)
{
    if (!strcmp(model, "gpt2") || !strcmp(model, "gemma4")) {
        v->family = VOCAB_BPE;
        return load_pretok(v, f, !strcmp(model, "gemma4") ? model : pre ? pre : "default", e);
    }
    if (!strcmp(model, "llama")) {
        v->family = VOCAB_SPM;
        v->add_space_prefix = v->add_bos = true;
        return ERR_OK;
    }
    if (!strcmp(model, "bert")) {
        v->family = VOCAB_WORDPIECE;
        v->add_bos = v->add_sep = true;
        return ERR_OK;
    }
    return err_set(e, ERR_UNSUPPORTED, "%s: tokenizer '%.64s' is not supported; known are gpt2, gemma4, llama, bert",
                   gguf_name(f), model);
}

enum err_code vocab_load(struct vocab *v, const struct gguf_file *f, const char *pre, struct err *e)
{
    char *model = NULL, *own = NULL;
    buf_init(&v->blob, TEXT_BYTES_MAX);
    enum err_code c = gguf_get_string_or_null(f, "tokenizer.ggml.model", &model, e);
    if (!c && !model)
        c = err_set(e, ERR_CORRUPT, "%s: key 'tokenizer.ggml.model' is missing: the file holds no vocabulary",
                    gguf_name(f));
    if (!c)
        c = gguf_get_string_or_null(f, "tokenizer.ggml.pre", &own, e);
    if (!c)
        c = load_family(v, f, model, pre ? pre : own, e);
    if (!c)
        c = load_tokens(v, f, e);
    if (!c && v->family == VOCAB_BPE)
        c = load_merges(v, f, e);
    if (!c) {
        load_bytes(v);
        v->words_apart = words_are_apart(v);
    }
    mem_free(model);
    mem_free(own);
    return c;
}
