/* attn_neon -- attention with a key (for scores) or a dimension (for values) in the lane.
 *
 * A head's part of a page is widened to floats once and used by all (query, head) pairs at hand. */
#include "kern/dots_neon.h"
#include "kern/lanes_neon.h"
#include "kern/page.h"
#include "kern/rungs.h"

enum { ROWS_WANTED = 32, TOKENS = KERN_PAGE_TOKENS };

/* One head of one page: floats, or for Q8_0 the stored bytes. */
struct head {
    const struct kern_kv *kv;
    const unsigned char *k8, *v8;
    const float *k, *v; /* [k_dim][32], [32][v_dim] */
};

struct row {
    const float *q;
    struct kern_act *q8;
    float *o; /* [v_dim, padded to 4] */
    float m, l;
};

static void widen(enum kern_type type, const unsigned char *p, size_t n, float *out)
{
    size_t i = 0;
    if (type == KERN_F32) {
        memcpy(out, p, n * sizeof *out);
        return;
    }
    for (; i + 4 <= n; i += 4)
        vst1q_f32(out + i, widen_16(type == KERN_BF16, p + 2 * i));
    kern_float_read(type, p + 2 * i, out + i, n - i);
}

static void score_float(const struct head *h, const float *q, float *s)
{
    float32x4_t sum[8];
    for (int j = 0; j < 8; j++)
        sum[j] = vdupq_n_f32(0);
    for (int d = 0; d < h->kv->k_dim; d++)
        for (int j = 0; j < 8; j++)
            sum[j] = vfmaq_n_f32(sum[j], vld1q_f32(h->k + d * TOKENS + 4 * j), q[d]);
    for (int j = 0; j < 8; j++)
        vst1q_f32(s + 4 * j, sum[j]);
}

static void score_q8(const struct head *h, const struct kern_act *q, float *s)
{
    const unsigned char *k = h->k8;
    const uint8x16_t high = vdupq_n_u8(0x80); /* bytes are 128 too high */
    float scale[TOKENS];
    memset(s, 0, TOKENS * sizeof *s);
    for (int b = 0; b < kern_blocks32(h->kv->k_dim); b++, k += KERN_K8_BLOCK) {
        widen(KERN_F16, k, TOKENS, scale);
        for (int j = 0; j < 8; j++) {
            int32x4_t dot = vdupq_n_s32(0);
            for (int g = 0; g < 8; g++) {
                uint8x16_t w = veorq_u8(vld1q_u8(k + 64 + g * 128 + 16 * j), high);
                dot = dot4(dot, vreinterpretq_s8_u8(w), four_times(q[b].q + 4 * g));
            }
            float32x4_t f = vmulq_n_f32(vld1q_f32(scale + 4 * j), q[b].scale);
            vst1q_f32(s + 4 * j, vfmaq_f32(vld1q_f32(s + 4 * j), vcvtq_f32_s32(dot), f));
        }
    }
}

/* Scores into weights; keeps m, l and o in step. false: the page gives this row nothing. */
static bool weigh(const struct kern_attn *op, struct row *r, float *s, int lo, int hi)
{
    float pair[16];
    for (int t = 0; t < TOKENS; t++) {
        s[t] *= op->scale;
        if (op->softcap != 0)
            s[t] = op->softcap * kern_tanh_law(s[t] / op->softcap);
        if (t < lo || t >= hi)
            s[t] = -INFINITY;
    }
    for (int i = 0; i < 16; i++)
        pair[i] = kern_max(s[i], s[i + 16]);
    float m = kern_max(kern_max16(pair), r->m);
    if (m == -INFINITY)
        return false;
    float f = kern_exp_law(r->m - m);
    for (int t = 0; t < TOKENS; t += 4)
        vst1q_f32(s + t, exp_neon(vsubq_f32(vld1q_f32(s + t), vdupq_n_f32(m))));
    for (int i = 0; i < 16; i++)
        pair[i] = s[i] + s[i + 16];
    r->l = fmaf(r->l, f, kern_sum16(pair));
    r->m = m;
    for (int d = 0; d < op->kv->v_dim; d += 4)
        vst1q_f32(r->o + d, vmulq_n_f32(vld1q_f32(r->o + d), f));
    return true;
}

static void add_values(const struct head *h, float *o, const float *p, int lo, int hi)
{
    int dim = h->kv->v_dim, d = 0;
    for (; d + 16 <= dim; d += 16) {
        float32x4_t a[4];
        for (int j = 0; j < 4; j++)
            a[j] = vld1q_f32(o + d + 4 * j);
        for (int t = lo; t < hi; t++)
            for (int j = 0; j < 4; j++)
                a[j] = vfmaq_n_f32(a[j], vld1q_f32(h->v + t * dim + d + 4 * j), p[t]);
        for (int j = 0; j < 4; j++)
            vst1q_f32(o + d + 4 * j, a[j]);
    }
    for (; d < dim; d++)
        for (int t = lo; t < hi; t++)
            o[d] = fmaf(p[t], h->v[t * dim + d], o[d]);
}

static void add_values_q8(const struct head *h, float *o, const float *p, int lo, int hi)
{
    int dim = h->kv->v_dim, blocks = kern_blocks32(dim);
    for (int t = lo; t < hi; t++)
        for (int d = 0; d < dim; d += 4) { /* codes and o are padded with room to spare */
            float f = p[t] * kern_f16_to_f32(kern_load16(h->v8 + (t * blocks + d / 32) * 2));
            const int8_t *code = (const int8_t *)h->v8 + blocks * 64 + t * blocks * 32 + d;
            int32x4_t c = { code[0], code[1], code[2], code[3] };
            vst1q_f32(o + d, vfmaq_n_f32(vld1q_f32(o + d), vcvtq_f32_s32(c), f));
        }
}

static void page_row(const struct kern_attn *op, const struct head *h, struct row *r, int lo, int hi)
{
    float s[TOKENS];
    bool q8 = h->kv->type == KERN_Q8_0;
    if (q8)
        score_q8(h, r->q8, s);
    else
        score_float(h, r->q, s);
    if (weigh(op, r, s, lo, hi))
        (q8 ? add_values_q8 : add_values)(h, r->o, s, lo, hi);
}

/* `queries` queries from first on, of all heads of the group. */
static void query_rows(const struct kern_attn *op, int kv_head, int first, int queries, unsigned char *scratch)
{
    const struct kern_kv *kv = op->kv;
    int group = op->heads / kv->kv_heads, count = queries * group, blocks = kern_blocks32(kv->k_dim);
    int v_pad = (kv->v_dim + 3) / 4 * 4, end_pos = kern_query_pos(op, first + queries - 1) + 1;
    float k[KERN_HEAD_DIM_MAX * TOKENS], v[KERN_HEAD_DIM_MAX * TOKENS];
    struct row rows[KERN_ATTN_ROWS];
    struct kern_act *q8 = (struct kern_act *)(void *)scratch;
    float *o = (float *)(void *)(scratch + (size_t)(KERN_ATTN_ROWS * blocks) * sizeof *q8);
    memset(o, 0, (size_t)(count * v_pad) * sizeof *o);
    for (int i = 0; i < count; i++) {
        int head = kv_head * group + i % group;
        const float *q = op->q + (size_t)(first + i / group) * op->q_stride + (size_t)head * (size_t)kv->k_dim;
        rows[i] = (struct row){ q, q8 + i * blocks, o + i * v_pad, op->sinks ? op->sinks[head] : -INFINITY,
                                op->sinks ? 1 : 0 };
        if (kv->type == KERN_Q8_0)
            kern_attn_query_q8(q, kv->k_dim, rows[i].q8);
    }
    for (int page = kern_page_first(op, kern_query_pos(op, first)); page * TOKENS < end_pos; page++) {
        struct head h = { kv, op->pages[page] + kv->k_offset + (size_t)kv_head * kern_k_head_bytes(kv),
                          op->pages[page] + kv->v_offset + (size_t)kv_head * kern_v_head_bytes(kv), k, v };
        if (kv->type != KERN_Q8_0) {
            widen(kv->type, h.k8, (size_t)(kv->k_dim * TOKENS), k);
            widen(kv->type, h.v8, (size_t)(kv->v_dim * TOKENS), v);
        }
        for (int i = 0, lo, hi; i < count; i++)
            if (kern_page_range(op, kern_query_pos(op, first + i / group), page * TOKENS, &lo, &hi))
                page_row(op, &h, &rows[i], lo, hi);
    }
    for (int i = 0; i < count; i++) {
        float inv = 1.0f / rows[i].l, *out = op->out + (size_t)(first + i / group) * op->out_stride +
                                             (size_t)(kv_head * group + i % group) * (size_t)kv->v_dim;
        for (int d = 0; d < kv->v_dim; d++)
            out[d] = rows[i].l == 0 ? 0 : rows[i].o[d] * inv;
    }
}

static void attn(const struct kern_attn *op, int kv_head, void *scratch)
{
    int group = op->heads / op->kv->kv_heads, at_once = group < ROWS_WANTED ? ROWS_WANTED / group : 1;
    unsigned char *p = (unsigned char *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);
    for (int i = 0; i < op->n_q; i += at_once)
        query_rows(op, kv_head, i, op->n_q - i < at_once ? op->n_q - i : at_once, p);
}

void kern_fill_attn_neon(struct kern_table *t)
{
    t->attn = attn;
}
