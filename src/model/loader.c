/* loader -- from a file to a model: keys, shapes checked once against the architecture's table, weights packed.
 *
 * Two passes over the same list, so that model_measure and model_load cannot disagree: plan() reads keys, finds and
 * checks every tensor and sizes the packed weights; load() allocates one block and lets the pool fill it.
 * I1: after plan() every tensor of the file has a place in the model; one that has none is refused, because a weight
 *     left out would give wrong answers silently. */
#include "model/keys.h"
#include "model/parts.h"
#include "model/work.h"

#include "base/assert.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

enum { WEIGHT_ALIGN = 64, CHUNK_BYTES = 4 << 20 }; /* a chunk: two large pages of fresh memory */

/* One matrix to pack or one vector to convert. */
struct item {
    struct kern_matrix *matrix; /* or */
    const float **vector;
    enum kern_type type;
    const void *src;
    size_t values;              /* of a vector */
    size_t offset;              /* in the weights block; rising from item to item */
};

/* What is packed of what is checked. */
enum take { TAKE_ALL, TAKE_VECTORS, TAKE_NOTHING };

struct plan {
    const struct gguf_file *f;
    struct model *m;
    struct item *items;
    size_t count, cap;
    size_t bytes;
    bool *used;                 /* [tensors of the file] */
    enum take take;             /* of the tensors being placed */
};

static struct item *add_item(struct plan *p)
{
    if (p->count == p->cap) {
        p->cap = p->cap ? 2 * p->cap : 256;
        p->items = mem_grow(p->items, p->cap, sizeof *p->items);
    }
    struct item *it = &p->items[p->count++];
    *it = (struct item){ .offset = p->bytes };
    return it;
}

static void add_bytes(struct plan *p, size_t n)
{
    p->bytes += (n + WEIGHT_ALIGN - 1) / WEIGHT_ALIGN * WEIGHT_ALIGN;
}

static void add_matrix(struct plan *p, struct kern_matrix *m, enum kern_type type, size_t rows, size_t cols,
                       const void *src)
{
    if (p->take != TAKE_ALL)
        return;
    kern_matrix_init(m, type, (int)rows, (int)cols);
    struct item *it = add_item(p);
    it->matrix = m;
    it->type = type;
    it->src = src;
    p->m->int_weights |= !kern_type_is_float(type);
    add_bytes(p, kern_matrix_bytes(m));
}

static void add_vector(struct plan *p, const float **v, const struct gguf_tensor *t, size_t values)
{
    if (p->take == TAKE_NOTHING)
        return;
    struct item *it = add_item(p);
    it->vector = v;
    it->type = t->type;
    it->src = t->data;
    it->values = values;
    add_bytes(p, values * sizeof(float));
}

/* ---- shapes */

static enum err_code wrong_shape(const struct plan *p, const struct gguf_tensor *t, size_t cols, size_t rows,
                                 size_t depth, struct err *e)
{
    return err_set(e, ERR_CORRUPT, "%s: tensor '%.*s' is %llu x %llu x %llu; the keys say %zu x %zu x %zu",
                   gguf_name(p->f), (int)t->name.len, t->name.data, (unsigned long long)t->ne[0],
                   (unsigned long long)t->ne[1], (unsigned long long)t->ne[2], cols, rows, depth);
}

static enum err_code place_vector(struct plan *p, const struct tensor_row *row, const struct gguf_tensor *t, void *base,
                                  struct err *e)
{
    const struct model_dims *d = &p->m->d;
    size_t rows = dim_value(d, row->rows), cols = dim_value(d, row->cols);
    size_t ne0 = row->cols == DIM_ONE ? rows : cols, ne1 = row->cols == DIM_ONE ? 1 : rows;
    if (t->ne[0] != ne0 || t->ne[1] != ne1 || t->ne[2] != 1 || t->ne[3] != 1)
        return wrong_shape(p, t, ne0, ne1, 1, e);
    if (!kern_type_is_float(t->type))
        return err_set(e, ERR_UNSUPPORTED, "%s: tensor '%.*s' is a vector in %s; vectors are F32, F16 or BF16",
                       gguf_name(p->f), (int)t->name.len, t->name.data, kern_type_info((int)t->type)->name);
    add_vector(p, (const float **)((char *)base + row->field), t, rows * cols);
    return ERR_OK;
}

static enum err_code place_matrix(struct plan *p, const struct tensor_row *row, const struct gguf_tensor *t, void *base,
                                  struct err *e)
{
    const struct model_dims *d = &p->m->d;
    size_t rows = dim_value(d, row->rows), cols = dim_value(d, row->cols);
    size_t total = row->of ? dim_value(d, row->of) : rows, after = row->after ? dim_value(d, row->after) : 0;
    if (t->ne[0] != cols || t->ne[1] != total || t->ne[2] != 1 || t->ne[3] != 1)
        return wrong_shape(p, t, cols, total, 1, e);
    const char *src = (const char *)t->data + after * kern_row_bytes(t->type, cols);
    add_matrix(p, (struct kern_matrix *)((char *)base + row->field), t->type, rows, cols, src);
    return ERR_OK;
}

static enum err_code place_experts(struct plan *p, const struct tensor_row *row, const struct gguf_tensor *t,
                                   void *base, struct err *e)
{
    const struct model_dims *d = &p->m->d;
    size_t rows = dim_value(d, row->rows), cols = dim_value(d, row->cols), experts = (size_t)d->experts;
    if (t->ne[0] != cols || t->ne[1] != rows || t->ne[2] != experts || t->ne[3] != 1)
        return wrong_shape(p, t, cols, rows, experts, e);
    if (p->take != TAKE_ALL)
        return ERR_OK;
    struct kern_matrix *m = mem_new(experts, sizeof *m);
    *(struct kern_matrix **)((char *)base + row->field) = m;
    for (size_t i = 0; i < experts; i++)
        add_matrix(p, &m[i], t->type, rows, cols, (const char *)t->data + i * rows * kern_row_bytes(t->type, cols));
    return ERR_OK;
}

static enum err_code place_row(struct plan *p, const struct tensor_row *row, const char *name, void *base,
                               struct err *e)
{
    bool sparse = p->m->d.experts > 0;
    if ((row->flags & TENSOR_DENSE && sparse) || (row->flags & TENSOR_SPARSE && !sparse))
        return ERR_OK;
    const struct gguf_tensor *t = gguf_tensor_find(p->f, name);
    if (!t && row->flags & TENSOR_OPTIONAL)
        return ERR_OK;
    if (!t)
        return err_set(e, ERR_CORRUPT, "%s: tensor '%s' is missing", gguf_name(p->f), name);
    p->used[t - gguf_tensor_at(p->f, 0)] = true;
    switch (row->kind) {
    case TENSOR_VECTOR: return place_vector(p, row, t, base, e);
    case TENSOR_MATRIX: return place_matrix(p, row, t, base, e);
    case TENSOR_EXPERTS: return place_experts(p, row, t, base, e);
    }
    ASSERT(!"a tensor kind");
    return ERR_OK;
}

/* layer < 0: the model's own tensors. */
static enum err_code place_groups(struct plan *p, const struct tensor_row *const *groups, int layer, void *base,
                                  struct err *e)
{
    char name[GGUF_NAME_MAX];
    for (; *groups; groups++)
        for (const struct tensor_row *row = *groups; row->name; row++) {
            if (layer < 0)
                snprintf(name, sizeof name, "%s", row->name);
            else
                snprintf(name, sizeof name, "blk.%d.%s", layer, row->name);
            enum err_code c = place_row(p, row, name, base, e);
            if (c)
                return c;
        }
    return ERR_OK;
}

static enum err_code refuse_strangers(const struct plan *p, struct err *e)
{
    for (int i = 0; i < gguf_tensor_count(p->f); i++)
        if (!p->used[i]) {
            struct gguf_str s = gguf_tensor_at(p->f, i)->name;
            return err_set(e, ERR_UNSUPPORTED, "%s: tensor '%.*s' has no place in a %s model of this shape: "
                           "a variant that is not supported", gguf_name(p->f), (int)s.len, s.data, p->m->arch->name);
        }
    return ERR_OK;
}

/* ---- the plan */

static enum err_code find_arch(const struct gguf_file *f, const struct model_arch **out, struct err *e)
{
    struct gguf_str name;
    if (!gguf_value_string(gguf_find(f, "general.architecture"), &name))
        return err_set(e, ERR_CORRUPT, "%s: key 'general.architecture' is missing", gguf_name(f));
    *out = model_arch_find(name);
    if (!*out)
        return err_set(e, ERR_UNSUPPORTED, "%s: architecture '%.*s' is not supported (these are: %s)", gguf_name(f),
                       (int)(name.len < 40 ? name.len : 40), name.data, model_arch_names());
    return ERR_OK;
}

static void count_facts(struct model *m, const struct gguf_file *f)
{
    int64_t by_type[KERN_TYPE_LIMIT] = { 0 };
    int commonest = 0;
    m->facts.params = 0;
    for (int i = 0; i < gguf_tensor_count(f); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(f, i);
        int64_t n = (int64_t)(t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]);
        m->facts.params += n;
        by_type[t->type] += n;
    }
    for (int i = 0; i < KERN_TYPE_LIMIT; i++)
        if (by_type[i] > by_type[commonest])
            commonest = i;
    m->facts.type_name = kern_type_info(commonest)->name;
}

static enum err_code fill_facts(struct model *m, const struct gguf_file *f, struct err *e)
{
    const struct model_dims *d = &m->d;
    enum err_code c = gguf_get_string_or_null(f, "general.name", &m->name, e);
    if (c)
        return c;
    m->facts = (struct model_facts){
        .arch = m->arch->name, .name = m->name ? m->name : "", .vocab = d->vocab, .ctx_train = d->ctx_train,
        .layers = d->layers, .dim = d->dim, .heads = d->heads, .kv_heads = d->kv_heads,
        .ffn = d->experts ? d->expert_ffn : d->ffn, .experts = d->experts, .experts_used = d->experts_used,
        .weight_bytes = m->weight_bytes, .causal = !m->arch->encoder, .labels = d->labels,
        .has_segments = d->segments > 1,
    };
    if ((c = keys_pooling(&(struct keys){ f, m->arch }, &m->facts.pooling, e)))
        return c;
    if (m->facts.pooling == MODEL_POOL_RANK && !d->labels)
        return err_set(e, ERR_CORRUPT, "%s: it says it ranks, but has no classification head", gguf_name(f));
    count_facts(m, f);
    return ERR_OK;
}

/* Windows and ropes of the layers, from the period. */
static void shape_layers(struct model *m)
{
    const struct model_dims *d = &m->d;
    m->layers = mem_new((size_t)d->layers, sizeof *m->layers);
    for (int i = 0; i < d->layers; i++) {
        struct layer *l = &m->layers[i];
        bool local = d->window > 0 && i % d->window_period < d->window_period - 1;
        l->index = i;
        l->window = local ? d->window : 0;
        l->rope = m->arch->layer_rope ? m->arch->layer_rope(d, i) : local && m->arch->local_rope ? 1 : 0;
        if (m->arch->no_rope)
            l->rope = -1;
    }
}

static enum err_code set_part(struct model *m, struct model_part part, const char *file, struct err *e)
{
    bool all = !part.first && !part.end;
    m->part = all ? (struct model_part){ 0, m->d.layers } : part;
    if (!all && m->arch->encoder)
        return err_set(e, ERR_UNSUPPORTED, "%s: an encoder is not cut into parts", file);
    if (m->part.first < 0 || m->part.first >= m->part.end || m->part.end > m->d.layers)
        return err_set(e, ERR_INVALID, "%s: it has %d layers, and %d to %d are asked for", file, m->d.layers,
                       part.first, part.end);
    return ERR_OK;
}

/* The layers' tensors. All are checked; a part packs its own layers, and of the model's own tensors only the first
 * part the matrices. */
static enum err_code place_all(struct plan *p, struct err *e)
{
    struct model *m = p->m;
    p->take = m->part.first ? TAKE_VECTORS : TAKE_ALL;
    enum err_code c = place_groups(p, m->arch->model_tensors, -1, m, e);
    for (int i = 0; i < m->d.layers && !c; i++) {
        p->take = i >= m->part.first && i < m->part.end ? TAKE_ALL : TAKE_NOTHING;
        c = place_groups(p, m->arch->layer_tensors, i, &m->layers[i], e);
    }
    return c;
}

static enum err_code plan(struct plan *p, const struct model_load_options *o, struct err *e)
{
    struct model *m = p->m;
    enum err_code c = find_arch(p->f, &m->arch, e);
    if (c)
        return c;
    struct keys k = { p->f, m->arch };
    if ((c = keys_common(&k, &m->d, e)) || (m->arch->keys && (c = m->arch->keys(&k, &m->d, e))))
        return c;
    if (o->ctx < 0 || o->ctx > MODEL_CTX_MAX)
        return err_set(e, ERR_INVALID, "a context of %d positions is outside 1..%d", o->ctx, MODEL_CTX_MAX);
    m->ctx = o->ctx ? o->ctx : m->d.ctx_train;
    if (m->arch->no_rope && m->ctx > m->d.ctx_train)
        return err_set(e, ERR_INVALID, "%s: it has learned %d positions; a context of %d is more (--ctx)",
                       gguf_name(p->f), m->d.ctx_train, m->ctx);
    if ((c = set_part(m, o->part, gguf_name(p->f), e)))
        return c;
    p->used = mem_new((size_t)gguf_tensor_count(p->f), sizeof *p->used);
    shape_layers(m);
    c = place_all(p, e);
    if (c || (c = refuse_strangers(p, e)) || (c = kv_layout(m, o->kv_type, e)))
        return c;
    m->weight_bytes = p->bytes;
    return fill_facts(m, p->f, e);
}

static void plan_release(struct plan *p)
{
    mem_free(p->items);
    mem_free(p->used);
}

/* ---- filling */

struct packing {
    const struct plan *plan;
    const struct model_load_options *o;
};

/* The first item that begins at `offset` or behind it. */
static size_t item_at(const struct plan *p, size_t offset)
{
    size_t lo = 0, hi = p->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (p->items[mid].offset < offset)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* What of it begins in [first, end) of the weights block. */
static void pack_item(const struct plan *p, const struct item *it, size_t first, size_t end)
{
    if (it->vector) {
        if (it->offset >= first)
            kern_dequantize(it->type, it->src, (float *)(void *)(p->m->weights + it->offset), it->values);
        return;
    }
    size_t bytes = it->matrix->panel_bytes, panels = (size_t)it->matrix->panels;
    size_t from = it->offset < first ? (first - it->offset + bytes - 1) / bytes : 0;
    size_t to = (end - it->offset + bytes - 1) / bytes;
    if (from < panels)
        kern_matrix_pack(it->matrix, it->src, (int)from, (int)(to < panels ? to : panels));
}

/* Chunks are cut where large pages are, not where matrices are: two threads that touched one page first at the same
 * time would both have the system clear one. */
static void pack_all(struct team *t, void *arg)
{
    const struct packing *a = arg;
    const struct plan *p = a->plan;
    int chunks = (int)((p->bytes + CHUNK_BYTES - 1) / CHUNK_BYTES);
    for (int chunk; (chunk = team_next(t, chunks)) >= 0;) {
        size_t first = (size_t)chunk * CHUNK_BYTES, end = first + CHUNK_BYTES, i = item_at(p, first);
        for (i -= i > 0; i < p->count && p->items[i].offset < end; i++)
            pack_item(p, &p->items[i], first, end);
        if (t->rank == 0 && a->o->progress)
            a->o->progress(a->o->progress_arg, (double)chunk / chunks);
    }
}

static void fill_weights(const struct plan *p, const struct model_load_options *o, struct pool *pool)
{
    struct model *m = p->m;
    m->weights = mem_aligned(m->weight_bytes);
    for (size_t i = 0; i < p->count; i++) {
        const struct item *it = &p->items[i];
        if (it->vector)
            *it->vector = (const float *)(void *)(m->weights + it->offset);
        else
            it->matrix->data = m->weights + it->offset;
    }
    struct packing a = { p, o };
    pool_run(pool, pack_all, &a);
    if (!m->output.data && !m->arch->encoder)
        m->output = m->token_embd;
    if (o->progress)
        o->progress(o->progress_arg, 1.0);
}

static enum err_code check_factors(const struct model *m, const float *factors, const char *file, struct err *e)
{
    for (int i = 0; factors && i < m->d.rope.n_rot / 2; i++)
        if (!(factors[i] >= 1e-6f && factors[i] <= 1e9f))
            return err_set(e, ERR_CORRUPT, "%s: a factor of the rotary frequencies is %g", file, (double)factors[i]);
    return ERR_OK;
}

/* LongRoPE files hold two sets: the short one serves contexts up to the original length. */
static enum err_code set_ropes(struct model *m, const struct gguf_file *f, struct err *e)
{
    const struct model_arch *a = m->arch;
    struct keys k = { f, a };
    struct rope_spec spec = m->d.rope;
    if (a->no_rope)
        return ERR_OK;
    const float *factors = m->rope_freqs;
    if (!factors)
        factors = m->ctx > spec.ctx_orig ? m->rope_long : m->rope_short;
    enum err_code c = check_factors(m, factors, gguf_name(f), e);
    if (c)
        return c;
    rope_init(&m->ropes[0], &spec, a->rope_style, factors);
    m->rope_count = 1;
    if (!a->local_rope)
        return ERR_OK;
    if ((c = a->local_rope(&k, &spec, e)))
        return c;
    rope_init(&m->ropes[m->rope_count++], &spec, a->rope_style, NULL);
    return ERR_OK;
}

enum err_code model_load(const struct gguf_file *f, const struct model_load_options *o, struct pool *pool,
                         struct model **out, struct err *e)
{
    struct model *m = MEM_NEW(struct model);
    struct plan p = { .f = f, .m = m };
    m->kern = o->kern;
    enum err_code c = plan(&p, o, e);
    if (!c) {
        fill_weights(&p, o, pool);
        c = set_ropes(m, f, e);
    }
    plan_release(&p);
    if (c)
        model_free(m);
    else
        *out = m;
    return c;
}

enum err_code model_measure(const struct gguf_file *f, const struct model_load_options *o, int rows_max,
                            int logit_rows_max, struct model_needs *out, struct err *e)
{
    struct model *m = MEM_NEW(struct model);
    struct plan p = { .f = f, .m = m };
    enum err_code c = plan(&p, o, e);
    m->rope_count = !m->arch || m->arch->no_rope ? 0 : m->arch->local_rope ? 2 : 1;
    if (!c)
        *out = (struct model_needs){
            .weight_bytes = m->weight_bytes, .kv_page_bytes = m->kv_page_bytes,
            .work_bytes = work_measure(m, pool_default_threads(), rows_max, logit_rows_max),
        };
    plan_release(&p);
    model_free(m);
    return c;
}

void model_free(struct model *m)
{
    if (!m)
        return;
    for (int i = 0; m->layers && i < m->d.layers; i++) {
        mem_free(m->layers[i].gate_exps);
        mem_free(m->layers[i].up_exps);
        mem_free(m->layers[i].down_exps);
    }
    mem_aligned_free(m->weights, m->weight_bytes);
    mem_free(m->layers);
    mem_free(m->kv);
    mem_free(m->name);
    mem_free(m);
}

const struct model_facts *model_facts(const struct model *m)
{
    return &m->facts;
}

int model_ctx(const struct model *m)
{
    return m->ctx;
}

struct model_part model_part(const struct model *m)
{
    return m->part;
}

size_t model_kv_page_bytes(const struct model *m)
{
    return m->kv_page_bytes;
}
