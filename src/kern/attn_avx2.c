/* attn_avx2 -- attention with a key (for scores) or a dimension (for values) in the lane: see attn_avx512. */
#include "base/assert.h"
#include "kern/lanes_avx2.h"
#include "kern/page.h"
#include "kern/rungs.h"
#include "kern/unroll.h"

enum { ROWS = KERN_ATTN_ROWS, ROWS_WANTED = 32, SCORE_ROWS = 3, VALUE_ROWS = 3 };

struct rows {
    int count, v_pad;
    float m[ROWS], l[ROWS];
    const float *q[ROWS];
    int pos[ROWS], lo[ROWS], hi[ROWS];
    float *s;               /* [count][32] */
    float *o;               /* [count][v_pad] */
    struct kern_act *q8;    /* [count][k blocks] */
};

LANES __m256 widen(enum kern_type type, const unsigned char *p)
{
    if (type == KERN_F32)
        return _mm256_loadu_ps((const float *)p);
    __m128i h = _mm_loadu_si128((const __m128i *)p);
    if (type == KERN_F16)
        return _mm256_cvtph_ps(h);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(h), 16));
}

/* The first `left` values of 8: what lies behind them may be past the page. */
static __m256 widen_part(enum kern_type type, const unsigned char *p, int left)
{
    unsigned char v[32] = { 0 };
    memcpy(v, p, (size_t)left * kern_kv_size(type));
    return widen(type, v);
}

LANES void score_float(enum kern_type type, const struct rows *r, int first, const int n, const unsigned char *k,
                       int dim)
{
    const size_t step = 8 * (type == KERN_F32 ? 4 : 2);
    __m256 s[SCORE_ROWS][4];
    UNROLL(3)
    for (int i = 0; i < n; i++)
        UNROLL(4)
        for (int j = 0; j < 4; j++)
            s[i][j] = _mm256_setzero_ps();
    for (int d = 0; d < dim; d++, k += 4 * step) {
        __m256 q[SCORE_ROWS];
        UNROLL(3)
        for (int i = 0; i < n; i++)
            q[i] = _mm256_set1_ps(r->q[first + i][d]);
        UNROLL(4)
        for (int j = 0; j < 4; j++) {
            __m256 x = widen(type, k + (size_t)j * step);
            UNROLL(3)
            for (int i = 0; i < n; i++)
                s[i][j] = _mm256_fmadd_ps(q[i], x, s[i][j]);
        }
    }
    UNROLL(3)
    for (int i = 0; i < n; i++)
        UNROLL(4)
        for (int j = 0; j < 4; j++)
            _mm256_storeu_ps(r->s + (first + i) * 32 + 8 * j, s[i][j]);
}

LANES __m256i four(const int8_t *q)
{
    int32_t v;
    memcpy(&v, q, 4);
    return _mm256_set1_epi32(v);
}

/* Bytes are 128 too high for maddubs: turned signed, the sign goes to the other factor (see matmul_avx2). */
static void score_q8(const struct rows *r, int i, const unsigned char *k, int blocks)
{
    const __m256i high = _mm256_set1_epi8((char)0x80), ones = _mm256_set1_epi16(1);
    const struct kern_act *q = r->q8 + i * blocks;
    __m256 s[4] = { _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps() };
    for (int b = 0; b < blocks; b++, k += KERN_K8_BLOCK, q++) {
        __m256i dot[4] = { _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                           _mm256_setzero_si256() };
        for (int g = 0; g < 8; g++) {
            __m256i x = four(q->q + 4 * g);
            UNROLL(4)
            for (int j = 0; j < 4; j++) {
                __m256i w = _mm256_loadu_si256((const __m256i *)(k + 64 + g * 128 + j * 32));
                w = _mm256_xor_si256(w, high);
                __m256i p = _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
                dot[j] = _mm256_add_epi32(dot[j], _mm256_madd_epi16(p, ones));
            }
        }
        UNROLL(4)
        for (int j = 0; j < 4; j++) {
            __m256 f = _mm256_mul_ps(widen(KERN_F16, k + 16 * j), _mm256_set1_ps(q->scale));
            s[j] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[j]), f, s[j]);
        }
    }
    for (int j = 0; j < 4; j++)
        _mm256_storeu_ps(r->s + i * 32 + 8 * j, s[j]);
}

LANES void score_rows(const struct kern_kv *kv, const struct rows *r, int first, const int n, const unsigned char *k)
{
    switch (kv->type) {
    case KERN_F32: score_float(KERN_F32, r, first, n, k, kv->k_dim); break;
    case KERN_F16: score_float(KERN_F16, r, first, n, k, kv->k_dim); break;
    case KERN_BF16: score_float(KERN_BF16, r, first, n, k, kv->k_dim); break;
    default:
        for (int i = 0; i < n; i++)
            score_q8(r, first + i, k, kern_blocks32(kv->k_dim));
    }
}

static void score_3(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *k)
{
    score_rows(kv, r, i, 3, k);
}
static void score_1(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *k)
{
    score_rows(kv, r, i, 1, k);
}

/* Scores of row i into weights; keeps m, l and o in step. false: the page gives this row nothing. */
static bool weigh(const struct kern_attn *op, struct rows *r, int i)
{
    float *s = r->s + i * 32;
    __m256 scale = _mm256_set1_ps(op->scale), none = _mm256_set1_ps(-INFINITY), cap = _mm256_set1_ps(op->softcap), v[4];
    for (int j = 0; j < 4; j++) {
        v[j] = _mm256_mul_ps(_mm256_loadu_ps(s + 8 * j), scale);
        if (op->softcap != 0)
            v[j] = _mm256_mul_ps(cap, tanh_lanes(_mm256_div_ps(v[j], cap)));
        __m256i seen = _mm256_andnot_si256(tail_mask(r->lo[i] - 8 * j), tail_mask(r->hi[i] - 8 * j));
        v[j] = _mm256_blendv_ps(none, v[j], _mm256_castsi256_ps(seen));
    }
    float m = kern_max(max_lanes(_mm256_max_ps(v[0], v[2]), _mm256_max_ps(v[1], v[3])), r->m[i]);
    if (m == -INFINITY)
        return false;
    float f = _mm256_cvtss_f32(exp_lanes(_mm256_set1_ps(r->m[i] - m)));
    for (int j = 0; j < 4; j++) {
        v[j] = exp_lanes(_mm256_sub_ps(v[j], _mm256_set1_ps(m)));
        _mm256_storeu_ps(s + 8 * j, v[j]);
    }
    r->l[i] = fmaf(r->l[i], f, sum_lanes(_mm256_add_ps(v[0], v[2]), _mm256_add_ps(v[1], v[3])));
    r->m[i] = m;
    if (f != 1) {
        float *o = r->o + i * r->v_pad;
        for (int d = 0; d < r->v_pad; d += 8)
            _mm256_storeu_ps(o + d, _mm256_mul_ps(_mm256_loadu_ps(o + d), _mm256_set1_ps(f)));
    }
    return true;
}

/* Rows first .. first+n, dimensions d .. d + 8 * wide, all there. */
LANES void value_block(const struct kern_kv *kv, enum kern_type type, const struct rows *r, int first, const int n,
                       const unsigned char *v, int d, const int wide)
{
    __m256 o[VALUE_ROWS][4];
    int blocks = kern_blocks32(kv->v_dim), left = kv->v_dim - d;
    size_t size = type == KERN_F32 ? 4 : 2;
    UNROLL(4)
    for (int j = 0; j < wide; j++)
        UNROLL(3)
        for (int i = 0; i < n; i++)
            o[i][j] = _mm256_loadu_ps(r->o + (first + i) * r->v_pad + d + 8 * j);
    for (int t = r->lo[first]; t < r->hi[first]; t++) {
        __m256 p[VALUE_ROWS], f = _mm256_setzero_ps();
        if (type == KERN_Q8_0) /* d .. d + 8 * wide lie in one block of 32 */
            f = _mm256_set1_ps(_cvtsh_ss(kern_load16(v + (t * blocks + d / 32) * 2)));
        UNROLL(3)
        for (int i = 0; i < n; i++) {
            p[i] = _mm256_set1_ps(r->s[(first + i) * 32 + t]);
            if (type == KERN_Q8_0)
                p[i] = _mm256_mul_ps(p[i], f);
        }
        UNROLL(4)
        for (int j = 0; j < wide; j++) {
            __m256 x;
            if (type == KERN_Q8_0) {
                const unsigned char *code = v + blocks * 64 + t * blocks * 32 + d + 8 * j;
                x = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)code)));
            } else {
                const unsigned char *at = v + ((size_t)t * (size_t)kv->v_dim + (size_t)(d + 8 * j)) * size;
                x = wide == 1 && left < 8 ? widen_part(type, at, left) : widen(type, at);
            }
            UNROLL(3)
            for (int i = 0; i < n; i++)
                o[i][j] = _mm256_fmadd_ps(p[i], x, o[i][j]);
        }
    }
    UNROLL(4)
    for (int j = 0; j < wide; j++)
        UNROLL(3)
        for (int i = 0; i < n; i++)
            _mm256_storeu_ps(r->o + (first + i) * r->v_pad + d + 8 * j, o[i][j]);
}

LANES void value_wide(const struct kern_kv *kv, const struct rows *r, int first, const int n, const unsigned char *v,
                      int d, const int wide)
{
    switch (kv->type) {
    case KERN_F32: value_block(kv, KERN_F32, r, first, n, v, d, wide); break;
    case KERN_F16: value_block(kv, KERN_F16, r, first, n, v, d, wide); break;
    case KERN_BF16: value_block(kv, KERN_BF16, r, first, n, v, d, wide); break;
    default: value_block(kv, KERN_Q8_0, r, first, n, v, d, wide); break;
    }
}

LANES void value_rows(const struct kern_kv *kv, const struct rows *r, int first, const int n, const unsigned char *v)
{
    int d = 0;
    for (; d + 32 <= kv->v_dim; d += 32)
        value_wide(kv, r, first, n, v, d, 4);
    for (; d < kv->v_dim; d += 8)
        value_wide(kv, r, first, n, v, d, 1);
}

static void value_3(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *v)
{
    value_rows(kv, r, i, 3, v);
}
static void value_1(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *v)
{
    value_rows(kv, r, i, 1, v);
}

/* Rows first .. end see at least one key of this page. */
static void page_step(const struct kern_attn *op, struct rows *r, int first, int end, const unsigned char *k,
                      const unsigned char *v)
{
    const struct kern_kv *kv = op->kv;
    for (int i = first; i < end;) {
        int n = end - i >= 3 ? 3 : 1;
        (n == 3 ? score_3 : score_1)(kv, r, i, k);
        i += n;
    }
    for (int i = first; i < end; i++)
        if (!weigh(op, r, i))
            r->hi[i] = r->lo[i];
    for (int i = first, n; i < end; i += n) {
        for (n = 1; n < VALUE_ROWS && i + n < end && r->lo[i + n] == r->lo[i] && r->hi[i + n] == r->hi[i]; n++)
            ;
        n = n >= 3 ? 3 : 1;
        (n == 3 ? value_3 : value_1)(kv, r, i, v);
    }
}

static void rows_begin(const struct kern_attn *op, struct rows *r, int kv_head, int first_query, int queries)
{
    const struct kern_kv *kv = op->kv;
    int group = op->heads / kv->kv_heads, blocks = kern_blocks32(kv->k_dim);
    r->count = queries * group;
    for (int i = 0; i < r->count; i++) {
        int head = kv_head * group + i % group, query = first_query + i / group;
        r->q[i] = op->q + (size_t)query * op->q_stride + (size_t)head * (size_t)kv->k_dim;
        r->pos[i] = kern_query_pos(op, query);
        r->m[i] = op->sinks ? op->sinks[head] : -INFINITY;
        r->l[i] = op->sinks ? 1 : 0;
        if (kv->type == KERN_Q8_0)
            kern_attn_query_q8(r->q[i], kv->k_dim, r->q8 + i * blocks);
    }
    memset(r->o, 0, (size_t)(r->count * r->v_pad) * sizeof(float));
}

static void rows_end(const struct kern_attn *op, const struct rows *r, int kv_head, int first_query)
{
    int group = op->heads / op->kv->kv_heads, dim = op->kv->v_dim;
    for (int i = 0; i < r->count; i++) {
        float inv = 1.0f / r->l[i];
        float *out = op->out + (size_t)(first_query + i / group) * op->out_stride +
                     (size_t)(kv_head * group + i % group) * (size_t)dim;
        for (int d = 0; d < dim; d++)
            out[d] = r->l[i] == 0 ? 0 : r->o[i * r->v_pad + d] * inv;
    }
}

static void attn(const struct kern_attn *op, int kv_head, void *scratch)
{
    const struct kern_kv *kv = op->kv;
    int group = op->heads / kv->kv_heads, at_once = group < ROWS_WANTED ? ROWS_WANTED / group : 1;
    struct rows r = { .v_pad = (kv->v_dim + 15) / 16 * 16 };
    unsigned char *p = (unsigned char *)(((uintptr_t)scratch + 63) & ~(uintptr_t)63);
    r.q8 = (struct kern_act *)p;
    p += (size_t)(ROWS * kern_blocks32(kv->k_dim)) * sizeof(struct kern_act);
    r.s = (float *)p;
    r.o = r.s + ROWS * 32;
    for (int i = 0; i < op->n_q; i += at_once) {
        int queries = op->n_q - i < at_once ? op->n_q - i : at_once;
        rows_begin(op, &r, kv_head, i, queries);
        int page = kern_page_first(op, kern_query_pos(op, i)), end_pos = kern_query_pos(op, i + queries - 1) + 1;
        for (; page * KERN_PAGE_TOKENS < end_pos; page++) {
            int first = r.count, end = 0; /* the rows that see the page are neighbours: positions rise */
            for (int k = 0; k < r.count; k++) {
                if (kern_page_range(op, r.pos[k], page * KERN_PAGE_TOKENS, &r.lo[k], &r.hi[k])) {
                    first = k < first ? k : first;
                    end = k + 1;
                }
            }
            if (first >= end)
                continue;
            const unsigned char *at = op->pages[page];
            page_step(op, &r, first, end, at + kv->k_offset + (size_t)kv_head * kern_k_head_bytes(kv),
                      at + kv->v_offset + (size_t)kv_head * kern_v_head_bytes(kv));
        }
        rows_end(op, &r, kv_head, i);
    }
}

static void halve(const float *x, int n, unsigned char *out)
{
    int i = 0;
    for (; i + 8 <= n; i += 8)
        _mm_storeu_si128((__m128i *)(out + 2 * i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    kern_float_write(KERN_F16, x + i, out + 2 * i, (size_t)(n - i));
}

static void kv_store(const struct kern_kv *kv, unsigned char *page, int slot, const float *k, const float *v)
{
    if (kv->type != KERN_F16) {
        kern_page_store(kv, page, slot, k, v);
        return;
    }
    ASSERT(slot >= 0 && slot < KERN_PAGE_TOKENS && kv->k_dim <= KERN_HEAD_DIM_MAX);
    unsigned char row[KERN_HEAD_DIM_MAX * 2];
    for (int h = 0; h < kv->kv_heads; h++) {
        halve(k + h * kv->k_dim, kv->k_dim, row);
        kern_page_turn(kv, row, page + kv->k_offset + (size_t)h * kern_k_head_bytes(kv), slot);
        halve(v + h * kv->v_dim, kv->v_dim,
              page + kv->v_offset + (size_t)h * kern_v_head_bytes(kv) + (size_t)(slot * kv->v_dim) * 2);
    }
}

void kern_fill_attn_avx2(struct kern_table *t)
{
    t->kv_store = kv_store;
    t->attn = attn;
}
