/* vec_avx512 -- vec_ref in 16 lanes; the last, partial vector is masked. */
#include "kern/lanes_avx512.h"
#include "kern/rungs.h"

LANES __m512 get(__mmask16 m, const float *p) { return _mm512_maskz_loadu_ps(m, p); }
LANES void put(__mmask16 m, float *p, __m512 v) { _mm512_mask_storeu_ps(p, m, v); }
LANES __m512d low(__m512 v) { return _mm512_cvtps_pd(_mm512_castps512_ps256(v)); }
LANES __m512d high(__m512 v) { return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1)); }

static double sum_squares(const float *x, int n, float less)
{
    __m512d lo = _mm512_setzero_pd(), hi = lo;
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        __m512 v = _mm512_maskz_sub_ps(m, get(m, x + i), _mm512_set1_ps(less));
        lo = _mm512_fmadd_pd(low(v), low(v), lo); /* squares of floats are exact in double: fused or not is one */
        hi = _mm512_fmadd_pd(high(v), high(v), hi);
    }
    return sum_doubles(lo, hi);
}

static void rms_norm(float *y, const float *x, const float *weight, int n, float eps)
{
    float inv = (float)(1.0 / sqrt(sum_squares(x, n, 0) / n + (double)eps));
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        __m512 v = _mm512_mul_ps(get(m, x + i), _mm512_set1_ps(inv));
        put(m, y + i, weight ? _mm512_mul_ps(v, get(m, weight + i)) : v);
    }
}

static void layer_norm(float *y, const float *x, const float *weight, const float *bias, int n, float eps)
{
    __m512d lo = _mm512_setzero_pd(), hi = lo;
    for (int i = 0; i < n; i += 16) {
        __m512 v = get(tail_mask(n - i), x + i);
        lo = _mm512_add_pd(lo, low(v));
        hi = _mm512_add_pd(hi, high(v));
    }
    float mean = (float)(sum_doubles(lo, hi) / n);
    float inv = (float)(1.0 / sqrt(sum_squares(x, n, mean) / n + (double)eps));
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        __m512 v = _mm512_mul_ps(_mm512_sub_ps(get(m, x + i), _mm512_set1_ps(mean)), _mm512_set1_ps(inv));
        v = weight ? _mm512_mul_ps(v, get(m, weight + i)) : v;
        put(m, y + i, bias ? _mm512_add_ps(v, get(m, bias + i)) : v);
    }
}

static void l2_norm(float *y, const float *x, int n, float eps)
{
    double root = sqrt(sum_squares(x, n, 0));
    float inv = (float)(1.0 / (root > (double)eps ? root : (double)eps));
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        put(m, y + i, _mm512_mul_ps(get(m, x + i), _mm512_set1_ps(inv)));
    }
}

static void rope_pairs(float *x, int n_rot, const float *cos_sin)
{
    for (int i = 0; i < n_rot; i += 16) {
        __mmask16 m = tail_mask(n_rot - i);
        __m512 v = get(m, x + i), cs = get(m, cos_sin + i), sc = _mm512_permute_ps(cs, 0xb1);
        __m512 b = _mm512_mul_ps(_mm512_movehdup_ps(v), sc);
        put(m, x + i, _mm512_fmaddsub_ps(_mm512_moveldup_ps(v), cs, b));
    }
}

static void rope_halves(float *x, int n_rot, const float *cos_sin)
{
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    int half = n_rot / 2;
    for (int i = 0; i < half; i += 16) {
        int left = half - i;
        __mmask16 m = tail_mask(left);
        __m512 cs0 = get(tail_mask(2 * left), cos_sin + 2 * i);
        __m512 cs1 = left > 8 ? get(tail_mask(2 * left - 16), cos_sin + 2 * i + 16) : cs0;
        __m512 c = _mm512_permutex2var_ps(cs0, even, cs1), s = _mm512_permutex2var_ps(cs0, odd, cs1);
        __m512 a = get(m, x + i), b = get(m, x + half + i);
        put(m, x + i, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
        put(m, x + half + i, _mm512_fmadd_ps(a, s, _mm512_mul_ps(b, c)));
    }
}

static void rope(float *x, int heads, int head_dim, int n_rot, const float *cos_sin, enum kern_rope_style style)
{
    for (int h = 0; h < heads; h++, x += head_dim) {
        if (style == KERN_ROPE_INTERLEAVED)
            rope_pairs(x, n_rot / 2 * 2, cos_sin);
        else
            rope_halves(x, n_rot, cos_sin);
    }
}

static void add(float *y, const float *x, int n)
{
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        put(m, y + i, _mm512_add_ps(get(m, y + i), get(m, x + i)));
    }
}

static void scale(float *y, float s, int n)
{
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        put(m, y + i, _mm512_mul_ps(get(m, y + i), _mm512_set1_ps(s)));
    }
}

static void add_scaled(float *y, const float *x, float s, int n)
{
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        put(m, y + i, _mm512_fmadd_ps(_mm512_set1_ps(s), get(m, x + i), get(m, y + i)));
    }
}

static void softcap(float *y, float cap, int n)
{
    __m512 c = _mm512_set1_ps(cap);
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        put(m, y + i, _mm512_mul_ps(c, tanh_lanes(_mm512_div_ps(get(m, y + i), c))));
    }
}

static void softmax(float *y, int n)
{
    __m512 top = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        top = _mm512_mask_max_ps(top, m, get(m, y + i), top);
    }
    __m512 most = _mm512_set1_ps(max_lanes(top));
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        __m512 e = exp_lanes(_mm512_sub_ps(get(m, y + i), most));
        sum = _mm512_mask_add_ps(sum, m, sum, e);
        put(m, y + i, e);
    }
    scale(y, 1.0f / sum_lanes(sum), n);
}

static void silu_mul(float *y, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        put(m, y + i, _mm512_mul_ps(silu_lanes(get(m, gate + i)), get(m, up + i)));
    }
}

static void gelu_mul(float *y, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        put(m, y + i, _mm512_mul_ps(gelu_lanes(get(m, gate + i)), get(m, up + i)));
    }
}

static void gelu(float *y, int n)
{
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        put(m, y + i, gelu_lanes(get(m, y + i)));
    }
}

static void swiglu_oai(float *y, const float *gate, const float *up, int n, float alpha, float limit)
{
    __m512 top = _mm512_set1_ps(limit), bottom = _mm512_set1_ps(-limit), less = _mm512_set1_ps(-alpha);
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        __m512 g = _mm512_min_ps(top, get(m, gate + i));
        __m512 u = _mm512_max_ps(bottom, _mm512_min_ps(top, get(m, up + i)));
        __m512 s = over_exp_lanes(g, _mm512_mul_ps(less, g));
        put(m, y + i, _mm512_mul_ps(s, _mm512_add_ps(u, _mm512_set1_ps(1.0f))));
    }
}

static int argmax(const float *x, int n)
{
    __m512 top = _mm512_set1_ps(-INFINITY);
    for (int i = 0; i < n; i += 16) {
        __mmask16 m = tail_mask(n - i);
        top = _mm512_mask_max_ps(top, m, get(m, x + i), top);
    }
    top = _mm512_set1_ps(max_lanes(top));
    for (int i = 0; i < n; i += 16) {
        __mmask16 at = _mm512_mask_cmp_ps_mask(tail_mask(n - i), get(tail_mask(n - i), x + i), top, _CMP_EQ_OQ);
        if (at)
            return i + __builtin_ctz(at);
    }
    return 0;
}

void kern_fill_vec_avx512(struct kern_table *t)
{
    t->rms_norm = rms_norm;
    t->layer_norm = layer_norm;
    t->l2_norm = l2_norm;
    t->rope = rope;
    t->add = add;
    t->scale = scale;
    t->add_scaled = add_scaled;
    t->softcap = softcap;
    t->softmax = softmax;
    t->silu_mul = silu_mul;
    t->gelu_mul = gelu_mul;
    t->gelu = gelu;
    t->swiglu_oai = swiglu_oai;
    t->argmax = argmax;
}
