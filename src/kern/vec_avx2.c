/* vec_avx2 -- vec_ref in 8 lanes; the last, partial vector is masked. Sums over 16 lanes take two vectors. */
#include "kern/lanes_avx2.h"
#include "kern/rungs.h"

LANES __m256 get(__m256i m, const float *p) { return _mm256_maskload_ps(p, m); }
LANES void put(__m256i m, float *p, __m256 v) { _mm256_maskstore_ps(p, m, v); }
LANES __m256d low(__m256 v) { return _mm256_cvtps_pd(_mm256_castps256_ps128(v)); }
LANES __m256d high(__m256 v) { return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1)); }

/* Sixteen doubles, four in a vector. */
LANES double sum_doubles(const __m256d *v)
{
    __m256d a = _mm256_add_pd(_mm256_add_pd(v[0], v[2]), _mm256_add_pd(v[1], v[3]));
    __m128d b = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_add_sd(b, _mm_unpackhi_pd(b, b)));
}

static double sum_squares(const float *x, int n, float less)
{
    __m256d s[4] = { _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd() };
    for (int i = 0; i < n; i += 16) {
        for (int h = 0; h < 2; h++) {
            __m256i m = tail_mask(n - i - 8 * h);
            __m256 v = _mm256_sub_ps(get(m, x + i + 8 * h), _mm256_set1_ps(less));
            v = _mm256_and_ps(v, _mm256_castsi256_ps(m));
            /* squares of floats are exact in double: fused or not is one */
            s[2 * h] = _mm256_fmadd_pd(low(v), low(v), s[2 * h]);
            s[2 * h + 1] = _mm256_fmadd_pd(high(v), high(v), s[2 * h + 1]);
        }
    }
    return sum_doubles(s);
}

static double sum_plain(const float *x, int n)
{
    __m256d s[4] = { _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd() };
    for (int i = 0; i < n; i += 16) {
        for (int h = 0; h < 2; h++) {
            __m256 v = get(tail_mask(n - i - 8 * h), x + i + 8 * h);
            s[2 * h] = _mm256_add_pd(s[2 * h], low(v));
            s[2 * h + 1] = _mm256_add_pd(s[2 * h + 1], high(v));
        }
    }
    return sum_doubles(s);
}

static void rms_norm(float *y, const float *x, const float *weight, int n, float eps)
{
    float inv = (float)(1.0 / sqrt(sum_squares(x, n, 0) / n + (double)eps));
    for (int i = 0; i < n; i += 8) {
        __m256i m = tail_mask(n - i);
        __m256 v = _mm256_mul_ps(get(m, x + i), _mm256_set1_ps(inv));
        put(m, y + i, weight ? _mm256_mul_ps(v, get(m, weight + i)) : v);
    }
}

static void layer_norm(float *y, const float *x, const float *weight, const float *bias, int n, float eps)
{
    float mean = (float)(sum_plain(x, n) / n);
    float inv = (float)(1.0 / sqrt(sum_squares(x, n, mean) / n + (double)eps));
    for (int i = 0; i < n; i += 8) {
        __m256i m = tail_mask(n - i);
        __m256 v = _mm256_mul_ps(_mm256_sub_ps(get(m, x + i), _mm256_set1_ps(mean)), _mm256_set1_ps(inv));
        v = weight ? _mm256_mul_ps(v, get(m, weight + i)) : v;
        put(m, y + i, bias ? _mm256_add_ps(v, get(m, bias + i)) : v);
    }
}

static void l2_norm(float *y, const float *x, int n, float eps)
{
    double root = sqrt(sum_squares(x, n, 0));
    float inv = (float)(1.0 / (root > (double)eps ? root : (double)eps));
    for (int i = 0; i < n; i += 8) {
        __m256i m = tail_mask(n - i);
        put(m, y + i, _mm256_mul_ps(get(m, x + i), _mm256_set1_ps(inv)));
    }
}

static void rope_pairs(float *x, int n_rot, const float *cos_sin)
{
    for (int i = 0; i < n_rot; i += 8) {
        __m256i m = tail_mask(n_rot - i);
        __m256 v = get(m, x + i), cs = get(m, cos_sin + i), sc = _mm256_permute_ps(cs, 0xb1);
        __m256 b = _mm256_mul_ps(_mm256_movehdup_ps(v), sc);
        put(m, x + i, _mm256_fmaddsub_ps(_mm256_moveldup_ps(v), cs, b));
    }
}

static void rope_halves(float *x, int n_rot, const float *cos_sin)
{
    const __m256i order = _mm256_setr_epi32(0, 1, 4, 5, 2, 3, 6, 7);
    int half = n_rot / 2;
    for (int i = 0; i < half; i += 8) {
        int left = half - i;
        __m256i m = tail_mask(left);
        __m256 cs0 = get(tail_mask(2 * left), cos_sin + 2 * i);
        __m256 cs1 = left > 4 ? get(tail_mask(2 * left - 8), cos_sin + 2 * i + 8) : cs0;
        __m256 c = _mm256_shuffle_ps(cs0, cs1, 0x88), s = _mm256_shuffle_ps(cs0, cs1, 0xdd);
        c = _mm256_permutevar8x32_ps(c, order);
        s = _mm256_permutevar8x32_ps(s, order);
        __m256 a = get(m, x + i), b = get(m, x + half + i);
        put(m, x + i, _mm256_fmsub_ps(a, c, _mm256_mul_ps(b, s)));
        put(m, x + half + i, _mm256_fmadd_ps(a, s, _mm256_mul_ps(b, c)));
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
    for (int i = 0; i < n; i += 8) {
        __m256i m = tail_mask(n - i);
        put(m, y + i, _mm256_add_ps(get(m, y + i), get(m, x + i)));
    }
}

static void scale(float *y, float s, int n)
{
    for (int i = 0; i < n; i += 8) {
        __m256i m = tail_mask(n - i);
        put(m, y + i, _mm256_mul_ps(get(m, y + i), _mm256_set1_ps(s)));
    }
}

static void add_scaled(float *y, const float *x, float s, int n)
{
    for (int i = 0; i < n; i += 8) {
        __m256i m = tail_mask(n - i);
        put(m, y + i, _mm256_fmadd_ps(_mm256_set1_ps(s), get(m, x + i), get(m, y + i)));
    }
}

static void softcap(float *y, float cap, int n)
{
    __m256 c = _mm256_set1_ps(cap);
    for (int i = 0; i < n; i += 8) {
        __m256i m = tail_mask(n - i);
        put(m, y + i, _mm256_mul_ps(c, tanh_lanes(_mm256_div_ps(get(m, y + i), c))));
    }
}

/* The greatest of 16 interleaved lanes: NaN wherever the law has one. */
static float top_of(const float *y, int n)
{
    __m256 top[2] = { _mm256_set1_ps(-INFINITY), _mm256_set1_ps(-INFINITY) };
    for (int i = 0; i < n; i += 8) {
        __m256i m = tail_mask(n - i);
        __m256 *t = &top[i / 8 % 2];
        *t = _mm256_blendv_ps(*t, _mm256_max_ps(get(m, y + i), *t), _mm256_castsi256_ps(m));
    }
    return max_lanes(top[0], top[1]);
}

static void softmax(float *y, int n)
{
    __m256 most = _mm256_set1_ps(top_of(y, n)), sum[2] = { _mm256_setzero_ps(), _mm256_setzero_ps() };
    for (int i = 0; i < n; i += 8) {
        __m256i m = tail_mask(n - i);
        __m256 e = exp_lanes(_mm256_sub_ps(get(m, y + i), most));
        __m256 *s = &sum[i / 8 % 2];
        *s = _mm256_add_ps(*s, _mm256_and_ps(e, _mm256_castsi256_ps(m)));
        put(m, y + i, e);
    }
    scale(y, 1.0f / sum_lanes(sum[0], sum[1]), n);
}

static void silu_mul(float *y, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i += 8) {
        __m256i m = tail_mask(n - i);
        put(m, y + i, _mm256_mul_ps(silu_lanes(get(m, gate + i)), get(m, up + i)));
    }
}

static void gelu_mul(float *y, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i += 8) {
        __m256i m = tail_mask(n - i);
        put(m, y + i, _mm256_mul_ps(gelu_lanes(get(m, gate + i)), get(m, up + i)));
    }
}

static void gelu(float *y, int n)
{
    for (int i = 0; i < n; i += 8) {
        __m256i m = tail_mask(n - i);
        put(m, y + i, gelu_lanes(get(m, y + i)));
    }
}

static void swiglu_oai(float *y, const float *gate, const float *up, int n, float alpha, float limit)
{
    __m256 top = _mm256_set1_ps(limit), bottom = _mm256_set1_ps(-limit), less = _mm256_set1_ps(-alpha);
    for (int i = 0; i < n; i += 8) {
        __m256i m = tail_mask(n - i);
        __m256 g = _mm256_min_ps(top, get(m, gate + i));
        __m256 u = _mm256_max_ps(bottom, _mm256_min_ps(top, get(m, up + i)));
        __m256 s = over_exp_lanes(g, _mm256_mul_ps(less, g));
        put(m, y + i, _mm256_mul_ps(s, _mm256_add_ps(u, _mm256_set1_ps(1.0f))));
    }
}

static int argmax(const float *x, int n)
{
    __m256 top = _mm256_set1_ps(top_of(x, n));
    for (int i = 0; i < n; i += 8) {
        __m256i m = tail_mask(n - i);
        __m256 at = _mm256_and_ps(_mm256_cmp_ps(get(m, x + i), top, _CMP_EQ_OQ), _mm256_castsi256_ps(m));
        int bits = _mm256_movemask_ps(at);
        if (bits)
            return i + __builtin_ctz((unsigned)bits);
    }
    return 0;
}

void kern_fill_vec_avx2(struct kern_table *t)
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
