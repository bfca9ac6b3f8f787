/* matmul_avx512 -- int8 activations against 16-row panels: VNNI, one accumulator vector for each row of x.
 *
 * A unit of a panel is opened into L1 once and multiplied by every row of the row-block; two panels side by side, so
 * that activations brought up from L2 are used twice. Row-blocks are bounded so that their activations stay in L2. */
#include "base/assert.h"
#include "kern/rungs.h"
#include "kern/strip.h"
#include "kern/tile.h"
#include "kern/unroll.h"

#include <immintrin.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))

enum {
    GROUP = 6,               /* rows of x in registers, times two panels: 12 dot products, 12 sums */
    BLOCK_ROWS = 40 * GROUP, /* rows of x in a row-block, at most */
    BLOCK_BYTES = 1 << 20,   /* of activations in a row-block: half of L2 */
    SIDE = 2,                /* panels side by side: a broadcast of x serves both */
    CHUNK = 2,               /* units opened at once: with the activations they fill half of L1 */
    ROWS_FEW = 48,           /* up to so many, reading the weights is a good part of the time */
    STREAMS = 4,             /* panels read at a time by few rows that fill L1: one is better for memory */
    X_BYTES = 24 << 10,      /* of x that need no sharing: half of L1 */
    AHEAD_ONE = 88 * 64,     /* from what a lone stream reads to what is asked for */
    AHEAD_EACH = 44 * 64,    /* the same for each of several */
};

struct arg {
    const struct kern_tile *t[SIDE];
    int blocks;
    size_t at;                       /* block of x where the tiles begin */
    const struct kern_act *const *x; /* [rows] */
    float *acc[SIDE];                /* [rows][16] */
    const unsigned char *ahead;      /* will be read soon: asked for meanwhile, */
    int lines;                       /* so many lines of it with each block */
};

INLINE __m512i four(const int8_t *q)
{
    int32_t v;
    memcpy(&v, q, 4);
    return _mm512_set1_epi32(v);
}

/* One sub-block (h-th of block b): dot products of all rows with all panels, scaled and added to sum. */
INLINE void sub_block(const struct arg *a, int b, const int h, const int rows, const int side, const bool sixteen,
                      const bool min, __m512 sum[GROUP][SIDE])
{
    const int subs = sixteen ? 2 : 1, groups = 8 / subs;
    const struct kern_act *x[GROUP];
    __m512i dot[GROUP][SIDE];
    UNROLL(6)
    for (int r = 0; r < rows; r++) {
        x[r] = a->x[r] + a->at + b;
        dot[r][0] = min ? _mm512_setzero_si512() : _mm512_set1_epi32(sixteen ? x[r]->corr16[h] : x[r]->corr);
        dot[r][side - 1] = dot[r][0];
    }
    UNROLL(8)
    for (int g = h * groups; g < (h + 1) * groups; g++) {
        __m512i w0 = _mm512_load_si512(a->t[0]->q[b * 8 + g]), w1 = w0;
        if (side == 2)
            w1 = _mm512_load_si512(a->t[1]->q[b * 8 + g]);
        UNROLL(6)
        for (int r = 0; r < rows; r++) {
            __m512i v = four(x[r]->q + 4 * g);
            dot[r][0] = _mm512_dpbusd_epi32(dot[r][0], w0, v);
            if (side == 2)
                dot[r][1] = _mm512_dpbusd_epi32(dot[r][1], w1, v);
        }
    }
    UNROLL(2)
    for (int p = 0; p < side; p++) {
        __m512 scale = _mm512_load_ps(a->t[p]->scale[b * subs + h]);
        __m512 low = min ? _mm512_load_ps(a->t[p]->min[b * subs + h]) : scale;
        UNROLL(6)
        for (int r = 0; r < rows; r++) {
            sum[r][p] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r][p]),
                                        _mm512_mul_ps(scale, _mm512_set1_ps(x[r]->scale)), sum[r][p]);
            if (min)
                sum[r][p] = _mm512_fnmadd_ps(low, _mm512_set1_ps(sixteen ? x[r]->scale_sum16[h] : x[r]->scale_sum),
                                             sum[r][p]);
        }
    }
}

/* The unit of one of the next rows. A row at a time: a pointer to each of them as well would not fit the registers. */
INLINE void ask_for_row(const struct arg *a, int r)
{
    const struct kern_act *x = a->x[r + GROUP] + a->at;
    UNROLL(8)
    for (int i = 0; i < KERN_UNIT_BLOCKS; i++)
        _mm_prefetch((const char *)(x + i), _MM_HINT_T0);
}

INLINE void product(const struct arg *a, const int rows, const int side, const bool sixteen, const bool min,
                    const bool ask)
{
    __m512 sum[GROUP][SIDE];
    UNROLL(6)
    for (int r = 0; r < rows; r++)
        for (int p = 0; p < side; p++)
            sum[r][p] = _mm512_load_ps(a->acc[p] + 16 * r);
    for (int b = 0; b < a->blocks; b++) {
        for (int i = 0; ask && i < a->lines; i++)
            _mm_prefetch((const char *)a->ahead + (b * a->lines + i) * 64, _MM_HINT_T1);
        if (rows == GROUP && b < GROUP)
            ask_for_row(a, b);
        sub_block(a, b, 0, rows, side, sixteen, min, sum);
        if (sixteen)
            sub_block(a, b, 1, rows, side, sixteen, min, sum);
    }
    UNROLL(6)
    for (int r = 0; r < rows; r++)
        for (int p = 0; p < side; p++)
            _mm512_store_ps(a->acc[p] + 16 * r, sum[r][p]);
}

typedef void product_fn(const struct arg *a);

/* The units that are opened next. They are asked for bit by bit while others are multiplied, so that memory works all
 * the while; into L2, as L1 is full. With many rows a turn's part is small, and asked for before it: a loop within the
 * product would cost more than it brings. */
struct ahead {
    const unsigned char *from; /* of the first panel */
    size_t panel_bytes;
    int lines, each;           /* of every panel: in all, in a turn, a multiple of a unit's blocks */
};

static void ask_ahead(const struct ahead *h, int turn, int side, bool few, struct arg *a)
{
    int first = turn / side * h->each;
    a->ahead = h->from + (size_t)(turn % side) * h->panel_bytes + (size_t)first * 64;
    a->lines = few && first < h->lines ? h->each / KERN_UNIT_BLOCKS : 0;
    for (int i = 0; !few && i < h->each && first + i < h->lines; i++)
        _mm_prefetch((const char *)a->ahead + (size_t)i * 64, _MM_HINT_T1);
}

/* turns: products in a chunk of units. */
static struct ahead ahead_of(const struct kern_matrix *w, int panel, int side, int unit, int turns)
{
    size_t unit_bytes = kern_unit_bytes(kern_layout(w->type), KERN_UNIT_BLOCKS);
    bool last = unit * KERN_UNIT_COLS >= w->cols; /* then the first units of the next panels */
    struct ahead h = { w->data + (size_t)(panel + (last ? side : 0)) * w->panel_bytes +
                       (last ? 0 : (size_t)unit * unit_bytes), w->panel_bytes, (int)(CHUNK * unit_bytes / 64), 0 };
    h.each = (h.lines * side + turns - 1) / turns;
    h.each = (h.each + KERN_UNIT_BLOCKS - 1) / KERN_UNIT_BLOCKS * KERN_UNIT_BLOCKS;
    return h;
}

#define PRODUCT(name, rows, side, sixteen, min) \
    static void name##_##rows##_##side(const struct arg *a) \
    { \
        product(a, rows, side, sixteen, min, false); \
    } \
    static void name##_##rows##_##side##_ask(const struct arg *a) \
    { \
        product(a, rows, side, sixteen, min, true); \
    }
#define PRODUCTS(rows, side) \
    PRODUCT(p32, rows, side, false, false) PRODUCT(p32_min, rows, side, false, true) \
    PRODUCT(p16, rows, side, true, false) PRODUCT(p16_min, rows, side, true, true)
PRODUCTS(6, 1) PRODUCTS(4, 1) PRODUCTS(3, 1) PRODUCTS(2, 1) PRODUCTS(1, 1)
PRODUCTS(6, 2) PRODUCTS(4, 2) PRODUCTS(3, 2) PRODUCTS(2, 2) PRODUCTS(1, 2)

#define KIND(r, s, k) { k##_##r##_##s, k##_##r##_##s##_ask }
#define ROW(r, s) { KIND(r, s, p32), KIND(r, s, p32_min), KIND(r, s, p16), KIND(r, s, p16_min) }
static product_fn *const products[GROUP + 1][SIDE][PRODUCT_COUNT][2] = { /* [2]: which asks for what is ahead */
    [6] = { ROW(6, 1), ROW(6, 2) }, [4] = { ROW(4, 1), ROW(4, 2) }, [3] = { ROW(3, 1), ROW(3, 2) },
    [2] = { ROW(2, 1), ROW(2, 2) }, [1] = { ROW(1, 1), ROW(1, 2) },
};

/* How many of the rows left to take at once: no lone row at the end if it can be helped. */
static int rows_next(int left)
{
    static const signed char take[] = { 0, 1, 2, 3, 4, 3, 6, 4, 4, 6, 6 };
    return left > 10 ? 6 : take[left];
}

static void store(const struct kern_matmul *op, int t0, int n, int panel, const float *acc)
{
    int row = panel * KERN_PANEL_ROWS, left = op->w->rows - row;
    __mmask16 mask = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
    __m512 bias = op->bias ? _mm512_maskz_loadu_ps(mask, op->bias + row) : _mm512_setzero_ps();
    for (int t = 0; t < n; t++) {
        __m512 v = _mm512_load_ps(acc + 16 * t);
        if (op->bias)
            v = _mm512_add_ps(v, bias);
        _mm512_mask_storeu_ps(op->y + (size_t)(t0 + t) * op->y_stride + row, mask, v);
    }
}

/* Where rows t .. t+n of y will be stored: each a line of its own, far from the last, that must be there to be written
 * to. Asked for while the last units multiply: stores that missed took a tenth of the time of narrow products. */
static void ask_for_outputs(const struct kern_matmul *op, int t, int n, int panel, int side)
{
    const float *y = op->y + (size_t)t * op->y_stride + (size_t)(panel * KERN_PANEL_ROWS);
    for (int i = 0; i < n; i++, y += op->y_stride) {
        _mm_prefetch((const char *)y, _MM_HINT_T0);
        if (side == 2)
            _mm_prefetch((const char *)(y + KERN_PANEL_ROWS), _MM_HINT_T0);
    }
}

/* Rows t0 .. t0+n of x against `side` panels. */
static void row_block(const struct kern_matmul *op, int t0, int n, int panel, int side)
{
    const struct kern_matrix *w = op->w;
    const struct kern_layout *l = kern_layout(w->type);
    enum kern_product kind = kern_product(l);
    const struct kern_act *x[BLOCK_ROWS + GROUP];
    _Alignas(64) float acc[SIDE][BLOCK_ROWS * 16];
    struct kern_tile tile[CHUNK][SIDE];
    size_t unit_bytes = kern_unit_bytes(l, KERN_UNIT_BLOCKS);
    for (int t = 0; t < n + GROUP; t++) /* behind the last: for the prefetch of the next rows */
        x[t] = kern_x_row(op, t0 + (t < n ? t : 0));
    for (int p = 0; p < side; p++)
        memset(acc[p], 0, (size_t)n * 16 * sizeof(float));
    int units = (w->cols + KERN_UNIT_COLS - 1) / KERN_UNIT_COLS;
    for (int u0 = 0; u0 < units; u0 += CHUNK) {
        int chunk = units - u0 < CHUNK ? units - u0 : CHUNK;
        for (int u = 0; u < chunk; u++)
            for (int p = 0; p < side; p++)
                kern_tile_open_avx512(w->type, w->data + (size_t)(panel + p) * w->panel_bytes +
                                      (size_t)(u0 + u) * unit_bytes, kern_unit_blocks(w->cols, u0 + u), 128,
                                      &tile[u][p]);
        struct ahead ahead = ahead_of(w, panel, side, u0 + chunk, (n + GROUP - 1) / GROUP * chunk);
        for (int t = 0, rows, turn = 0; t < n; t += rows) {
            rows = rows_next(n - t);
            if (u0 + chunk >= units)
                ask_for_outputs(op, t0 + t, rows, panel, side);
            for (int u = 0; u < chunk; u++) {
                struct arg a = { .t = { &tile[u][0], &tile[u][1] }, .blocks = kern_unit_blocks(w->cols, u0 + u),
                                 .at = (size_t)(u0 + u) * KERN_UNIT_BLOCKS, .x = x + t,
                                 .acc = { acc[0] + 16 * t, acc[1] + 16 * t } };
                ask_ahead(&ahead, turn++, side, n <= ROWS_FEW, &a);
                products[rows][side - 1][kind][n <= ROWS_FEW](&a);
            }
            for (int p = 0; p < side && u0 + chunk >= units; p++) /* at once: the stores drain behind the next rows */
                store(op, t0 + t, rows, panel + p, acc[p] + 16 * t);
        }
    }
}

/* Where a stream goes on behind `panel`: `streams` panels further, or with what the caller multiplies next. */
static const unsigned char *stream_next(const struct kern_matmul *op, int panel, int first, int end, int streams)
{
    const struct kern_matrix *w = op->w, *next = op->next;
    int on = op->next_panel + panel - first;
    if (panel + streams < end)
        return w->data + (size_t)(panel + streams) * w->panel_bytes;
    return next && on < next->panels ? next->data + (size_t)on * next->panel_bytes : NULL;
}

/* Few rows of x: up to `streams` panels unit by unit, each a stream of its own from memory. */
static void few_rows(const struct kern_matmul *op, int panel, int end, int streams)
{
    const struct kern_matrix *w = op->w;
    const struct kern_layout *l = kern_layout(w->type);
    const struct kern_act *x[KERN_STRIP_ROWS];
    _Alignas(64) float acc[STREAMS][KERN_STRIP_ROWS * 16];
    kern_strip_fn *fn = kern_strip_avx512(w->type, op->n);
    size_t unit_bytes = kern_unit_bytes(l, KERN_UNIT_BLOCKS);
    struct kern_strip a = { .type = w->type, .x = x, .ahead_step = (int)unit_bytes / KERN_UNIT_BLOCKS };
    int units = (w->cols + KERN_UNIT_COLS - 1) / KERN_UNIT_COLS, side = end - panel < streams ? end - panel : streams;
    for (int t = 0; t < op->n; t++)
        x[t] = kern_x_row(op, t);
    for (int p = 0; p < side; p++)
        memset(acc[p], 0, (size_t)op->n * 16 * sizeof(float));
    for (int u = 0; u < units; u++) {
        a.at = (size_t)u * KERN_UNIT_BLOCKS;
        a.blocks = kern_unit_blocks(w->cols, u);
        for (int p = 0; p < side; p++) {
            const unsigned char *data = w->data + (size_t)(panel + p) * w->panel_bytes;
            const unsigned char *next = stream_next(op, panel + p, panel, end, streams);
            a.unit = data + (size_t)u * unit_bytes;
            a.ahead = a.unit + (streams == 1 ? AHEAD_ONE : AHEAD_EACH);
            a.ahead_end = data + w->panel_bytes;
            a.ahead_jump = next ? next - a.ahead_end : data - a.ahead; /* nothing: what is there already */
            a.acc = acc[p];
            fn(&a);
        }
    }
    for (int p = 0; p < side; p++)
        store(op, 0, op->n, panel + p, acc[p]);
}

void kern_matmul_avx512(const struct kern_matmul *op, int panel_first, int panel_end)
{
    if (kern_type_is_float(op->w->type)) {
        kern_fmul_avx512(op, panel_first, panel_end);
        return;
    }
    if (op->n <= KERN_STRIP_ROWS) {
        int streams = (size_t)op->n * kern_q8_bytes(op->w->cols) <= X_BYTES ? 1 : STREAMS;
        for (int p = panel_first; p < panel_end; p += streams)
            few_rows(op, p, panel_end, streams);
        return;
    }
    int fit = (int)(BLOCK_BYTES / (kern_q8_bytes(op->w->cols) * GROUP)) * GROUP;
    int block = fit < 4 * GROUP ? 4 * GROUP : fit > BLOCK_ROWS ? BLOCK_ROWS : fit;
    int blocks = (op->n + block - 1) / block; /* of like size: units are opened anew for each */
    block = (op->n + blocks * GROUP - 1) / (blocks * GROUP) * GROUP;
    for (int t = 0; t < op->n; t += block) {
        int n = op->n - t < block ? op->n - t : block;
        for (int p = panel_first; p < panel_end; p += SIDE)
            row_block(op, t, n, p, panel_end - p < SIDE ? panel_end - p : SIDE);
    }
}

/* What rounding loses, in squared steps: four lanes to be added. */
INLINE __m128 act_error(__m512 v0, __m512 v1, __m512 inv)
{
    enum { NEAREST = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC };
    __m512 a = _mm512_mul_ps(v0, inv), b = _mm512_mul_ps(v1, inv);
    a = _mm512_sub_ps(a, _mm512_roundscale_ps(a, NEAREST));
    b = _mm512_sub_ps(b, _mm512_roundscale_ps(b, NEAREST));
    a = _mm512_fmadd_ps(b, b, _mm512_mul_ps(a, a));
    __m256 s = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    return _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps(s, 1));
}

/* Sums of four lanes each, as kern_sum16 ends them: is the second, made comparable, less? */
INLINE int act_second(__m128 e0, __m128 e1)
{
    __m128 s = _mm_add_ps(_mm_movelh_ps(e0, e1), _mm_movehl_ps(e1, e0));
    s = _mm_add_ps(s, _mm_movehdup_ps(s));
    return _mm_comilt_ss(_mm_mul_ss(_mm_movehl_ps(s, s), _mm_set_ss(KERN_ACT_COARSE)), s);
}

static void quantize_q8(const float *x, void *out, int cols)
{
    struct kern_act *a = out;
    const __m512i abs = _mm512_set1_epi32(0x7fffffff);
    for (int c = 0; c < cols; c += 32, a++) {
        __m512 v0 = _mm512_loadu_ps(x + c), v1 = _mm512_loadu_ps(x + c + 16);
        __m512i b0 = _mm512_and_si512(_mm512_castps_si512(v0), abs);
        __m512i b1 = _mm512_and_si512(_mm512_castps_si512(v1), abs);
        uint32_t high = _mm512_reduce_max_epu32(_mm512_max_epu32(b0, b1));
        float top;
        memcpy(&top, &high, 4);
        if (high >= 0x7f800000 || top < 1e-30f) {
            kern_act_quantize(x + c, a, 32);
            continue;
        }
        __m128 reach = _mm_setr_ps(kern_act_reach[0], kern_act_reach[1], 1, 1), tops = _mm_set1_ps(top);
        __m128 invs = _mm_div_ps(reach, tops), scales = _mm_div_ps(tops, reach); /* done before the choice */
        __m128 e0 = act_error(v0, v1, _mm512_broadcastss_ps(invs));
        __m128 e1 = act_error(v0, v1, _mm512_broadcastss_ps(_mm_movehdup_ps(invs)));
        __m128i k = _mm_cvtsi32_si128(act_second(e0, e1));
        __m512 inv = _mm512_broadcastss_ps(_mm_permutevar_ps(invs, k));
        __m512i i0 = _mm512_cvtps_epi32(_mm512_mul_ps(v0, inv)), i1 = _mm512_cvtps_epi32(_mm512_mul_ps(v1, inv));
        int32_t s0 = _mm512_reduce_add_epi32(i0), s1 = _mm512_reduce_add_epi32(i1);
        a->scale = _mm_cvtss_f32(_mm_permutevar_ps(scales, k));
        a->scale_sum = a->scale * (float)(s0 + s1);
        a->scale_sum16[0] = a->scale * (float)s0;
        a->scale_sum16[1] = a->scale * (float)s1;
        a->corr = -128 * (s0 + s1);
        a->corr16[0] = -128 * s0;
        a->corr16[1] = -128 * s1;
        a->pad = 0;
        _mm_storeu_si128((__m128i *)a->q, _mm512_cvtepi32_epi8(i0));
        _mm_storeu_si128((__m128i *)(a->q + 16), _mm512_cvtepi32_epi8(i1));
    }
}

void kern_fill_matmul_avx512(struct kern_table *t)
{
    t->quantize_q8 = quantize_q8;
    t->matmul = kern_matmul_avx512;
}
