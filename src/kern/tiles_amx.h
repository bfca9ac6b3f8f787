/* tiles_amx -- the six tile operations matmul_amx needs: the processor's, or the same in plain C.
 *
 * The emulation lets every machine with AVX-512 prove the rung's loops bit by bit (emulated_amx.c). Tile numbers are
 * constants: the instructions have them as immediates. */
#ifndef KERN_TILES_AMX_H
#define KERN_TILES_AMX_H
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};
_Static_assert(sizeof(struct tile_config) == 64, "as LDTILECFG reads it");

#ifndef KERN_AMX_EMULATED
/* gcc 12 drops the stores to the configuration unless memory is clobbered before it is loaded. */
#define TILE_CONFIG(c) do { __asm__ volatile("" : : : "memory"); _tile_loadconfig(c); } while (0)
#define TILE_RELEASE() _tile_release()
#define TILE_ZERO(t) _tile_zero(t)
#define TILE_LOAD(t, p, stride) _tile_loadd(t, p, stride)
#define TILE_STORE(t, p, stride) _tile_stored(t, p, stride)
#define TILE_DOT(c, a, b) _tile_dpbssd(c, a, b)
#else
static _Thread_local struct tile_config emulated_config;
static _Thread_local int8_t emulated[8][16][64];

static void emulated_load(int t, const void *p, size_t stride)
{
    memset(emulated[t], 0, sizeof emulated[t]);
    for (int r = 0; r < emulated_config.rows[t]; r++)
        memcpy(emulated[t][r], (const char *)p + (size_t)r * stride, emulated_config.row_bytes[t]);
}

static void emulated_store(int t, void *p, size_t stride)
{
    for (int r = 0; r < emulated_config.rows[t]; r++)
        memcpy((char *)p + (size_t)r * stride, emulated[t][r], emulated_config.row_bytes[t]);
}

static void emulated_dot(int c, int a, int b)
{
    for (int m = 0; m < emulated_config.rows[c]; m++) {
        for (int n = 0; n < emulated_config.row_bytes[c] / 4; n++) {
            int32_t sum;
            memcpy(&sum, &emulated[c][m][4 * n], 4);
            for (int k = 0; k < emulated_config.row_bytes[a]; k++)
                sum += emulated[a][m][k] * emulated[b][k / 4][4 * n + k % 4];
            memcpy(&emulated[c][m][4 * n], &sum, 4);
        }
    }
}
#define TILE_CONFIG(c) (emulated_config = *(c))
#define TILE_RELEASE() memset(&emulated_config, 0, sizeof emulated_config)
#define TILE_ZERO(t) memset(emulated[t], 0, sizeof emulated[t])
#define TILE_LOAD(t, p, stride) emulated_load(t, p, stride)
#define TILE_STORE(t, p, stride) emulated_store(t, p, stride)
#define TILE_DOT(c, a, b) emulated_dot(c, a, b)
#endif
#endif
