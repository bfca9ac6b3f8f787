/* vec_neon -- what works on one row, in 4 lanes; what is left at the end goes the scalar way. */
#include "kern/lanes_neon.h"
#include "kern/rungs.h"

static double sum_squares(const float *x, int n)
{
    float64x2_t s[8];
    double lane[16];
    int i = 0;
    for (int k = 0; k < 8; k++)
        s[k] = vdupq_n_f64(0);
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 8; k++) {
            float64x2_t v = vcvt_f64_f32(vld1_f32(x + i + 2 * k));
            s[k] = vaddq_f64(s[k], vmulq_f64(v, v));
        }
    for (int k = 0; k < 8; k++)
        vst1q_f64(lane + 2 * k, s[k]);
    for (; i < n; i++)
        lane[i % 16] += (double)x[i] * (double)x[i];
    return kern_sum16_double(lane);
}

static void rms_norm(float *y, const float *x, const float *weight, int n, float eps)
{
    float inv = (float)(1.0 / sqrt(sum_squares(x, n) / n + (double)eps));
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t v = vmulq_n_f32(vld1q_f32(x + i), inv);
        vst1q_f32(y + i, weight ? vmulq_f32(v, vld1q_f32(weight + i)) : v);
    }
    for (; i < n; i++)
        y[i] = weight ? x[i] * inv * weight[i] : x[i] * inv;
}

static void add(float *y, const float *x, int n)
{
    int i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(y + i, vaddq_f32(vld1q_f32(y + i), vld1q_f32(x + i)));
    for (; i < n; i++)
        y[i] = y[i] + x[i];
}

static void scale(float *y, float s, int n)
{
    int i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(y + i, vmulq_n_f32(vld1q_f32(y + i), s));
    for (; i < n; i++)
        y[i] *= s;
}

static void add_scaled(float *y, const float *x, float s, int n)
{
    int i = 0;
    for (; i + 4 <= n; i += 4)
        vst1q_f32(y + i, vfmaq_n_f32(vld1q_f32(y + i), vld1q_f32(x + i), s));
    for (; i < n; i++)
        y[i] = fmaf(s, x[i], y[i]);
}

static void silu_mul(float *y, const float *gate, const float *up, int n)
{
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t g = vld1q_f32(gate + i);
        vst1q_f32(y + i, vmulq_f32(over_exp_neon(g, vnegq_f32(g)), vld1q_f32(up + i)));
    }
    for (; i < n; i++)
        y[i] = kern_silu_law(gate[i]) * up[i];
}

static void gelu_mul(float *y, const float *gate, const float *up, int n)
{
    int i = 0;
    for (; i + 4 <= n; i += 4) {
        float32x4_t g = vld1q_f32(gate + i), b = vmulq_f32(vmulq_n_f32(g, KERN_GELU_B), g);
        float32x4_t u = vmulq_n_f32(vfmaq_f32(g, b, g), -2.0f * KERN_GELU_A);
        vst1q_f32(y + i, vmulq_f32(over_exp_neon(g, u), vld1q_f32(up + i)));
    }
    for (; i < n; i++)
        y[i] = kern_gelu_law(gate[i]) * up[i];
}

static void softmax(float *y, int n)
{
    float top[16], sum[16] = { 0 };
    int i = 0;
    for (int k = 0; k < 16; k++)
        top[k] = -INFINITY;
    for (; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; k += 4)
            vst1q_f32(top + k, max_neon(vld1q_f32(y + i + k), vld1q_f32(top + k)));
    for (; i < n; i++)
        top[i % 16] = kern_max(y[i], top[i % 16]);
    float m = kern_max16(top);
    for (i = 0; i + 16 <= n; i += 16)
        for (int k = 0; k < 16; k += 4) {
            float32x4_t e = exp_neon(vsubq_f32(vld1q_f32(y + i + k), vdupq_n_f32(m)));
            vst1q_f32(y + i + k, e);
            vst1q_f32(sum + k, vaddq_f32(vld1q_f32(sum + k), e));
        }
    for (; i < n; i++) {
        y[i] = kern_exp_law(y[i] - m);
        sum[i % 16] += y[i];
    }
    scale(y, 1.0f / kern_sum16(sum), n);
}

void kern_fill_vec_neon(struct kern_table *t)
{
    t->rms_norm = rms_norm;
    t->add = add;
    t->scale = scale;
    t->add_scaled = add_scaled;
    t->softmax = softmax;
    t->silu_mul = silu_mul;
    t->gelu_mul = gelu_mul;
}
