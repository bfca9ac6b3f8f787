/* special -- tokens that are more than text: BOS and its kin, the ones that end a turn, and finding them all in
 * raw text.
 *
 * Files say too little (kinds are wrong or missing, which tokens end a turn is not written at all), so the
 * rules below go by a token's text, as the reference engine's do: the ids must be the same. */
#include "text/vocab_impl.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* These end a generation wherever they exist, and are control tokens whatever the file says. */
static const char *const ends[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
    "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>",
    "<\xef\xbd\234end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>", "[e~[",
};
/* Of these, the first that exists is the end of a turn when the file names none. */
static const char *const turn_ends[] = {
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|end_of_text|>", "<EOT>", "_<EOT>",
    "[EOT]", "<\xef\xbd\234end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>", "<end_of_utterance>",
};
/* Fill-in-the-middle: a row is found by key, else by the first text that exists. The last three end a turn. */
static const struct {
    const char *key, *old_key;
    bool end;
    const char *texts[9];
} middles[] = {
    { "fim_pre", "prefix", false, { "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>",
      "<\xef\xbd\234fim\xe2\x96\201begin\xef\xbd\x9c>", "<PRE>", "\xe2\x96\x81<PRE>", "<|code_prefix|>",
      "<|prefix|>" } },
    { "fim_suf", "suffix", false, { "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>",
      "<\xef\xbd\234fim\xe2\x96\x81hole\xef\xbd\x9c>", "<SUF>", "\xe2\x96\x81<SUF>", "<|code_suffix|>",
      "<|suffix|>" } },
    { "fim_mid", "middle", false, { "<|fim_middle|>", "<fim-middle>", "<fim_middle>",
      "<\xef\xbd\234fim\xe2\x96\201end\xef\xbd\x9c>", "<MID>", "\xe2\x96\x81<MID>", "<|code_middle|>",
      "<|middle|>" } },
    { "fim_pad", NULL, true, { "<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]" } },
    { "fim_rep", NULL, true, { "<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>" } },
    { "fim_sep", NULL, true, { "<|file_sep|>" } },
};

static int find(const struct vocab *v, const char *text)
{
    return vocab_find(v, text, strlen(text));
}

static bool ends_turn(const struct vocab *v, const char *text)
{
    return vocab_is_end(v, find(v, text));
}

/* tokenizer.ggml.NAME_token_id, or fallback; what is no token becomes the fallback, what it is not -1. */
static int special_id(const struct vocab *v, const struct gguf_file *f, const char *name, int fallback)
{
    char key[64] = "tokenizer.ggml.";
    size_t at = strlen(key), n = strlen(name);
    static const char tail[] = "_token_id";
    memcpy(key + at, name, n);
    memcpy(key + at + n, tail, sizeof(tail));
    const struct gguf_value *value = gguf_find(f, key);
    int64_t id;
    if (value && gguf_value_int(value, &id) && id >= 0 && id < v->count)
        return (int)id;
    return fallback < v->count ? fallback : -1;
}

static void load_ids(struct vocab *v, const struct gguf_file *f)
{
    bool spm = v->family == VOCAB_SPM, wordpiece = v->family == VOCAB_WORDPIECE;
    v->bos = special_id(v, f, "bos", spm ? 1 : wordpiece ? 101 : -1);
    v->eos = special_id(v, f, "eos", spm ? 2 : -1);
    v->unk = special_id(v, f, "unknown", spm ? 0 : wordpiece ? 100 : -1);
    v->sep = special_id(v, f, "seperator", wordpiece ? 102 : -1);
    v->pad = special_id(v, f, "padding", wordpiece ? 0 : -1);
    v->mask = special_id(v, f, "mask", wordpiece ? 103 : -1);
    v->eot = special_id(v, f, "eot", -1);
    v->eom = special_id(v, f, "eom", -1);
}

static void make_control(struct vocab *v, int id)
{
    if (id >= 0)
        v->attr[id] |= ATTR_CONTROL;
}

static void make_end(struct vocab *v, int id)
{
    if (id >= 0)
        v->attr[id] |= ATTR_END;
}

static void load_middles(struct vocab *v, const struct gguf_file *f)
{
    for (size_t i = 0; i < MEM_COUNT(middles); i++) {
        int id = special_id(v, f, middles[i].key, -1);
        if (id < 0 && middles[i].old_key)
            id = special_id(v, f, middles[i].old_key, -1);
        for (int k = 0; id < 0 && middles[i].texts[k]; k++) {
            id = find(v, middles[i].texts[k]);
            make_control(v, id);
        }
        if (middles[i].end)
            make_end(v, id);
    }
}

static void load_ends(struct vocab *v)
{
    for (size_t i = 0; v->eot < 0 && i < MEM_COUNT(turn_ends); i++)
        v->eot = find(v, turn_ends[i]);
    if (v->eom < 0)
        v->eom = find(v, "<|eom_id|>");
    make_control(v, v->eot);
    make_control(v, v->eom);
    for (size_t i = 0; i < MEM_COUNT(ends); i++) {
        make_control(v, find(v, ends[i]));
        make_end(v, find(v, ends[i]));
    }
    make_end(v, v->eos);
    make_end(v, v->eot);
    make_end(v, v->eom);
    /* The harmony format frames with these; they are text to whoever reads the answer's channels. */
    static const char *const frames[] = { "<|channel|>", "<|message|>", "<|start|>", "<|constrain|>" };
    for (size_t i = 0; i < MEM_COUNT(frames); i++)
        if (find(v, frames[i]) >= 0)
            v->attr[find(v, frames[i])] = ATTR_USER | (v->attr[find(v, frames[i])] & ATTR_END);
    /* There <|end|> closes a message, not the turn. */
    bool call = ends_turn(v, "<|call|>") || ends_turn(v, "<|calls|>");
    if (ends_turn(v, "<|end|>") && call && (ends_turn(v, "<|return|>") || ends_turn(v, "<|flush|>")))
        v->attr[find(v, "<|end|>")] = ATTR_USER;
    /* Gemma 4 writes </s> as strike-through. */
    if (ends_turn(v, "<|tool_response>") && ends_turn(v, "</s>"))
        v->attr[find(v, "</s>")] = ATTR_NORMAL;
}

static enum err_code load_flags(struct vocab *v, const struct gguf_file *f, struct err *e)
{
    enum err_code c = gguf_get_bool_or(f, "tokenizer.ggml.add_bos_token", v->add_bos, &v->add_bos, e);
    if (!c)
        c = gguf_get_bool_or(f, "tokenizer.ggml.add_eos_token", v->add_eos, &v->add_eos, e);
    if (!c)
        c = gguf_get_bool_or(f, "tokenizer.ggml.add_sep_token", v->add_sep, &v->add_sep, e);
    if (!c)
        c = gguf_get_bool_or(f, "tokenizer.ggml.add_space_prefix", v->add_space_prefix, &v->add_space_prefix, e);
    if (!c)
        c = gguf_get_bool_or(f, "tokenizer.ggml.normalizer.lowercase", true, &v->lowercase, e);
    if (!c)
        c = gguf_get_bool_or(f, "tokenizer.ggml.normalizer.strip_accents", v->lowercase, &v->strip_accents, e);
    if (v->rule && (v->rule->flags & PRETOK_FORCE_BOS))
        v->add_bos = true;
    v->add_bos = v->add_bos && v->bos >= 0;
    v->add_eos = v->add_eos && v->eos >= 0;
    v->add_sep = v->add_sep && v->sep >= 0;
    return c;
}

static bool looked_for(const struct vocab *v, int id, bool special)
{
    unsigned a = v->attr[id], wanted = ATTR_CONTROL | ATTR_USER | ATTR_UNKNOWN;
    return special ? a & wanted : (a & ATTR_USER) && !(a & (ATTR_CONTROL | ATTR_UNKNOWN));
}

/* White space around special tokens: not in the files, known by the model's name. */
static void load_strips(struct vocab *v, const struct gguf_file *f)
{
    char name[256];
    struct gguf_str s = { 0 };
    const struct gguf_value *value = gguf_find(f, "general.name");
    if (value)
        gguf_value_string(value, &s);
    size_t n = s.len < sizeof(name) - 1 ? s.len : sizeof(name) - 1;
    for (size_t i = 0; i < n; i++)
        name[i] = s.data[i] >= 'A' && s.data[i] <= 'Z' ? (char)(s.data[i] + 32) : s.data[i];
    name[n] = '\0';
    int mask = find(v, "<mask>");
    if (v->rule && (v->rule->flags & PRETOK_MASK_LSTRIP)) {
        if (mask >= 0)
            v->attr[mask] |= ATTR_LSTRIP;
    } else if (strstr(name, "phi-3") || strstr(name, "phi3")) {
        static const char *const plain[] = { "<unk>", "<s>", "<|endoftext|>" };
        for (int i = 0; i < v->count; i++)
            if (looked_for(v, i, true))
                v->attr[i] |= ATTR_RSTRIP;
        if (find(v, "</s>") >= 0)
            v->attr[find(v, "</s>")] |= ATTR_RSTRIP;
        for (size_t i = 0; i < MEM_COUNT(plain); i++)
            if (find(v, plain[i]) >= 0)
                v->attr[find(v, plain[i])] &= (uint16_t)~ATTR_RSTRIP;
    } else if (strstr(name, "modern-bert") && find(v, "[MASK]") >= 0) {
        v->attr[find(v, "[MASK]")] |= ATTR_LSTRIP;
    }
}

enum err_code vocab_load_specials(struct vocab *v, const struct gguf_file *f, struct err *e)
{
    load_ids(v, f);
    load_middles(v, f);
    load_ends(v);
    enum err_code c = load_flags(v, f, e);
    if (c)
        return c;
    load_strips(v, f);
    for (int with = 0; with < 2; with++)
        for (int i = 0; i < v->count; i++) {
            struct vocab_specials *s = &v->specials[with];
            if (!looked_for(v, i, with))
                continue;
            struct vocab_span t = v->text[i];
            s->any = s->first[(unsigned char)v->blob.data[t.off]] = true;
            s->len_max = (int)t.len > s->len_max ? (int)t.len : s->len_max;
        }
    return ERR_OK;
}

/* ---- finding them in text */

struct finder {
    const struct vocab *v;
    const struct vocab_specials *s;
    bool special;
    const char *text;
    size_t n;
    unsigned char *taken; /* [n]: bytes that belong to a found token or were stripped beside one */
    struct merge_heap heap; /* candidates: key (longest first, then leftmost), size, id */
    struct vocab_part *found;
    size_t count, cap;
};

/* Offers the longest special token of at most max bytes at pos. */
static void offer(struct finder *f, size_t pos, size_t max)
{
    const struct vocab *v = f->v;
    uint64_t hash = VOCAB_HASH_START;
    int32_t id = -1;
    size_t len = 0;
    if (max > (size_t)f->s->len_max)
        max = (size_t)f->s->len_max;
    for (size_t i = 0; i < max; i++) {
        hash = vocab_hash_more(hash, f->text + pos + i, 1);
        int32_t s = vocab_symbol(v, f->text + pos, i + 1, hash);
        if (s >= 0 && s < v->count && looked_for(v, s, f->special)) {
            id = s;
            len = i + 1;
        }
    }
    if (id >= 0)
        merge_heap_push(&f->heap, (struct merge_item){
            .key = (uint64_t)(UINT32_MAX - (uint32_t)len) << 32 | (uint32_t)pos, .size = (uint32_t)len, .id = id });
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void take(struct finder *f, size_t pos, size_t len, int32_t id)
{
    unsigned a = f->v->attr[id];
    size_t first = pos, end = pos + len;
    while ((a & ATTR_LSTRIP) && first > 0 && !f->taken[first - 1] && is_space(f->text[first - 1]))
        first--;
    while ((a & ATTR_RSTRIP) && end < f->n && !f->taken[end] && is_space(f->text[end]))
        end++;
    memset(f->taken + first, 1, end - first);
    if (f->count == f->cap) {
        f->cap = f->cap ? f->cap * 2 : 64;
        f->found = mem_grow(f->found, f->cap, sizeof(*f->found));
    }
    f->found[f->count++] = (struct vocab_part){ .off = pos, .len = len, .id = id };
}

static int by_offset(const void *a, const void *b)
{
    const struct vocab_part *x = a, *y = b;
    return x->off < y->off ? -1 : x->off > y->off;
}

/* Whatever is taken is at least as long as what is asked for now, so it cannot lie inside: looking at both
 * ends is enough. */
static void find_all(struct finder *f)
{
    struct merge_item item;
    while (merge_heap_pop(&f->heap, &item)) {
        size_t pos = item.key & UINT32_MAX;
        if (f->taken[pos])
            continue;
        if (!f->taken[pos + item.size - 1]) {
            take(f, pos, item.size, item.id);
            continue;
        }
        size_t room = 1;
        while (!f->taken[pos + room])
            room++;
        offer(f, pos, room); /* a shorter one may still fit */
    }
    if (f->count)
        qsort(f->found, f->count, sizeof(*f->found), by_offset);
}

/* The found tokens and, between them, what is not taken. */
static size_t lay_out(struct finder *f, struct vocab_part **parts)
{
    struct vocab_part *out = mem_new(2 * f->count + 1, sizeof(*out));
    size_t n = 0, at = 0;
    for (size_t i = 0; i <= f->count; i++) {
        size_t stop = i < f->count ? f->found[i].off : f->n;
        size_t end = stop;
        while (at < stop && f->taken && f->taken[at])
            at++;
        while (end > at && f->taken && f->taken[end - 1])
            end--;
        if (end > at)
            out[n++] = (struct vocab_part){ .off = at, .len = end - at, .id = -1 };
        if (i < f->count) {
            out[n++] = f->found[i];
            at = stop + f->found[i].len;
        }
    }
    *parts = out;
    return n;
}

size_t vocab_split_special(const struct vocab *v, const char *text, size_t n, bool special, struct vocab_part **parts)
{
    struct finder f = { .v = v, .s = &v->specials[special], .special = special, .text = text, .n = n };
    for (size_t i = 0; f.s->any && i < n; i++)
        if (f.s->first[(unsigned char)text[i]])
            offer(&f, i, n - i);
    if (f.heap.count) {
        f.taken = mem_new(n, 1);
        find_all(&f);
    }
    size_t count = lay_out(&f, parts);
    mem_free(f.heap.v);
    mem_free(f.taken);
    mem_free(f.found);
    return count;
}
