/* buf -- a growable run of bytes with a hard maximum. Always NUL-terminated one past len.
 *
 * Appends past the maximum set `overflow` and change nothing else, so a caller may append many times
 * and check once. Zero-initialised it has the default maximum. */
#ifndef BASE_BUF_H
#define BASE_BUF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BUF_MAX_DEFAULT ((size_t)1 << 30)

struct buf {
    char *data;    /* owned; NULL while empty and never appended to */
    size_t len;    /* bytes in use, the NUL not counted */
    size_t cap;
    size_t max;    /* len never passes this; 0 means BUF_MAX_DEFAULT */
    bool overflow; /* an append was refused */
};

void buf_init(struct buf *b, size_t max);
void buf_release(struct buf *b);            /* frees; leaves an empty buf that may be used again */
void buf_clear(struct buf *b);              /* empties, keeps the memory */
bool buf_append(struct buf *b, const void *data, size_t n);
bool buf_puts(struct buf *b, const char *s);
bool buf_putc(struct buf *b, char c);
bool buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *buf_reserve(struct buf *b, size_t n); /* room for n more bytes at the end, or NULL; then add to len */
void buf_drop_front(struct buf *b, size_t n);
const char *buf_str(const struct buf *b);   /* never NULL */
char *buf_take(struct buf *b);              /* the bytes, NUL-terminated; the caller frees; b is empty */

/* Little-endian integers, for the frame and file formats. */
bool buf_put_u16(struct buf *b, uint16_t v);
bool buf_put_u32(struct buf *b, uint32_t v);
bool buf_put_u64(struct buf *b, uint64_t v);
#endif
