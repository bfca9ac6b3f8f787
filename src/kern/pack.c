/* pack -- weights into panels and back: the reference for what pack.h describes. */
#include "kern/pack.h"

#include "base/assert.h"

#include <string.h>

/* Offsets of d and m behind a K unit's sub-scales. */
static size_t d_offset(enum kern_scale_form form)
{
    switch (form) {
    case SCALE_K2: case SCALE_K6: return 256;
    case SCALE_K4: case SCALE_K3: return 192;
    default: return 64;
    }
}

static size_t scale_bytes(enum kern_scale_form form, int blocks)
{
    size_t n = (size_t)blocks;
    switch (form) {
    case SCALE_F16: return n * 32;
    case SCALE_F16_MIN: return n * 64;
    case SCALE_E8M0: return n * 16;
    case SCALE_K2: return 256 + 64;
    case SCALE_K4: return 192 + 64;
    case SCALE_K3: return 192 + 32;
    case SCALE_K6: return 256 + 32;
    default: return 64 + 32 + 32;
    }
}

static size_t used_bytes(const struct kern_layout *l, int blocks)
{
    return (size_t)(blocks * l->block_bytes) + scale_bytes(l->form, blocks);
}

size_t kern_unit_bytes(const struct kern_layout *l, int blocks)
{
    return (used_bytes(l, blocks) + 63) & ~(size_t)63;
}

/* A field of `bits` bits in a byte plane. */
static unsigned field_get(const unsigned char *p, int shift, unsigned mask)
{
    return *p >> shift & mask;
}

static void field_put(unsigned char *p, int shift, unsigned mask, unsigned v)
{
    *p = (unsigned char)((*p & ~(mask << shift)) | (v & mask) << shift);
}

/* Four codes of one row at a time: a group is 4 bytes of a plane, and so a word. */
static uint32_t word_get(const void *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

static void word_put(void *p, uint32_t v)
{
    memcpy(p, &v, 4);
}

/* `count` groups' bits low .. low + bits, side by side in each byte of one word. */
static uint32_t plane_join(const uint8_t *q, int count, int low, int bits)
{
    uint32_t mask = ((1u << bits) - 1) * 0x01010101u, v = 0;
    for (int g = 0; g < count; g++)
        v |= (word_get(q + 4 * g) >> low & mask) << g * bits;
    return v;
}

static void plane_split(uint32_t v, uint8_t *q, int count, int low, int bits)
{
    uint32_t mask = ((1u << bits) - 1) * 0x01010101u;
    for (int g = 0; g < count; g++)
        word_put(q + 4 * g, word_get(q + 4 * g) | (v >> g * bits & mask) << low);
}

/* The codes of one row of a block: q[32] <-> planes. */
static inline void block_put(const struct kern_layout *l, unsigned char *restrict p, int row, const uint8_t *restrict q)
{
    int have = 0;
    p += row * 4;
    if (l->byte)
        for (int g = 0; g < 8; g++)
            memcpy(p + g * 64, q + 4 * g, 4);
    if (l->nibble) {
        for (int i = 0; i < 4; i++, p += 64)
            word_put(p, plane_join(q + 8 * i, 2, 0, 4));
        have = 4;
    }
    if (l->pair) {
        for (int i = 0; i < 2; i++, p += 64)
            word_put(p, plane_join(q + 16 * i, 4, have, 2));
        have += 2;
    }
    if (l->bit)
        word_put(p, plane_join(q, 8, have, 1));
}

static void block_get(const struct kern_layout *l, const unsigned char *p, int row, uint8_t *q)
{
    int have = 0;
    memset(q, 0, 32);
    p += row * 4;
    if (l->byte)
        for (int g = 0; g < 8; g++)
            memcpy(q + 4 * g, p + g * 64, 4);
    if (l->nibble) {
        for (int i = 0; i < 4; i++, p += 64)
            plane_split(word_get(p), q + 8 * i, 2, 0, 4);
        have = 4;
    }
    if (l->pair) {
        for (int i = 0; i < 2; i++, p += 64)
            plane_split(word_get(p), q + 16 * i, 4, have, 2);
        have += 2;
    }
    if (l->bit)
        plane_split(word_get(p), q, 8, have, 1);
}

/* Sub-scales of the K forms. Each is a nibble, and for the 6-bit ones a pair. */
static void subs_put(enum kern_scale_form form, unsigned char *p, int row, const struct kern_codes *c)
{
    if (form == SCALE_K2 || form == SCALE_K6) {
        for (int s = 0; s < 16; s++)
            p[s * 16 + row] = (unsigned char)(form == SCALE_K2 ? c->sc[s] | c->mn[s] << 4 : c->sc[s]);
    } else if (form == SCALE_K4) {
        for (int s = 0; s < 8; s++) {
            int i = s % 4 * 16 + row, h = s / 4;
            field_put(p + i, h * 4, 15, c->sc[s]);
            field_put(p + 64 + i, h * 4, 15, c->mn[s]);
            field_put(p + 128 + i, h * 2, 3, c->sc[s] >> 4);
            field_put(p + 128 + i, h * 2 + 4, 3, c->mn[s] >> 4);
        }
    } else if (form == SCALE_K3) {
        for (int s = 0; s < 16; s++) {
            field_put(p + s % 8 * 16 + row, s / 8 * 4, 15, c->sc[s]);
            field_put(p + 128 + s % 4 * 16 + row, s / 4 * 2, 3, c->sc[s] >> 4);
        }
    } else {
        for (int s = 0; s < 8; s++) {
            field_put(p + s % 4 * 16 + row, s / 4 * 4, 15, c->sc[s]);
            field_put(p + 96 + s % 2 * 16 + row, s / 2 * 2, 3, c->sc[s] >> 4);
        }
    }
}

static void subs_get(enum kern_scale_form form, const unsigned char *p, int row, struct kern_codes *c)
{
    if (form == SCALE_K2 || form == SCALE_K6) {
        for (int s = 0; s < 16; s++) {
            c->sc[s] = form == SCALE_K2 ? p[s * 16 + row] & 15 : p[s * 16 + row];
            c->mn[s] = p[s * 16 + row] >> 4;
        }
    } else if (form == SCALE_K4) {
        for (int s = 0; s < 8; s++) {
            int i = s % 4 * 16 + row, h = s / 4;
            c->sc[s] = (uint8_t)(field_get(p + i, h * 4, 15) | field_get(p + 128 + i, h * 2, 3) << 4);
            c->mn[s] = (uint8_t)(field_get(p + 64 + i, h * 4, 15) | field_get(p + 128 + i, h * 2 + 4, 3) << 4);
        }
    } else if (form == SCALE_K3) {
        for (int s = 0; s < 16; s++)
            c->sc[s] = (uint8_t)(field_get(p + s % 8 * 16 + row, s / 8 * 4, 15) |
                                 field_get(p + 128 + s % 4 * 16 + row, s / 4 * 2, 3) << 4);
    } else {
        for (int s = 0; s < 8; s++)
            c->sc[s] = (uint8_t)(field_get(p + s % 4 * 16 + row, s / 4 * 4, 15) |
                                 field_get(p + 96 + s % 2 * 16 + row, s / 2 * 2, 3) << 4);
    }
}

void kern_unit_put(const struct kern_layout *l, unsigned char *unit, int blocks, int row, const struct kern_codes *c)
{
    for (int b = 0; b < blocks; b++)
        block_put(l, unit + b * l->block_bytes, row, c->q + 32 * b);
    unsigned char *p = unit + blocks * l->block_bytes;
    if (l->form == SCALE_F16 || l->form == SCALE_F16_MIN || l->form == SCALE_E8M0) {
        for (int b = 0; b < blocks; b++) {
            if (l->form == SCALE_E8M0) {
                p[b * 16 + row] = (unsigned char)c->d[b];
                continue;
            }
            unsigned char *v = p + b * (l->form == SCALE_F16 ? 32 : 64) + row * 2;
            kern_store16(v, c->d[b]);
            if (l->form == SCALE_F16_MIN)
                kern_store16(v + 32, c->m[b]);
        }
        return;
    }
    subs_put(l->form, p, row, c);
    kern_store16(p + d_offset(l->form) + row * 2, c->d[0]);
    if (l->min)
        kern_store16(p + d_offset(l->form) + 32 + row * 2, c->m[0]);
}

void kern_unit_get(const struct kern_layout *l, const unsigned char *unit, int blocks, int row, struct kern_codes *c)
{
    for (int b = 0; b < blocks; b++)
        block_get(l, unit + b * l->block_bytes, row, c->q + 32 * b);
    const unsigned char *p = unit + blocks * l->block_bytes;
    if (l->form == SCALE_F16 || l->form == SCALE_F16_MIN || l->form == SCALE_E8M0) {
        for (int b = 0; b < blocks; b++) {
            if (l->form == SCALE_E8M0) {
                c->d[b] = p[b * 16 + row];
                continue;
            }
            const unsigned char *v = p + b * (l->form == SCALE_F16 ? 32 : 64) + row * 2;
            c->d[b] = kern_load16(v);
            c->m[b] = l->form == SCALE_F16_MIN ? kern_load16(v + 32) : 0;
        }
        return;
    }
    subs_get(l->form, p, row, c);
    c->d[0] = kern_load16(p + d_offset(l->form) + row * 2);
    c->m[0] = l->min ? kern_load16(p + d_offset(l->form) + 32 + row * 2) : 0;
}

void kern_matrix_init(struct kern_matrix *m, enum kern_type type, int rows, int cols)
{
    const struct kern_type_info *info = kern_type_info(type);
    ASSERT(info && rows > 0 && cols > 0 && cols % info->block_len == 0);
    *m = (struct kern_matrix){ .type = type, .rows = rows, .cols = cols };
    m->panels = (rows - 1) / KERN_PANEL_ROWS + 1;
    if (kern_type_is_float(type)) {
        m->panel_bytes = ((size_t)cols * KERN_PANEL_ROWS * (size_t)info->block_bytes + 63) & ~(size_t)63;
        return;
    }
    const struct kern_layout *l = kern_layout(type);
    size_t full = (size_t)(cols / KERN_UNIT_COLS), tail = (size_t)(cols % KERN_UNIT_COLS / KERN_ACT_BLOCK);
    m->panel_bytes = full * kern_unit_bytes(l, KERN_UNIT_BLOCKS) + (tail ? kern_unit_bytes(l, (int)tail) : 0);
}

size_t kern_matrix_bytes(const struct kern_matrix *m)
{
    return (size_t)m->panels * m->panel_bytes;
}

/* Columns of up to 16 rows side by side; what is missing stays zero. Sources need not be aligned. */
#define TURN(name, type) \
    static void name(const unsigned char *src, size_t row_bytes, size_t cols, int rows, unsigned char *dst) \
    { \
        for (size_t c = 0; c < cols; c++, dst += KERN_PANEL_ROWS * sizeof(type)) { \
            for (int r = 0; r < rows; r++) \
                memcpy(dst + (size_t)r * sizeof(type), src + (size_t)r * row_bytes + c * sizeof(type), sizeof(type)); \
        } \
    }
TURN(turn_16, uint16_t)
TURN(turn_32, uint32_t)

static void pack_float(struct kern_matrix *m, const unsigned char *src, int panel, unsigned char *dst)
{
    size_t row_bytes = kern_row_bytes(m->type, (size_t)m->cols);
    int first = panel * KERN_PANEL_ROWS, rows = m->rows - first < KERN_PANEL_ROWS ? m->rows - first : KERN_PANEL_ROWS;
    (m->type == KERN_F32 ? turn_32 : turn_16)(src + (size_t)first * row_bytes, row_bytes, (size_t)m->cols, rows, dst);
}

/* Rows past the last and the padding of units are zeros. What is written in full is not cleared before: fresh memory
 * is slow enough to come by. */
static void pack_codes(struct kern_matrix *m, const unsigned char *src, int panel, unsigned char *dst)
{
    const struct kern_layout *l = kern_layout(m->type);
    kern_weave_fn weave = kern_weave(m->type);
    size_t row_bytes = kern_row_bytes(m->type, (size_t)m->cols);
    int first = panel * KERN_PANEL_ROWS, rows = m->rows - first < KERN_PANEL_ROWS ? m->rows - first : KERN_PANEL_ROWS;
    struct kern_codes c;
    src += (size_t)first * row_bytes;
    for (int u = 0; u * KERN_UNIT_COLS < m->cols; u++) {
        int blocks = kern_unit_blocks(m->cols, u);
        size_t bytes = kern_unit_bytes(l, blocks);
        size_t written = weave && rows == KERN_PANEL_ROWS ? used_bytes(l, blocks) : 0;
        memset(dst + written, 0, bytes - written);
        for (int r = 0; r < rows; r++) {
            if (weave) {
                weave(src + (size_t)r * row_bytes, dst, blocks, r);
            } else {
                kern_split(m->type, src + (size_t)r * row_bytes, blocks * 32, &c);
                kern_unit_put(l, dst, blocks, r, &c);
            }
        }
        src += kern_row_bytes(m->type, (size_t)(blocks * 32));
        dst += bytes;
    }
}

void kern_matrix_pack(struct kern_matrix *m, const void *src, int first, int end)
{
    ASSERT(first >= 0 && end <= m->panels);
    for (int p = first; p < end; p++) {
        unsigned char *dst = m->data + (size_t)p * m->panel_bytes;
        if (kern_type_is_float(m->type)) {
            memset(dst, 0, m->panel_bytes); /* rows past the last */
            pack_float(m, src, p, dst);
        } else {
            pack_codes(m, src, p, dst);
        }
    }
}

void kern_matrix_row(const struct kern_matrix *m, int row, float *out)
{
    ASSERT(row >= 0 && row < m->rows);
    const unsigned char *p = m->data + (size_t)(row / KERN_PANEL_ROWS) * m->panel_bytes;
    int lane = row % KERN_PANEL_ROWS;
    if (kern_type_is_float(m->type)) {
        size_t size = (size_t)kern_type_info(m->type)->block_bytes;
        for (int c = 0; c < m->cols; c++)
            kern_float_read(m->type, p + (size_t)(c * KERN_PANEL_ROWS + lane) * size, out + c, 1);
        return;
    }
    const struct kern_layout *l = kern_layout(m->type);
    struct kern_codes codes;
    for (int u = 0; u * KERN_UNIT_COLS < m->cols; u++) {
        int blocks = kern_unit_blocks(m->cols, u);
        kern_unit_get(l, p, blocks, lane, &codes);
        kern_codes_value(l, &codes, blocks * 32, out + u * KERN_UNIT_COLS);
        p += kern_unit_bytes(l, blocks);
    }
}
