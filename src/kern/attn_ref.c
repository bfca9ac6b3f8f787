/* attn_ref -- the law for attention over paged KV, and the one place that writes pages.
 *
 * For a query and a head: m = sink or -inf, l = 1 with a sink or 0, o = 0. Then page after page, the visible keys only:
 *   s[t] = fmaf over dims in order of q * k; times scale; softcap. Q8_0: q in int8 form, block of 32 dims after
 *          block: s = fmaf((float)isum, k_scale * q_scale, s)
 *   top  = pairwise maximum of the 32 lanes (invisible: -inf), m' = max(top, m); a page whose m' is -inf is passed over
 *   f    = exp(m - m'), p[t] = exp(s[t] - m'), l = fmaf(l, f, pairwise sum of p), o *= f
 *   o[d] = fmaf(p[t], v[t][d], o[d]) for the visible t in order. Q8_0: fmaf(p[t] * v_scale, (float)v, o[d])
 * and out = o * (1 / l), zeros if no key was seen. */
#include "base/assert.h"
#include "kern/math.h"
#include "kern/page.h"
#include "kern/rungs.h"

size_t kern_kv_k_bytes(const struct kern_kv *kv) { return (size_t)kv->kv_heads * kern_k_head_bytes(kv); }
size_t kern_kv_v_bytes(const struct kern_kv *kv) { return (size_t)kv->kv_heads * kern_v_head_bytes(kv); }

/* The int8 form of up to 32 stored values: the f16 scale, codes in -127..127. */
static uint16_t q8_store(const float *x, int n, int8_t *q)
{
    uint32_t high = 0;
    for (int i = 0; i < n; i++) {
        uint32_t b = kern_float_bits(x[i]) & 0x7fffffff;
        high = b > high ? b : high;
    }
    memset(q, 0, 32);
    if (high >= 0x7f800000)
        return 0x7e00; /* NaN */
    uint16_t d = kern_f32_to_f16(kern_min(65504.0f, kern_bits_float(high) / 127.0f));
    float scale = kern_f16_to_f32(d);
    if (scale == 0)
        return d;
    float inv = 1.0f / scale;
    for (int i = 0; i < n; i++) {
        float v = kern_min(127.0f, kern_max(-127.0f, x[i] * inv));
        q[i] = (int8_t)(v + KERN_ROUND - KERN_ROUND);
    }
    return d;
}

void kern_page_turn(const struct kern_kv *kv, const unsigned char *row, unsigned char *head, int slot)
{
    for (int d = 0; d < kv->k_dim; d++) {
        if (kv->type == KERN_F32)
            memcpy(head + (size_t)(d * KERN_PAGE_TOKENS + slot) * 4, row + 4 * d, 4);
        else
            memcpy(head + (size_t)(d * KERN_PAGE_TOKENS + slot) * 2, row + 2 * d, 2);
    }
}

static void k_store(const struct kern_kv *kv, unsigned char *head, int slot, const float *k)
{
    if (kv->type != KERN_Q8_0) {
        unsigned char row[KERN_HEAD_DIM_MAX * sizeof(float)];
        kern_float_write(kv->type, k, row, (size_t)kv->k_dim);
        kern_page_turn(kv, row, head, slot);
        return;
    }
    int8_t q[32];
    for (int d = 0; d < kv->k_dim; d += 32, head += KERN_K8_BLOCK) {
        kern_store16(head + 2 * slot, q8_store(k + d, kv->k_dim - d < 32 ? kv->k_dim - d : 32, q));
        for (int i = 0; i < 32; i++)
            head[64 + i / 4 * 128 + slot * 4 + i % 4] = (unsigned char)q[i] ^ 0x80;
    }
}

static void v_store(const struct kern_kv *kv, unsigned char *head, int slot, const float *v)
{
    if (kv->type != KERN_Q8_0) {
        kern_float_write(kv->type, v, head + (size_t)(slot * kv->v_dim) * kern_kv_size(kv->type), (size_t)kv->v_dim);
        return;
    }
    int blocks = kern_blocks32(kv->v_dim);
    int8_t q[32];
    for (int b = 0; b < blocks; b++) {
        int left = kv->v_dim - b * 32;
        kern_store16(head + (slot * blocks + b) * 2, q8_store(v + b * 32, left < 32 ? left : 32, q));
        memcpy(head + blocks * 64 + (slot * blocks + b) * 32, q, 32);
    }
}

void kern_page_store(const struct kern_kv *kv, unsigned char *page, int slot, const float *k, const float *v)
{
    ASSERT(slot >= 0 && slot < KERN_PAGE_TOKENS && kv->k_dim <= KERN_HEAD_DIM_MAX && kv->v_dim <= KERN_HEAD_DIM_MAX);
    for (int h = 0; h < kv->kv_heads; h++) {
        k_store(kv, page + kv->k_offset + (size_t)h * kern_k_head_bytes(kv), slot, k + h * kv->k_dim);
        v_store(kv, page + kv->v_offset + (size_t)h * kern_v_head_bytes(kv), slot, v + h * kv->v_dim);
    }
}

static float score(const struct kern_kv *kv, const unsigned char *k, int t, const float *q, const struct kern_act *q8)
{
    float s = 0, v;
    if (kv->type != KERN_Q8_0) {
        size_t size = kern_kv_size(kv->type);
        for (int d = 0; d < kv->k_dim; d++) {
            kern_float_read(kv->type, k + (size_t)(d * KERN_PAGE_TOKENS + t) * size, &v, 1);
            s = fmaf(q[d], v, s);
        }
        return s;
    }
    for (int b = 0; b < kern_blocks32(kv->k_dim); b++, k += KERN_K8_BLOCK) {
        int32_t isum = 0;
        for (int i = 0; i < 32; i++)
            isum += ((int)k[64 + i / 4 * 128 + t * 4 + i % 4] - 128) * q8[b].q[i];
        s = fmaf((float)isum, kern_f16_to_f32(kern_load16(k + 2 * t)) * q8[b].scale, s);
    }
    return s;
}

static void add_value(const struct kern_kv *kv, const unsigned char *v, int t, float p, float *o)
{
    float x[KERN_HEAD_DIM_MAX];
    if (kv->type != KERN_Q8_0) {
        kern_float_read(kv->type, v + (size_t)(t * kv->v_dim) * kern_kv_size(kv->type), x, (size_t)kv->v_dim);
        for (int d = 0; d < kv->v_dim; d++)
            o[d] = fmaf(p, x[d], o[d]);
        return;
    }
    int blocks = kern_blocks32(kv->v_dim);
    for (int d = 0; d < kv->v_dim; d++) {
        float scale = kern_f16_to_f32(kern_load16(v + (t * blocks + d / 32) * 2));
        int8_t code = (int8_t)v[blocks * 64 + t * blocks * 32 + d];
        o[d] = fmaf(p * scale, (float)code, o[d]);
    }
}

void kern_attn_query_q8(const float *q, int k_dim, struct kern_act *out)
{
    float padded[KERN_HEAD_DIM_MAX] = { 0 };
    memcpy(padded, q, (size_t)k_dim * sizeof(float));
    kern_act_quantize(padded, out, kern_blocks32(k_dim) * 32);
}

struct state {
    float m, l, o[KERN_HEAD_DIM_MAX];
};

static void page_step(const struct kern_attn *op, const unsigned char *k, const unsigned char *v, int lo, int hi,
                      const float *q, const struct kern_act *q8, struct state *st)
{
    float s[32], pair[16];
    for (int t = 0; t < 32; t++) {
        s[t] = -INFINITY;
        if (t < lo || t >= hi)
            continue;
        s[t] = score(op->kv, k, t, q, q8) * op->scale;
        if (op->softcap != 0)
            s[t] = op->softcap * kern_tanh_law(s[t] / op->softcap);
    }
    for (int i = 0; i < 16; i++)
        pair[i] = kern_max(s[i], s[i + 16]);
    float m = kern_max(kern_max16(pair), st->m);
    if (m == -INFINITY)
        return;
    float f = kern_exp_law(st->m - m);
    for (int t = 0; t < 32; t++)
        s[t] = kern_exp_law(s[t] - m);
    for (int i = 0; i < 16; i++)
        pair[i] = s[i] + s[i + 16];
    st->l = fmaf(st->l, f, kern_sum16(pair));
    st->m = m;
    for (int d = 0; d < op->kv->v_dim; d++)
        st->o[d] *= f;
    for (int t = lo; t < hi; t++)
        add_value(op->kv, v, t, s[t], st->o);
}

static void one_query(const struct kern_attn *op, int kv_head, int head, int i)
{
    const struct kern_kv *kv = op->kv;
    const float *q = op->q + (size_t)i * op->q_stride + (size_t)head * (size_t)kv->k_dim;
    struct kern_act q8[KERN_HEAD_DIM_MAX / 32];
    kern_attn_query_q8(q, kv->k_dim, q8);
    struct state st = { op->sinks ? op->sinks[head] : -INFINITY, op->sinks ? 1 : 0, { 0 } };
    int pos = kern_query_pos(op, i), lo, hi;
    for (int page = kern_page_first(op, pos); page * KERN_PAGE_TOKENS <= pos; page++) {
        if (!kern_page_range(op, pos, page * KERN_PAGE_TOKENS, &lo, &hi))
            continue;
        const unsigned char *k = op->pages[page] + kv->k_offset + (size_t)kv_head * kern_k_head_bytes(kv);
        const unsigned char *v = op->pages[page] + kv->v_offset + (size_t)kv_head * kern_v_head_bytes(kv);
        page_step(op, k, v, lo, hi, q, q8, &st);
    }
    float inv = 1.0f / st.l;
    float *out = op->out + (size_t)i * op->out_stride + (size_t)head * (size_t)kv->v_dim;
    for (int d = 0; d < kv->v_dim; d++)
        out[d] = st.l == 0 ? 0 : st.o[d] * inv;
}

static void attn(const struct kern_attn *op, int kv_head, void *scratch)
{
    (void)scratch;
    ASSERT(op->kv->k_dim <= KERN_HEAD_DIM_MAX && op->kv->v_dim <= KERN_HEAD_DIM_MAX);
    int group = op->heads / op->kv->kv_heads;
    for (int i = 0; i < op->n_q; i++)
        for (int g = 0; g < group; g++)
            one_query(op, kv_head, kv_head * group + g, i);
}

size_t kern_attn_scratch_bytes(const struct kern_kv *kv, int heads, int n_q_max)
{
    (void)heads;
    (void)n_q_max;
    size_t row = (size_t)kern_blocks32(kv->k_dim) * (sizeof(struct kern_act) + 128) +
                 (size_t)kern_blocks32(kv->v_dim) * 128 + 256;
    int wide = kern_blocks32(kv->k_dim > kv->v_dim ? kv->k_dim : kv->v_dim) * 32;
    return KERN_ATTN_ROWS * row + (size_t)(KERN_PAGE_TOKENS * wide) * sizeof(float) + 64;
}

void kern_fill_attn_ref(struct kern_table *t)
{
    t->kv_store = kern_page_store;
    t->attn = attn;
}
