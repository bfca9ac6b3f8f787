/* matmul_amx -- int8 activations against 16-row panels: a tile of 16 rows of x by 16 outputs at a time.
 *
 * A tile instruction makes all 256 dot products of a block of 32 columns (16 in formats with such sub-blocks), exact
 * integers; they go through L1 to be scaled and added to the float sums of 16 registers, in the law's order. The sums
 * take longer than the tiles: about 28 cycles for 8 of tile time. Rows that do not fill a tile, and batches of fewer,
 * go the AVX-512 way and get the same bits. */
#include "base/assert.h"
#include "kern/rungs.h"
#include "kern/tile.h"
#include "kern/tiles_amx.h"
#include "kern/unroll.h"

#ifndef KERN_AMX_EMULATED
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define INLINE static inline __attribute__((always_inline))

enum {
    TILE_ROWS = 16,
    BLOCK_ROWS = 15 * TILE_ROWS,
    BLOCK_BYTES = 1 << 20,
    SIDE = 2,
    AHEAD_BYTES = 4096, /* a unit is asked for before it is opened */
    CHUNK = 2,
};
/* Two of each, so that one block is loaded while the other multiplies. The assembler wants digits. */
#define TILE_C0 0
#define TILE_C1 1
#define TILE_A0 2
#define TILE_A1 3
#define TILE_B0 4
#define TILE_B1 5

/* Sixteen rows of x, `stride` bytes apart, from the block where the tile begins. */
struct arg {
    const struct kern_tile *t;
    int blocks;
    const unsigned char *x;
    size_t stride;
    float *acc; /* [16][16] */
};

INLINE const struct kern_act *act(const struct arg *a, int row, int block)
{
    return (const struct kern_act *)(a->x + (size_t)row * a->stride) + block;
}

/* The integers of one sub-block, scaled and added. */
INLINE void add_block(const struct arg *a, const int32_t *dot, int b, const int h, const bool sixteen, const bool min,
                      __m512 *sum)
{
    const int s = sixteen ? 2 * b + h : b;
    __m512 scale = _mm512_load_ps(a->t->scale[s]), low = min ? _mm512_load_ps(a->t->min[s]) : scale;
    UNROLL(16)
    for (int r = 0; r < TILE_ROWS; r++) {
        const struct kern_act *x = act(a, r, b);
        __m512 f = _mm512_cvtepi32_ps(_mm512_load_si512(dot + 16 * r));
        sum[r] = _mm512_fmadd_ps(f, _mm512_mul_ps(scale, _mm512_set1_ps(x->scale)), sum[r]);
        if (min)
            sum[r] = _mm512_fnmadd_ps(low, _mm512_set1_ps(sixteen ? x->scale_sum16[h] : x->scale_sum), sum[r]);
    }
}

/* Two sub-blocks a turn, so that one is in the tiles while the other is scaled. */
INLINE void product(const struct arg *a, const bool sixteen, const bool min)
{
    _Alignas(64) int32_t dot[2][TILE_ROWS * 16];
    __m512 sum[TILE_ROWS];
    UNROLL(16)
    for (int r = 0; r < TILE_ROWS; r++)
        sum[r] = _mm512_load_ps(a->acc + 16 * r);
    const int step = sixteen ? 1 : 2; /* blocks a turn */
    for (int b = 0; b < a->blocks; b += step) {
        bool both = sixteen || b + 1 < a->blocks;
        int b1 = sixteen ? b : b + 1, g1 = sixteen ? b * 8 + 4 : b1 * 8;
        TILE_ZERO(TILE_C0);
        TILE_LOAD(TILE_A0, act(a, 0, b)->q, a->stride);
        TILE_LOAD(TILE_B0, a->t->q[b * 8], 64);
        TILE_DOT(TILE_C0, TILE_A0, TILE_B0);
        TILE_STORE(TILE_C0, dot[0], 64);
        if (both) {
            TILE_ZERO(TILE_C1);
            TILE_LOAD(TILE_A1, act(a, 0, b1)->q + (sixteen ? 16 : 0), a->stride);
            TILE_LOAD(TILE_B1, a->t->q[g1], 64);
            TILE_DOT(TILE_C1, TILE_A1, TILE_B1);
            TILE_STORE(TILE_C1, dot[1], 64);
        }
        add_block(a, dot[0], b, 0, sixteen, min, sum);
        if (both)
            add_block(a, dot[1], b1, 1, sixteen, min, sum);
    }
    UNROLL(16)
    for (int r = 0; r < TILE_ROWS; r++)
        _mm512_store_ps(a->acc + 16 * r, sum[r]);
}

static void product_32(const struct arg *a) { product(a, false, false); }
static void product_32_min(const struct arg *a) { product(a, false, true); }
static void product_16(const struct arg *a) { product(a, true, false); }
static void product_16_min(const struct arg *a) { product(a, true, true); }
static void (*const products[PRODUCT_COUNT])(const struct arg *a) = {
    product_32, product_32_min, product_16, product_16_min,
};

static void configure(const struct kern_layout *l)
{
    struct tile_config c = { .palette = 1 };
    for (int t = TILE_C0; t <= TILE_B1; t++) {
        c.rows[t] = t < TILE_B0 ? TILE_ROWS : l->sub / 4;
        c.row_bytes[t] = t == TILE_A0 || t == TILE_A1 ? l->sub : 64;
    }
    TILE_CONFIG(&c);
}

/* Rows picked from all over are brought together, a chunk of columns at a time. */
static const unsigned char *gather(const struct kern_matmul *op, int t, size_t block, int blocks, struct kern_act *to)
{
    for (int r = 0; r < TILE_ROWS; r++)
        memcpy(to + r * CHUNK * KERN_UNIT_BLOCKS, (const struct kern_act *)kern_x_row(op, t + r) + block,
               (size_t)blocks * sizeof *to);
    return (const unsigned char *)to;
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

/* Rows t0 .. t0+n of x, a multiple of 16, against `side` panels. */
static void row_block(const struct kern_matmul *op, int t0, int n, int panel, int side)
{
    const struct kern_matrix *w = op->w;
    const struct kern_layout *l = kern_layout(w->type);
    _Alignas(64) float acc[SIDE][BLOCK_ROWS * 16];
    _Alignas(64) struct kern_act near[TILE_ROWS * CHUNK * KERN_UNIT_BLOCKS];
    struct kern_tile tile[CHUNK][SIDE];
    size_t unit_bytes = kern_unit_bytes(l, KERN_UNIT_BLOCKS);
    for (int p = 0; p < side; p++)
        memset(acc[p], 0, (size_t)n * 16 * sizeof(float));
    int units = (w->cols + KERN_UNIT_COLS - 1) / KERN_UNIT_COLS;
    for (int u0 = 0; u0 < units; u0 += CHUNK) {
        int chunk = units - u0 < CHUNK ? units - u0 : CHUNK, blocks = 0;
        for (int u = 0; u < chunk; u++) {
            blocks += kern_unit_blocks(w->cols, u0 + u);
            for (int p = 0; p < side; p++) {
                const unsigned char *unit = w->data + (size_t)(panel + p) * w->panel_bytes +
                                            (size_t)(u0 + u) * unit_bytes;
                for (size_t i = 0; i < unit_bytes; i += 64)
                    _mm_prefetch((const char *)unit + AHEAD_BYTES + i, _MM_HINT_T0);
                kern_tile_open_avx512(w->type, unit, kern_unit_blocks(w->cols, u0 + u), 0, &tile[u][p]);
            }
        }
        for (int t = 0; t < n; t += TILE_ROWS) {
            size_t first = (size_t)u0 * KERN_UNIT_BLOCKS, stride = op->x_stride;
            const unsigned char *x;
            if (op->x_rows) {
                x = gather(op, t0 + t, first, blocks, near);
                stride = CHUNK * KERN_UNIT_BLOCKS * sizeof *near;
            } else {
                x = (const unsigned char *)kern_x_row(op, t0 + t) + first * sizeof *near;
            }
            for (int p = 0; p < side; p++) {
                for (int u = 0; u < chunk; u++) {
                    struct arg a = { &tile[u][p], kern_unit_blocks(w->cols, u0 + u),
                                     x + (size_t)u * KERN_UNIT_BLOCKS * sizeof *near, stride, acc[p] + 16 * t };
                    products[kern_product(l)](&a);
                }
            }
        }
    }
    for (int p = 0; p < side; p++)
        store(op, t0, n, panel + p, acc[p]);
}

static void matmul(const struct kern_matmul *op, int panel_first, int panel_end)
{
    int whole = kern_type_is_float(op->w->type) ? 0 : op->n / TILE_ROWS * TILE_ROWS;
    if (whole) {
        int fit = (int)(BLOCK_BYTES / (kern_q8_bytes(op->w->cols) * TILE_ROWS)) * TILE_ROWS;
        int block = fit < TILE_ROWS ? TILE_ROWS : fit > BLOCK_ROWS ? BLOCK_ROWS : fit;
        configure(kern_layout(op->w->type));
        for (int t = 0; t < whole; t += block) {
            int n = whole - t < block ? whole - t : block;
            for (int p = panel_first; p < panel_end; p += SIDE)
                row_block(op, t, n, p, panel_end - p < SIDE ? panel_end - p : SIDE);
        }
        TILE_RELEASE();
    }
    if (whole == op->n)
        return;
    struct kern_matmul rest = *op;
    rest.n = op->n - whole;
    rest.y = op->y + (size_t)whole * op->y_stride;
    if (op->x_rows)
        rest.x_rows = op->x_rows + whole;
    else
        rest.x = (const unsigned char *)op->x + (size_t)whole * op->x_stride;
    kern_matmul_avx512(&rest, panel_first, panel_end);
}

#ifdef KERN_AMX_EMULATED
void kern_fill_matmul_emulated(struct kern_table *t)
{
    t->matmul = matmul;
}
#else
bool kern_amx_permit(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA */
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

void kern_fill_matmul_amx(struct kern_table *t)
{
    t->matmul = matmul;
}
#endif
