/* keys -- see keys.h: every number is bounded here, so that products of dimensions fit an int further on. */
#include "model/keys.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_BYTES_MAX = 192 };

static void full_name(const struct keys *k, const char *key, char out[KEY_BYTES_MAX])
{
    snprintf(out, KEY_BYTES_MAX, "%s.%s", k->arch->name, key);
}

/* Some writers give one number for each layer. We take the first when all are equal. */
static enum err_code uniform_array(const struct keys *k, const char *name, int min, int max, int *out, struct err *e)
{
    enum gguf_kind kind;
    size_t count;
    int64_t first = 0, v;
    const struct gguf_value *value = gguf_find(k->f, name);
    gguf_value_array(value, &kind, &count);
    for (size_t i = 0; i < count; i++) {
        if (!gguf_array_int(value, i, &v))
            return err_set(e, ERR_CORRUPT, "%s: key '%s' does not hold integers", gguf_name(k->f), name);
        if (i && v != first)
            return err_set(e, ERR_UNSUPPORTED, "%s: key '%s' differs between layers, which is not supported",
                           gguf_name(k->f), name);
        first = v;
    }
    if (!count || first < min || first > max)
        return err_set(e, ERR_CORRUPT, "%s: key '%s' holds no number within %d..%d", gguf_name(k->f), name, min, max);
    *out = (int)first;
    return ERR_OK;
}

enum err_code keys_int(const struct keys *k, const char *key, int min, int max, int *out, struct err *e)
{
    char name[KEY_BYTES_MAX];
    int64_t v;
    full_name(k, key, name);
    const struct gguf_value *value = gguf_find(k->f, name);
    if (value && gguf_value_kind(value) == GGUF_ARRAY)
        return uniform_array(k, name, min, max, out, e);
    enum err_code c = gguf_get_int(k->f, name, min, max, &v, e);
    if (!c)
        *out = (int)v;
    return c;
}

enum err_code keys_int_or(const struct keys *k, const char *key, int min, int max, int fallback, int *out,
                          struct err *e)
{
    char name[KEY_BYTES_MAX];
    full_name(k, key, name);
    if (gguf_find(k->f, name))
        return keys_int(k, key, min, max, out, e);
    *out = fallback;
    return ERR_OK;
}

enum err_code keys_float_or(const struct keys *k, const char *key, double min, double fallback, float *out,
                            struct err *e)
{
    char name[KEY_BYTES_MAX];
    double v;
    full_name(k, key, name);
    if (fallback < min && !gguf_find(k->f, name))
        return err_set(e, ERR_NOT_FOUND, "%s: key '%s' is missing", gguf_name(k->f), name);
    enum err_code c = gguf_get_double_or(k->f, name, fallback, &v, e);
    if (c)
        return c;
    if (v < min || v > 1e30)
        return err_set(e, ERR_CORRUPT, "%s: key '%s' is %g, which cannot be", gguf_name(k->f), name, v);
    *out = (float)v;
    return ERR_OK;
}

enum err_code keys_bool_or(const struct keys *k, const char *key, bool fallback, bool *out, struct err *e)
{
    char name[KEY_BYTES_MAX];
    full_name(k, key, name);
    return gguf_get_bool_or(k->f, name, fallback, out, e);
}

enum err_code keys_window(const struct keys *k, int period, struct model_dims *d, struct err *e)
{
    char name[KEY_BYTES_MAX];
    enum err_code c = keys_int_or(k, "attention.sliding_window", 0, MODEL_CTX_MAX, d->window, &d->window, e);
    if (c)
        return c;
    d->window_period = period;
    full_name(k, "attention.sliding_window_pattern", name);
    const struct gguf_value *v = gguf_find(k->f, name);
    if (!v)
        return ERR_OK;
    if (gguf_value_kind(v) != GGUF_ARRAY)
        return keys_int(k, "attention.sliding_window_pattern", 1, MODEL_LAYERS_MAX, &d->window_period, e);
    /* One truth value for each layer: accepted when it is the period that we know. */
    for (int i = 0; i < d->layers; i++) {
        int64_t local;
        if (!gguf_array_int(v, (size_t)i, &local) || (local != 0) != (i % period < period - 1))
            return err_set(e, ERR_UNSUPPORTED, "%s: key '%s' is not the pattern of this architecture",
                           gguf_name(k->f), name);
    }
    return ERR_OK;
}

/* ---- common keys */

static enum err_code read_scaling_type(const struct keys *k, struct rope_spec *r, struct err *e)
{
    static const struct {
        const char *name;
        enum rope_scaling scaling;
    } names[] = { { "none", ROPE_NONE }, { "linear", ROPE_LINEAR }, { "yarn", ROPE_YARN }, { "longrope", ROPE_LONG } };
    char key[KEY_BYTES_MAX], *type;
    full_name(k, "rope.scaling.type", key);
    enum err_code c = gguf_get_string_or_null(k->f, key, &type, e);
    if (c)
        return c;
    r->scaling = ROPE_LINEAR; /* a factor without a type is linear; without a factor it changes nothing */
    bool found = type == NULL;
    for (size_t i = 0; i < MEM_COUNT(names) && type; i++)
        if (!strcmp(type, names[i].name)) {
            r->scaling = names[i].scaling;
            found = true;
        }
    if (!found)
        c = err_set(e, ERR_UNSUPPORTED, "%s: rope scaling '%.40s' is not supported (none, linear, yarn, longrope are)",
                    gguf_name(k->f), type);
    mem_free(type);
    return c;
}

static enum err_code read_rope(const struct keys *k, struct model_dims *d, struct err *e)
{
    struct rope_spec *r = &d->rope;
    enum err_code c;
    float old_factor;
    if ((c = keys_int_or(k, "rope.dimension_count", 2, d->k_dim, d->k_dim, &r->n_rot, e)) ||
        (c = keys_float_or(k, "rope.freq_base", 1.0001, 10000.0, &r->base, e)) ||
        (c = read_scaling_type(k, r, e)) ||
        (c = keys_float_or(k, "rope.scale_linear", 0.0, 1.0, &old_factor, e)) ||
        (c = keys_float_or(k, "rope.scaling.factor", 0.0, (double)old_factor, &r->factor, e)) ||
        (c = keys_float_or(k, "rope.scaling.attn_factor", 1e-6, 1.0, &r->attn_factor, e)) ||
        (c = keys_int_or(k, "rope.scaling.original_context_length", 1, MODEL_CTX_MAX, d->ctx_train, &r->ctx_orig, e)) ||
        (c = keys_float_or(k, "rope.scaling.yarn_ext_factor", -1.0, 1.0, &r->ext_factor, e)) ||
        (c = keys_float_or(k, "rope.scaling.yarn_beta_fast", 1e-6, 32.0, &r->beta_fast, e)) ||
        (c = keys_float_or(k, "rope.scaling.yarn_beta_slow", 1e-6, 1.0, &r->beta_slow, e)) ||
        (c = keys_float_or(k, "rope.scaling.yarn_log_multiplier", 0.0, 0.0, &r->log_multiplier, e)))
        return c;
    if (r->n_rot % 2)
        return err_set(e, ERR_CORRUPT, "%s: rope rotates an odd number of values (%d)", gguf_name(k->f), r->n_rot);
    if (r->factor == 0)
        r->factor = 1;
    if (r->ext_factor < 0)
        r->ext_factor = 1;
    return ERR_OK;
}

static enum err_code read_heads(const struct keys *k, struct model_dims *d, struct err *e)
{
    enum err_code c;
    if ((c = keys_int(k, "attention.head_count", 1, MODEL_HEADS_MAX, &d->heads, e)) ||
        (c = keys_int_or(k, "attention.head_count_kv", 1, d->heads, d->heads, &d->kv_heads, e)) ||
        (c = keys_int_or(k, "attention.key_length", 2, KERN_HEAD_DIM_MAX, d->dim / d->heads, &d->k_dim, e)) ||
        (c = keys_int_or(k, "attention.value_length", 2, KERN_HEAD_DIM_MAX, d->dim / d->heads, &d->v_dim, e)))
        return c;
    if (d->heads % d->kv_heads || d->heads / d->kv_heads > KERN_GROUP_MAX)
        return err_set(e, ERR_CORRUPT, "%s: %d query heads cannot share %d key/value heads", gguf_name(k->f), d->heads,
                       d->kv_heads);
    if (d->k_dim < 2 || d->k_dim > KERN_HEAD_DIM_MAX || d->v_dim < 2 || d->v_dim > KERN_HEAD_DIM_MAX || d->k_dim % 2)
        return err_set(e, ERR_CORRUPT, "%s: heads of %d and %d values are not supported (even, at most %d)",
                       gguf_name(k->f), d->k_dim, d->v_dim, KERN_HEAD_DIM_MAX);
    d->attn_scale = 1.0f / sqrtf((float)d->k_dim);
    return ERR_OK;
}

static enum err_code read_experts(const struct keys *k, struct model_dims *d, struct err *e)
{
    enum err_code c;
    int used_max;
    if ((c = keys_int_or(k, "expert_count", 0, MODEL_EXPERTS_MAX, 0, &d->experts, e)))
        return c;
    if (!d->experts)
        return ERR_OK;
    used_max = d->experts < MODEL_USED_MAX ? d->experts : MODEL_USED_MAX;
    if ((c = keys_int(k, "expert_used_count", 1, used_max, &d->experts_used, e)))
        return c;
    return keys_int_or(k, "expert_feed_forward_length", 1, MODEL_FFN_MAX, d->ffn, &d->expert_ffn, e);
}

enum err_code keys_pooling(const struct keys *k, enum model_pooling *out, struct err *e)
{
    int v;
    enum err_code c = keys_int_or(k, "pooling_type", MODEL_POOL_NONE, MODEL_POOL_RANK, MODEL_POOL_UNSAID, &v, e);
    if (!c)
        *out = (enum model_pooling)v;
    return c;
}

enum err_code keys_common(const struct keys *k, struct model_dims *d, struct err *e)
{
    enum err_code c;
    *d = (struct model_dims){ .embed_scale = 1, .residual_scale = 1, .logit_scale = 1 };
    const struct gguf_tensor *embed = gguf_tensor_find(k->f, "token_embd.weight");
    if (!embed)
        return err_set(e, ERR_CORRUPT, "%s: tensor 'token_embd.weight' is missing: a vocabulary, not a model",
                       gguf_name(k->f));
    if (embed->ne[1] > MODEL_VOCAB_MAX)
        return err_set(e, ERR_LIMIT, "%s: more than %d tokens in the vocabulary", gguf_name(k->f), MODEL_VOCAB_MAX);
    d->vocab = (int)embed->ne[1];
    if ((c = keys_int(k, "block_count", 1, MODEL_LAYERS_MAX, &d->layers, e)) ||
        (c = keys_int(k, "embedding_length", 1, MODEL_DIM_MAX, &d->dim, e)) ||
        (c = keys_int(k, "context_length", 1, MODEL_CTX_MAX, &d->ctx_train, e)) ||
        (c = keys_int_or(k, "feed_forward_length", 1, MODEL_FFN_MAX, 0, &d->ffn, e)) ||
        (c = keys_float_or(k, k->arch->encoder ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
                           1e-20, 0.0, &d->eps, e)) ||
        (c = read_heads(k, d, e)) || (c = read_experts(k, d, e)))
        return c;
    if (!(d->experts ? d->expert_ffn : d->ffn))
        return err_set(e, ERR_NOT_FOUND, "%s: key '%s.feed_forward_length' is missing", gguf_name(k->f), k->arch->name);
    return read_rope(k, d, e);
}
