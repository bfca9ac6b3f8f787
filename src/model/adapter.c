/* adapter -- a LoRA file to an adapter of a model: every pair checked against the model's own table of tensors. */
#include "model/lora.h"
#include "model/keys.h"

#include "base/mem.h"

#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

enum { VALUES_MAX = 1 << 30 };

struct loading {
    const struct gguf_file *f;
    const struct model *m;
    struct model_adapter *a;
    bool *used; /* [tensors of the file] */
    float scale;
};

/* Which slot a matrix of struct layer is; LORA_SLOTS: none. */
static enum lora_slot slot_of(size_t field)
{
    static const size_t fields[LORA_SLOTS] = {
        [LORA_Q] = offsetof(struct layer, q), [LORA_K] = offsetof(struct layer, k),
        [LORA_V] = offsetof(struct layer, v), [LORA_O] = offsetof(struct layer, o),
        [LORA_GATE] = offsetof(struct layer, gate), [LORA_UP] = offsetof(struct layer, up),
        [LORA_DOWN] = offsetof(struct layer, down),
    };
    int i = 0;
    while (i < LORA_SLOTS && fields[i] != field)
        i++;
    return (enum lora_slot)i;
}

static const struct gguf_tensor *find(struct loading *g, const char *name, const char *end)
{
    char full[GGUF_NAME_MAX];
    snprintf(full, sizeof full, "%s.%s", name, end);
    const struct gguf_tensor *t = gguf_tensor_find(g->f, full);
    if (t)
        g->used[t - gguf_tensor_at(g->f, 0)] = true;
    return t;
}

/* Packs rows [first, first + rows) of t as float32. */
static enum err_code pack(struct loading *g, const struct gguf_tensor *t, size_t first, size_t rows, size_t cols,
                          struct kern_matrix *out, struct err *e)
{
    const char *src = (const char *)t->data + first * kern_row_bytes(t->type, cols);
    float *values = mem_new(rows * cols, sizeof *values);
    bool finite = true;
    for (size_t r = 0; r < rows; r++)
        kern_dequantize(t->type, src + r * kern_row_bytes(t->type, cols), values + r * cols, cols);
    for (size_t i = 0; i < rows * cols; i++)
        finite &= isfinite(values[i]) != 0;
    if (finite) {
        kern_matrix_init(out, KERN_F32, (int)rows, (int)cols);
        out->data = mem_aligned(kern_matrix_bytes(out));
        g->a->facts.bytes += kern_matrix_bytes(out);
        kern_matrix_pack(out, values, 0, out->panels);
    }
    mem_free(values);
    return finite ? ERR_OK : err_set(e, ERR_CORRUPT, "%s: tensor '%.*s' holds what is no number", gguf_name(g->f),
                                     (int)t->name.len, t->name.data);
}

static enum err_code wrong_shape(const struct loading *g, const struct gguf_tensor *t, size_t inputs, size_t outputs,
                                 struct err *e)
{
    return err_set(e, ERR_CORRUPT, "%s: tensor '%.*s' is %llu x %llu x %llu, which does not fit a matrix of the model "
                   "with %zu inputs and %zu outputs: it was made for another model", gguf_name(g->f),
                   (int)t->name.len, t->name.data, (unsigned long long)t->ne[0], (unsigned long long)t->ne[1],
                   (unsigned long long)t->ne[2], inputs, outputs);
}

/* The pair of one matrix, if the file has it. */
static enum err_code load_pair(struct loading *g, const struct tensor_row *row, const char *name,
                               struct lora_pair *pair, struct err *e)
{
    const struct model_dims *d = &g->m->d;
    const struct gguf_tensor *a = find(g, name, "lora_a"), *b = find(g, name, "lora_b");
    size_t rows = dim_value(d, row->rows), cols = dim_value(d, row->cols);
    size_t total = row->of ? dim_value(d, row->of) : rows, after = row->after ? dim_value(d, row->after) : 0;
    if (!a && !b)
        return ERR_OK;
    if (!a || !b)
        return err_set(e, ERR_CORRUPT, "%s: '%s' has only one of lora_a and lora_b", gguf_name(g->f), name);
    uint64_t rank = a->ne[1];
    if (a->ne[0] != cols || a->ne[2] != 1 || a->ne[3] != 1)
        return wrong_shape(g, a, cols, total, e);
    if (b->ne[1] != total || b->ne[0] != rank || b->ne[2] != 1 || b->ne[3] != 1)
        return wrong_shape(g, b, cols, total, e);
    if (rank < 1 || rank > MODEL_RANK_MAX || rank * cols > VALUES_MAX || rank * total > VALUES_MAX)
        return err_set(e, ERR_LIMIT, "%s: '%s' has rank %llu; 1 to %d are taken", gguf_name(g->f), name,
                       (unsigned long long)rank, MODEL_RANK_MAX);
    enum err_code c = pack(g, a, 0, (size_t)rank, cols, &pair->a, e);
    if (!c)
        c = pack(g, b, after, rows, (size_t)rank, &pair->b, e);
    struct model_adapter_facts *facts = &g->a->facts;
    pair->scale = g->scale * (facts->alpha != 0 ? facts->alpha / (float)rank : 1);
    facts->rank = facts->rank > (int)rank ? facts->rank : (int)rank;
    facts->matrices++;
    return c;
}

static enum err_code load_layer(struct loading *g, int layer, struct err *e)
{
    char name[GGUF_NAME_MAX];
    enum err_code c = ERR_OK;
    for (const struct tensor_row *const *group = g->m->arch->layer_tensors; *group && !c; group++)
        for (const struct tensor_row *row = *group; row->name && !c; row++) {
            enum lora_slot slot = slot_of(row->field);
            bool absent = row->flags & (g->m->d.experts ? TENSOR_DENSE : TENSOR_SPARSE);
            if (row->kind != TENSOR_MATRIX || slot == LORA_SLOTS || absent)
                continue;
            snprintf(name, sizeof name, "blk.%d.%s", layer, row->name);
            c = load_pair(g, row, name, &g->a->of[layer].pairs[slot], e);
        }
    return c;
}

static enum err_code refuse_strangers(const struct loading *g, struct err *e)
{
    for (int i = 0; i < gguf_tensor_count(g->f); i++)
        if (!g->used[i]) {
            struct gguf_str s = gguf_tensor_at(g->f, i)->name;
            return err_set(e, ERR_UNSUPPORTED, "%s: tensor '%.*s' has no place: adapters may add to the attention and "
                           "dense feed-forward matrices of this model's %d layers", gguf_name(g->f), (int)s.len, s.data,
                           g->m->d.layers);
        }
    return g->a->facts.matrices ? ERR_OK : err_set(e, ERR_CORRUPT, "%s: it holds no pair of tensors",
                                                   gguf_name(g->f));
}

static bool key_is(const struct gguf_file *f, const char *key, const char *want)
{
    struct gguf_str s;
    return gguf_value_string(gguf_find(f, key), &s) && s.len == strlen(want) && !memcmp(s.data, want, s.len);
}

static enum err_code check_keys(struct loading *g, struct err *e)
{
    double alpha;
    if (!key_is(g->f, "general.type", "adapter") || !key_is(g->f, "adapter.type", "lora"))
        return err_set(e, ERR_UNSUPPORTED, "%s: it is no LoRA adapter ('general.type' adapter, 'adapter.type' lora)",
                       gguf_name(g->f));
    if (!key_is(g->f, "general.architecture", g->m->arch->name))
        return err_set(e, ERR_INVALID, "%s: the adapter was not made for a model of the architecture %s",
                       gguf_name(g->f), g->m->arch->name);
    enum err_code c = gguf_get_double_or(g->f, "adapter.lora.alpha", 0, &alpha, e);
    if (!c && !(fabs(alpha) <= 1e6))
        c = err_set(e, ERR_CORRUPT, "%s: 'adapter.lora.alpha' is %g", gguf_name(g->f), alpha);
    if (!c)
        g->a->facts.alpha = (float)alpha;
    return c;
}

/* Counts loads in this process: an adapter that takes another's address must not find its cached prefixes. */
static atomic_uint_fast64_t loads;

enum err_code model_adapter_load(const struct gguf_file *f, const struct model *m, float scale,
                                 struct model_adapter **out, struct err *e)
{
    struct model_adapter *a = MEM_NEW(struct model_adapter);
    struct loading g = { .f = f, .m = m, .a = a, .scale = scale };
    a->layers = m->d.layers;
    a->of = mem_new((size_t)a->layers, sizeof *a->of);
    a->facts.id = atomic_fetch_add(&loads, 1) + 1;
    g.used = mem_new((size_t)gguf_tensor_count(f) + 1, sizeof *g.used);
    enum err_code c = check_keys(&g, e);
    for (int i = 0; i < a->layers && !c; i++)
        c = load_layer(&g, i, e);
    if (!c)
        c = refuse_strangers(&g, e);
    mem_free(g.used);
    if (c)
        model_adapter_free(a);
    else
        *out = a;
    return c;
}

static void free_matrix(struct kern_matrix *m)
{
    if (m->data)
        mem_aligned_free(m->data, kern_matrix_bytes(m));
}

void model_adapter_free(struct model_adapter *a)
{
    if (!a)
        return;
    for (int i = 0; i < a->layers; i++)
        for (int k = 0; k < LORA_SLOTS; k++) {
            free_matrix(&a->of[i].pairs[k].a);
            free_matrix(&a->of[i].pairs[k].b);
        }
    mem_free(a->of);
    mem_free(a);
}

size_t model_adapter_measure(const struct gguf_file *model, int rank)
{
    size_t wide = 0;
    for (int i = 0; rank > 0 && i < gguf_tensor_count(model); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(model, i);
        bool block = t->name.len > 4 && !memcmp(t->name.data, "blk.", 4);
        if (block && t->ne[1] > 1 && t->ne[2] == 1 && t->ne[3] == 1 && t->ne[0] < INT32_MAX && t->ne[1] < INT32_MAX)
            wide += (size_t)(t->ne[0] + t->ne[1] + 2 * KERN_PANEL_ROWS); /* panels are filled up */
    }
    return wide * (size_t)rank * sizeof(float);
}

const struct model_adapter_facts *model_adapter_facts(const struct model_adapter *a)
{
    return &a->facts;
}
