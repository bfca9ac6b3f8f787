/* vec_ref -- the law for norms, rope, activations and the other operations on one row. */
#include "kern/math.h"
#include "kern/rungs.h"

float kern_expf(float x) { return kern_exp_law(x); }
float kern_tanhf(float x) { return kern_tanh_law(x); }

static void rms_norm(float *y, const float *x, const float *weight, int n, float eps)
{
    double s[16] = { 0 };
    for (int i = 0; i < n; i++)
        s[i % 16] += (double)x[i] * (double)x[i];
    float inv = (float)(1.0 / sqrt(kern_sum16_double(s) / n + (double)eps));
    for (int i = 0; i < n; i++)
        y[i] = weight ? x[i] * inv * weight[i] : x[i] * inv;
}

static void layer_norm(float *y, const float *x, const float *weight, const float *bias, int n, float eps)
{
    double s[16] = { 0 }, q[16] = { 0 };
    for (int i = 0; i < n; i++)
        s[i % 16] += (double)x[i];
    float mean = (float)(kern_sum16_double(s) / n);
    for (int i = 0; i < n; i++) {
        double d = (double)(x[i] - mean);
        q[i % 16] += d * d;
    }
    float inv = (float)(1.0 / sqrt(kern_sum16_double(q) / n + (double)eps));
    for (int i = 0; i < n; i++) {
        float v = (x[i] - mean) * inv;
        v = weight ? v * weight[i] : v;
        y[i] = bias ? v + bias[i] : v;
    }
}

static void l2_norm(float *y, const float *x, int n, float eps)
{
    double s[16] = { 0 };
    for (int i = 0; i < n; i++)
        s[i % 16] += (double)x[i] * (double)x[i];
    double root = sqrt(kern_sum16_double(s));
    float inv = (float)(1.0 / (root > (double)eps ? root : (double)eps));
    for (int i = 0; i < n; i++)
        y[i] = x[i] * inv;
}

static void rope(float *x, int heads, int head_dim, int n_rot, const float *cos_sin, enum kern_rope_style style)
{
    int half = n_rot / 2, step = style == KERN_ROPE_INTERLEAVED ? 2 : 1, apart = step == 2 ? 1 : half;
    for (int h = 0; h < heads; h++, x += head_dim) {
        for (int i = 0; i < half; i++) {
            float *a = x + i * step, *b = a + apart, c = cos_sin[2 * i], s = cos_sin[2 * i + 1], a0 = *a, b0 = *b;
            *a = fmaf(a0, c, -(b0 * s));
            *b = fmaf(a0, s, b0 * c);
        }
    }
}

static void add(float *y, const float *x, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = y[i] + x[i];
}

static void scale(float *y, float s, int n)
{
    for (int i = 0; i < n; i++)
        y[i] *= s;
}

static void add_scaled(float *y, const float *x, float s, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = fmaf(s, x[i], y[i]);
}

static void softcap(float *y, float cap, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = cap * kern_tanh_law(y[i] / cap);
}

static void softmax(float *y, int n)
{
    float top[16], sum[16] = { 0 };
    for (int i = 0; i < 16; i++)
        top[i] = -INFINITY;
    for (int i = 0; i < n; i++)
        top[i % 16] = kern_max(y[i], top[i % 16]);
    float m = kern_max16(top);
    for (int i = 0; i < n; i++) {
        y[i] = kern_exp_law(y[i] - m);
        sum[i % 16] += y[i];
    }
    float inv = 1.0f / kern_sum16(sum);
    for (int i = 0; i < n; i++)
        y[i] *= inv;
}

static void silu_mul(float *y, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = kern_silu_law(gate[i]) * up[i];
}

static void gelu_mul(float *y, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = kern_gelu_law(gate[i]) * up[i];
}

static void gelu(float *y, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = kern_gelu_law(y[i]);
}

static void swiglu_oai(float *y, const float *gate, const float *up, int n, float alpha, float limit)
{
    for (int i = 0; i < n; i++)
        y[i] = kern_swiglu_oai_law(gate[i], up[i], alpha, limit);
}

static int argmax(const float *x, int n)
{
    int best = -1;
    for (int i = 0; i < n; i++)
        if (best < 0 ? x[i] == x[i] : x[i] > x[best])
            best = i;
    return best < 0 ? 0 : best; /* a row of NaN */
}

void kern_fill_vec_ref(struct kern_table *t)
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
