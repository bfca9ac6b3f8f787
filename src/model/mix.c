/* mix -- see mix.h. */
#include "model/mix.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum recipe { PLAIN, R_2K, R_3M, R_4S, R_4M, R_5M, R_IQ4 };

struct mix {
    const char *name;
    enum kern_type base;
    enum recipe recipe;
    int file_type; /* as GGUF numbers them */
};

static const struct mix mixes[] = {
    { "F32", KERN_F32, PLAIN, 0 }, { "F16", KERN_F16, PLAIN, 1 }, { "BF16", KERN_BF16, PLAIN, 32 },
    { "Q8_0", KERN_Q8_0, PLAIN, 7 }, { "Q4_0", KERN_Q4_0, PLAIN, 2 }, { "Q4_1", KERN_Q4_1, PLAIN, 3 },
    { "Q5_0", KERN_Q5_0, PLAIN, 8 }, { "Q5_1", KERN_Q5_1, PLAIN, 9 }, { "Q2_K", KERN_Q2_K, R_2K, 10 },
    { "Q3_K_M", KERN_Q3_K, R_3M, 12 }, { "Q4_K_S", KERN_Q4_K, R_4S, 14 }, { "Q4_K_M", KERN_Q4_K, R_4M, 15 },
    { "Q5_K_S", KERN_Q5_K, PLAIN, 16 }, { "Q5_K_M", KERN_Q5_K, R_5M, 17 }, { "Q6_K", KERN_Q6_K, PLAIN, 18 },
    { "IQ4_NL", KERN_IQ4_NL, R_IQ4, 25 }, { "IQ4_XS", KERN_IQ4_XS, R_IQ4, 30 },
};

const struct mix *mix_find(const char *name)
{
    for (size_t i = 0; i < MEM_COUNT(mixes); i++)
        if (!strcmp(name, mixes[i].name))
            return &mixes[i];
    return NULL;
}

const char *mix_names(void)
{
    return "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K_M, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M, Q6_K, "
           "IQ4_NL, IQ4_XS";
}

const char *mix_name(const struct mix *m)
{
    return m->name;
}

int mix_file_type(const struct mix *m)
{
    return m->file_type;
}

static int small_key(const struct gguf_file *f, struct gguf_str arch, const char *key, int fallback)
{
    char name[GGUF_NAME_MAX];
    int64_t v;
    snprintf(name, sizeof name, "%.*s.%s", (int)(arch.len < 64 ? arch.len : 64), arch.data, key);
    return gguf_value_int(gguf_find(f, name), &v) && v > 0 && v < 1 << 20 ? (int)v : fallback;
}

void mix_read_facts(const struct gguf_file *f, struct mix_facts *out)
{
    struct gguf_str arch = { "", 0 };
    gguf_value_string(gguf_find(f, "general.architecture"), &arch);
    int heads = small_key(f, arch, "attention.head_count", 1);
    *out = (struct mix_facts){
        .layers = small_key(f, arch, "block_count", 1), .experts = small_key(f, arch, "expert_count", 0),
        .group = heads / small_key(f, arch, "attention.head_count_kv", heads),
        .tied = !gguf_tensor_find(f, "output.weight"),
    };
}

/* "blk.7.attn_v.weight" -> 7 and "attn_v.weight"; other names -> -1 and themselves. */
static int split_name(struct gguf_str name, char rest[GGUF_NAME_MAX])
{
    char copy[GGUF_NAME_MAX], *end = copy;
    snprintf(copy, sizeof copy, "%.*s", (int)name.len, name.data);
    long layer = strncmp(copy, "blk.", 4) ? -1 : strtol(copy + 4, &end, 10);
    bool of_layer = end != copy && *end == '.' && layer >= 0 && layer < 1 << 20;
    snprintf(rest, GGUF_NAME_MAX, "%s", of_layer ? end + 1 : copy);
    return of_layer ? (int)layer : -1;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

/* The first and last eighth of the layers, and every third between. */
static bool more_bits(int layer, int layers)
{
    return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

static enum kern_type value_type(const struct mix *m, const struct mix_facts *f, int layer)
{
    if (f->experts == 8) /* shared by eight experts: small beside them */
        return KERN_Q8_0;
    switch (m->recipe) {
    case R_2K: return f->group >= 4 ? KERN_Q4_K : KERN_Q3_K;
    case R_3M: return layer < 2 ? KERN_Q5_K : KERN_Q4_K;
    case R_4S: return layer < 4 ? KERN_Q5_K : m->base;
    case R_4M: case R_5M: return more_bits(layer, f->layers) ? KERN_Q6_K : m->base;
    case R_IQ4: return f->group >= 4 ? KERN_Q5_K : m->base;
    case PLAIN: break;
    }
    return m->base;
}

static enum kern_type down_type(const struct mix *m, const struct mix_facts *f, int layer)
{
    switch (m->recipe) {
    case R_2K: return KERN_Q3_K;
    case R_3M: return layer < f->layers / 16 ? KERN_Q5_K : KERN_Q4_K;
    case R_4S: case R_IQ4: return layer < f->layers / 8 ? KERN_Q5_K : m->base;
    case R_4M: case R_5M: return more_bits(layer, f->layers) ? KERN_Q6_K : m->base;
    case PLAIN: break;
    }
    return m->base;
}

static enum kern_type attn_output_type(const struct mix *m, const struct mix_facts *f)
{
    if (f->experts == 8 && (m->recipe == R_2K || m->recipe == R_3M || m->recipe == R_4S || m->recipe == R_4M ||
                            m->recipe == R_IQ4))
        return KERN_Q5_K;
    return m->recipe == R_2K ? KERN_Q3_K : m->recipe == R_3M ? KERN_Q4_K : m->base;
}

static enum kern_type qkv_type(const struct mix *m)
{
    return m->recipe == R_3M ? KERN_Q4_K : m->recipe == R_4M ? KERN_Q5_K : m->recipe == R_5M ? KERN_Q6_K : m->base;
}

static enum kern_type wanted_type(const struct mix *m, const struct mix_facts *f, const char *name, int layer)
{
    if (kern_type_info((int)m->base)->block_len == 1 || m->base == KERN_Q8_0)
        return m->base;
    if (!strcmp(name, "output.weight") || (f->tied && !strcmp(name, "token_embd.weight")))
        return KERN_Q6_K;
    if (!strcmp(name, "attn_v.weight"))
        return value_type(m, f, layer);
    if (!strcmp(name, "attn_k.weight"))
        return f->experts == 8 ? KERN_Q8_0 : m->base;
    if (!strcmp(name, "attn_qkv.weight"))
        return qkv_type(m);
    if (!strcmp(name, "attn_output.weight"))
        return attn_output_type(m, f);
    if (!strncmp(name, "ffn_down", 8))
        return down_type(m, f, layer);
    return m->base;
}

/* Rows that do not divide into blocks of 256 take the blocks of 32 with the next larger number of bits. */
static enum kern_type fit_row(enum kern_type type, uint64_t cols)
{
    if (cols % (uint64_t)kern_type_info((int)type)->block_len == 0)
        return type;
    switch (type) {
    case KERN_Q2_K: case KERN_Q3_K: case KERN_IQ4_XS: type = KERN_IQ4_NL; break;
    case KERN_Q4_K: type = KERN_Q5_0; break;
    case KERN_Q5_K: type = KERN_Q5_1; break;
    case KERN_Q6_K: type = KERN_Q8_0; break;
    default: break;
    }
    return cols % (uint64_t)kern_type_info((int)type)->block_len == 0 ? type : KERN_F16;
}

enum kern_type mix_type_of(const struct mix *m, const struct mix_facts *facts, const struct gguf_tensor *t)
{
    char name[GGUF_NAME_MAX];
    int layer = split_name(t->name, name);
    if (t->dims < 2 || !ends_with(name, ".weight") || ends_with(name, "_norm.weight") ||
        !strcmp(name, "ffn_gate_inp.weight"))
        return t->type;
    return fit_row(wanted_type(m, facts, name, layer), t->ne[0]);
}
