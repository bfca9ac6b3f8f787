/* attn_avx512 -- attention with a key (for scores) or a dimension (for values) in the lane.
 *
 * The rows worked on together are (query, head) pairs of one KV head: a page is read once for all of them. Scores are
 * taken for all 32 lanes, whatever lies there; what a row may not see is masked before it is looked at. Where more rows
 * follow than fit the registers, halves are widened once for all of them, K and then V into the same tile in L1. */
#include "kern/lanes_avx512.h"
#include "kern/page.h"
#include "kern/rungs.h"
#include "kern/unroll.h"

enum { ROWS = KERN_ATTN_ROWS, ROWS_WANTED = 32, SCORE_ROWS = 8, VALUE_ROWS = 6 };

struct rows {
    int count, v_pad;
    float m[ROWS + 16], l[ROWS + 16]; /* read sixteen at a time */
    const float *q[ROWS];
    int pos[ROWS], lo[ROWS], hi[ROWS];
    float *s;               /* [count][32] */
    float *o;               /* [count][v_pad] */
    struct kern_act *q8;    /* [count][k blocks] */
    float *tile;            /* of this page: K [k_dim][32], then V [32][v_pad] */
    ptrdiff_t k_ahead, v_ahead; /* from this page's K and V to what is read next */
};

LANES __m512 widen(enum kern_type type, const unsigned char *p, __mmask16 m)
{
    if (type == KERN_F32)
        return m == 0xffff ? _mm512_loadu_ps(p) : _mm512_maskz_loadu_ps(m, p);
    __m256i h = m == 0xffff ? _mm256_loadu_si256((const __m256i *)p) : _mm256_maskz_loadu_epi16(m, p);
    if (type == KERN_F16)
        return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* A page's part of one head is a few KB, too short for the processor to see a stream: the same place in the next page
 * is asked for while this one is multiplied. */
LANES void ask(const unsigned char *p, const size_t bytes)
{
    UNROLL(4)
    for (size_t i = 0; i < bytes; i += 64)
        _mm_prefetch((const char *)p + i, _MM_HINT_T1);
}

LANES void score_float(enum kern_type type, const struct rows *r, int first, const int n, const unsigned char *k,
                       int dim, const bool asking)
{
    const size_t half = 16 * (type == KERN_F32 ? 4 : 2);
    __m512 s[SCORE_ROWS][2];
    UNROLL(8)
    for (int i = 0; i < n; i++)
        s[i][0] = s[i][1] = _mm512_setzero_ps();
    for (int d = 0; d < dim; d++, k += 2 * half) {
        if (asking)
            ask(k + r->k_ahead, 2 * half);
        __m512 k0 = widen(type, k, 0xffff), k1 = widen(type, k + half, 0xffff);
        UNROLL(8)
        for (int i = 0; i < n; i++) {
            __m512 q = _mm512_set1_ps(r->q[first + i][d]);
            s[i][0] = _mm512_fmadd_ps(q, k0, s[i][0]);
            s[i][1] = _mm512_fmadd_ps(q, k1, s[i][1]);
        }
    }
    UNROLL(8)
    for (int i = 0; i < n; i++) {
        _mm512_store_ps(r->s + (first + i) * 32, s[i][0]);
        _mm512_store_ps(r->s + (first + i) * 32 + 16, s[i][1]);
    }
}

LANES __m512i four(const int8_t *q)
{
    int32_t v;
    memcpy(&v, q, 4);
    return _mm512_set1_epi32(v);
}

LANES void score_q8(const struct rows *r, int first, const int n, const unsigned char *k, int blocks)
{
    __m512 s[SCORE_ROWS][2];
    const struct kern_act *q = r->q8 + first * blocks;
    UNROLL(8)
    for (int i = 0; i < n; i++)
        s[i][0] = s[i][1] = _mm512_setzero_ps();
    for (int b = 0; b < blocks; b++, k += KERN_K8_BLOCK, q++) {
        __m512i dot[SCORE_ROWS][2];
        UNROLL(8)
        for (int i = 0; i < n; i++)
            dot[i][0] = dot[i][1] = _mm512_set1_epi32(q[i * blocks].corr);
        UNROLL(8)
        for (int g = 0; g < 8; g++) {
            ask(k + r->k_ahead + 64 + g * 128, 128);
            __m512i k0 = _mm512_loadu_si512(k + 64 + g * 128), k1 = _mm512_loadu_si512(k + 128 + g * 128);
            UNROLL(8)
            for (int i = 0; i < n; i++) {
                __m512i x = four(q[i * blocks].q + 4 * g);
                dot[i][0] = _mm512_dpbusd_epi32(dot[i][0], k0, x);
                dot[i][1] = _mm512_dpbusd_epi32(dot[i][1], k1, x);
            }
        }
        __m512 f0 = widen(KERN_F16, k, 0xffff), f1 = widen(KERN_F16, k + 32, 0xffff);
        UNROLL(8)
        for (int i = 0; i < n; i++) {
            __m512 f = _mm512_set1_ps(q[i * blocks].scale);
            s[i][0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][0]), _mm512_mul_ps(f0, f), s[i][0]);
            s[i][1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[i][1]), _mm512_mul_ps(f1, f), s[i][1]);
        }
    }
    UNROLL(8)
    for (int i = 0; i < n; i++) {
        _mm512_store_ps(r->s + (first + i) * 32, s[i][0]);
        _mm512_store_ps(r->s + (first + i) * 32 + 16, s[i][1]);
    }
}

LANES void score_rows(const struct kern_kv *kv, const struct rows *r, int first, const int n, const unsigned char *k)
{
    switch (kv->type) {
    case KERN_F32: score_float(KERN_F32, r, first, n, k, kv->k_dim, true); break;
    case KERN_F16: score_float(KERN_F16, r, first, n, k, kv->k_dim, true); break;
    case KERN_BF16: score_float(KERN_BF16, r, first, n, k, kv->k_dim, true); break;
    default: score_q8(r, first, n, k, kern_blocks32(kv->k_dim)); break;
    }
}

static void score_8(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *k)
{
    score_rows(kv, r, i, 8, k);
}
static void score_4(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *k)
{
    score_rows(kv, r, i, 4, k);
}
static void score_3(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *k)
{
    score_rows(kv, r, i, 3, k);
}
static void score_2(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *k)
{
    score_rows(kv, r, i, 2, k);
}
static void score_1(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *k)
{
    score_rows(kv, r, i, 1, k);
}

/* The page's K as floats. */
LANES void open_k(enum kern_type type, const struct rows *r, const unsigned char *k, int dim)
{
    for (int d = 0; d < dim; d++, k += 64) {
        ask(k + r->k_ahead, 64);
        _mm512_store_ps(r->tile + d * 32, widen(type, k, 0xffff));
        _mm512_store_ps(r->tile + d * 32 + 16, widen(type, k + 32, 0xffff));
    }
}

static void score_tile(const struct kern_kv *kv, const struct rows *r, int first, int end, const unsigned char *k)
{
    if (kv->type == KERN_F16)
        open_k(KERN_F16, r, k, kv->k_dim);
    else
        open_k(KERN_BF16, r, k, kv->k_dim);
    const unsigned char *tile = (const unsigned char *)r->tile;
    int i = first;
    for (; i + 8 <= end; i += 8)
        score_float(KERN_F32, r, i, 8, tile, kv->k_dim, false);
    for (; i + 4 <= end; i += 4)
        score_float(KERN_F32, r, i, 4, tile, kv->k_dim, false);
    for (; i < end; i++)
        score_float(KERN_F32, r, i, 1, tile, kv->k_dim, false);
}

/* Row i's scores as the softmax sees them: scaled, capped, what it may not see at -inf. */
LANES __m512 mask_scores(const struct kern_attn *op, const struct rows *r, int i)
{
    float *s = r->s + i * 32;
    uint32_t seen = (r->hi[i] == 32 ? 0xffffffffu : (1u << r->hi[i]) - 1) & ~((1u << r->lo[i]) - 1);
    __m512 scale = _mm512_set1_ps(op->scale), none = _mm512_set1_ps(-INFINITY);
    __m512 a = _mm512_mul_ps(_mm512_load_ps(s), scale), b = _mm512_mul_ps(_mm512_load_ps(s + 16), scale);
    if (op->softcap != 0) {
        __m512 cap = _mm512_set1_ps(op->softcap);
        a = _mm512_mul_ps(cap, tanh_lanes(_mm512_div_ps(a, cap)));
        b = _mm512_mul_ps(cap, tanh_lanes(_mm512_div_ps(b, cap)));
    }
    a = _mm512_mask_blend_ps((__mmask16)seen, none, a);
    b = _mm512_mask_blend_ps((__mmask16)(seen >> 16), none, b);
    _mm512_store_ps(s, a);
    _mm512_store_ps(s + 16, b);
    return _mm512_max_ps(a, b);
}

/* Scores of rows i .. i+n (at most 16) into weights; keeps m, l and o in step. A row to which the page gives nothing
 * gets an empty range. */
static void weigh(const struct kern_attn *op, struct rows *r, int i, int n)
{
    __m512 v[16];
    _Alignas(64) float top[16], factor[16];
    for (int k = 0; k < n; k++)
        v[k] = mask_scores(op, r, i + k);
    for (int k = n; k < 16; k++)
        v[k] = _mm512_set1_ps(-INFINITY);
    __m512 old = _mm512_loadu_ps(r->m + i), m = _mm512_max_ps(fold_lanes(v, true), old);
    __m512 f = exp_lanes(_mm512_sub_ps(old, m));
    _mm512_store_ps(top, m);
    _mm512_store_ps(factor, f);
    for (int k = 0; k < n; k++) {
        float *s = r->s + (i + k) * 32;
        __m512 a = exp_lanes(_mm512_sub_ps(_mm512_load_ps(s), _mm512_set1_ps(top[k])));
        __m512 b = exp_lanes(_mm512_sub_ps(_mm512_load_ps(s + 16), _mm512_set1_ps(top[k])));
        _mm512_store_ps(s, a);
        _mm512_store_ps(s + 16, b);
        v[k] = _mm512_add_ps(a, b);
    }
    __mmask16 some = _mm512_cmp_ps_mask(m, _mm512_set1_ps(-INFINITY), _CMP_NEQ_UQ) & tail_mask(n);
    __m512 l = _mm512_fmadd_ps(_mm512_loadu_ps(r->l + i), f, fold_lanes(v, false));
    _mm512_mask_storeu_ps(r->l + i, some, l);
    _mm512_mask_storeu_ps(r->m + i, some, m);
    for (int k = 0; k < n; k++) {
        if (!(some >> k & 1)) {
            r->hi[i + k] = r->lo[i + k];
        } else if (factor[k] != 1) {
            float *o = r->o + (i + k) * r->v_pad;
            for (int d = 0; d < r->v_pad; d += 16)
                _mm512_store_ps(o + d, _mm512_mul_ps(_mm512_load_ps(o + d), _mm512_set1_ps(factor[k])));
        }
    }
}

/* Rows first .. first+n, dimensions d .. d + 16 * wide, tokens lo .. hi. */
LANES void value_block(const struct kern_kv *kv, enum kern_type type, const struct rows *r, int first, const int n,
                       const unsigned char *v, int d, const int wide)
{
    __m512 o[VALUE_ROWS][4];
    int blocks = kern_blocks32(kv->v_dim);
    size_t size = type == KERN_F32 ? 4 : 2;
    const __mmask16 mask = wide == 4 ? 0xffff : tail_mask(kv->v_dim - d);
    UNROLL(6)
    for (int i = 0; i < n; i++)
        UNROLL(4)
        for (int j = 0; j < wide; j++)
            o[i][j] = _mm512_load_ps(r->o + (first + i) * r->v_pad + d + 16 * j);
    for (int t = r->lo[first]; t < r->hi[first]; t++) {
        __m512 x[4], f[4];
        if (wide == 4)
            ask(v + r->v_ahead + (type == KERN_Q8_0 ? (size_t)(blocks * (64 + t * 32) + d)
                                                    : ((size_t)t * (size_t)kv->v_dim + (size_t)d) * size),
                64 * (type == KERN_Q8_0 ? 1 : size));
        UNROLL(4)
        for (int j = 0; j < wide; j++) {
            if (type == KERN_Q8_0) {
                const unsigned char *code = v + blocks * 64 + t * blocks * 32 + d + 16 * j;
                x[j] = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)code)));
                f[j] = _mm512_set1_ps(_cvtsh_ss(kern_load16(v + (t * blocks + (d + 16 * j) / 32) * 2)));
            } else {
                x[j] = widen(type, v + ((size_t)t * (size_t)kv->v_dim + (size_t)(d + 16 * j)) * size, mask);
            }
        }
        UNROLL(6)
        for (int i = 0; i < n; i++) {
            __m512 p = _mm512_set1_ps(r->s[(first + i) * 32 + t]);
            UNROLL(4)
            for (int j = 0; j < wide; j++)
                o[i][j] = _mm512_fmadd_ps(type == KERN_Q8_0 ? _mm512_mul_ps(p, f[j]) : p, x[j], o[i][j]);
        }
    }
    UNROLL(6)
    for (int i = 0; i < n; i++)
        UNROLL(4)
        for (int j = 0; j < wide; j++)
            _mm512_store_ps(r->o + (first + i) * r->v_pad + d + 16 * j, o[i][j]);
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
    for (; d + 64 <= kv->v_dim; d += 64)
        value_wide(kv, r, first, n, v, d, 4);
    for (; d < r->v_pad; d += 16)
        value_wide(kv, r, first, n, v, d, 1);
}

static void value_6(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *v)
{
    value_rows(kv, r, i, 6, v);
}
static void value_4(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *v)
{
    value_rows(kv, r, i, 4, v);
}
static void value_3(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *v)
{
    value_rows(kv, r, i, 3, v);
}
static void value_2(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *v)
{
    value_rows(kv, r, i, 2, v);
}
static void value_1(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *v)
{
    value_rows(kv, r, i, 1, v);
}

/* The page's V as floats, zeros behind the last dimension. Tokens not seen are not looked at. */
LANES void open_v(enum kern_type type, const struct rows *r, const unsigned char *v, int dim, int tokens)
{
    for (int t = 0; t < tokens; t++) {
        const unsigned char *from = v + (size_t)t * (size_t)dim * 2;
        for (int d = 0; d < r->v_pad; d += 16) {
            if (d % 32 == 0)
                ask(from + r->v_ahead + 2 * d, 64);
            _mm512_store_ps(r->tile + t * r->v_pad + d, widen(type, from + 2 * d, tail_mask(dim - d)));
        }
    }
}

/* Rows first .. first+n, which see tokens lo .. hi. */
LANES void add_tile(const struct rows *r, int first, const int n, const int wide, int d, int lo, int hi)
{
    __m512 o[VALUE_ROWS][4];
    UNROLL(6)
    for (int i = 0; i < n; i++)
        UNROLL(4)
        for (int j = 0; j < wide; j++)
            o[i][j] = _mm512_load_ps(r->o + (first + i) * r->v_pad + d + 16 * j);
    const float *x = r->tile + lo * r->v_pad + d, *p = r->s + first * 32;
    for (int t = lo; t < hi; t++, x += r->v_pad) {
        UNROLL(6)
        for (int i = 0; i < n; i++) {
            __m512 weight = _mm512_set1_ps(p[i * 32 + t]);
            UNROLL(4)
            for (int j = 0; j < wide; j++)
                o[i][j] = _mm512_fmadd_ps(weight, _mm512_load_ps(x + 16 * j), o[i][j]);
        }
    }
    UNROLL(6)
    for (int i = 0; i < n; i++)
        UNROLL(4)
        for (int j = 0; j < wide; j++)
            _mm512_store_ps(r->o + (first + i) * r->v_pad + d + 16 * j, o[i][j]);
}

LANES void add_rows(const struct rows *r, int first, const int n)
{
    int d = 0, lo = r->lo[first], hi = r->hi[first];
    for (; d + 64 <= r->v_pad; d += 64)
        add_tile(r, first, n, 4, d, lo, hi);
    for (; d < r->v_pad; d += 16)
        add_tile(r, first, n, 1, d, lo, hi);
}

static void add_6(const struct rows *r, int i) { add_rows(r, i, 6); }
static void add_4(const struct rows *r, int i) { add_rows(r, i, 4); }
static void add_3(const struct rows *r, int i) { add_rows(r, i, 3); }
static void add_2(const struct rows *r, int i) { add_rows(r, i, 2); }
static void add_1(const struct rows *r, int i) { add_rows(r, i, 1); }

/* Neighbours who see the same tokens of the page, from i on: how many. */
static int alike(const struct rows *r, int i, int end, int most)
{
    int n = 1;
    while (n < most && i + n < end && r->lo[i + n] == r->lo[i] && r->hi[i + n] == r->hi[i])
        n++;
    return n;
}

static void value_tile(const struct kern_kv *kv, const struct rows *r, int first, int end, const unsigned char *v)
{
    static void (*const add[VALUE_ROWS + 1])(const struct rows *r, int i) = { NULL, add_1, add_2, add_3, add_4, add_4,
                                                                              add_6 };
    static const int take[VALUE_ROWS + 3] = { 0, 1, 2, 3, 4, 4, 6, 4, 4 }; /* of so many */
    int tokens = 0;
    for (int i = first; i < end; i++)
        tokens = r->hi[i] > tokens ? r->hi[i] : tokens;
    if (kv->type == KERN_F16)
        open_v(KERN_F16, r, v, kv->v_dim, tokens);
    else
        open_v(KERN_BF16, r, v, kv->v_dim, tokens);
    for (int i = first, n; i < end; i += n) {
        n = alike(r, i, end, VALUE_ROWS + 3);
        n = n > VALUE_ROWS + 2 ? VALUE_ROWS : take[n];
        add[n](r, i);
    }
}

typedef void part_fn(const struct kern_kv *kv, const struct rows *r, int i, const unsigned char *at);
static part_fn *const scores[SCORE_ROWS + 1] = { NULL, score_1, score_2, score_3, score_4, score_4, score_4, score_4,
                                                 score_8 };
static part_fn *const values[VALUE_ROWS + 1] = { NULL, value_1, value_2, value_3, value_4, value_4, value_6 };
static const int scored[SCORE_ROWS + 1] = { 0, 1, 2, 3, 4, 4, 4, 4, 8 };
static const int valued[VALUE_ROWS + 1] = { 0, 1, 2, 3, 4, 4, 6 };

/* Rows first .. end see at least one key of this page. */
static void page_step(const struct kern_attn *op, struct rows *r, int first, int end, const unsigned char *k,
                      const unsigned char *v)
{
    const struct kern_kv *kv = op->kv;
    bool many = end - first > SCORE_ROWS && (kv->type == KERN_F16 || kv->type == KERN_BF16);
    if (many)
        score_tile(kv, r, first, end, k);
    for (int i = first, n; i < end && !many; i += scored[n]) {
        n = end - i < SCORE_ROWS ? end - i : SCORE_ROWS;
        scores[n](kv, r, i, k);
    }
    for (int i = first; i < end; i += 16)
        weigh(op, r, i, end - i < 16 ? end - i : 16);
    if (many)
        value_tile(kv, r, first, end, v);
    for (int i = first, n; i < end && !many; i += valued[n]) {
        n = alike(r, i, end, VALUE_ROWS);
        values[n](kv, r, i, v);
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
        for (int d = 0; d < dim; d += 16) {
            __m512 v = _mm512_mul_ps(_mm512_load_ps(r->o + i * r->v_pad + d), _mm512_set1_ps(inv));
            _mm512_mask_storeu_ps(out + d, tail_mask(dim - d), r->l[i] == 0 ? _mm512_setzero_ps() : v);
        }
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
    r.tile = r.o + ROWS * r.v_pad;
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
            r.k_ahead = r.v_ahead = (page + 1) * KERN_PAGE_TOKENS < end_pos ? op->pages[page + 1] - at : 0;
            page_step(op, &r, first, end, at + kv->k_offset + (size_t)kv_head * kern_k_head_bytes(kv),
                      at + kv->v_offset + (size_t)kv_head * kern_v_head_bytes(kv));
        }
        rows_end(op, &r, kv_head, i);
    }
}

void kern_fill_attn_avx512(struct kern_table *t)
{
    t->attn = attn;
}
