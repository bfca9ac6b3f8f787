/* write -- a GGUF file (version 3, little-endian), written in one pass: keys, then the tensor table, then the
 * tensors' bytes streamed in the order they were declared, so that a large file needs little memory.
 *
 * Mistakes of the caller (a key twice, a name too long) are remembered and reported by gguf_writer_start.
 * Written beside the target and renamed over it by gguf_writer_finish: a crash leaves the old file or the new. */
#ifndef GGUF_WRITE_H
#define GGUF_WRITE_H
#include "base/buf.h"
#include "gguf/gguf.h"

struct gguf_writer;

struct gguf_writer *gguf_writer_new(void);
/* Also removes the temporary file of a writer that was started and not finished. */
void gguf_writer_free(struct gguf_writer *w);

void gguf_writer_u32(struct gguf_writer *w, const char *key, uint32_t v);
void gguf_writer_u64(struct gguf_writer *w, const char *key, uint64_t v);
void gguf_writer_f32(struct gguf_writer *w, const char *key, float v);
void gguf_writer_bool(struct gguf_writer *w, const char *key, bool v);
void gguf_writer_string(struct gguf_writer *w, const char *key, const char *v);
void gguf_writer_strings(struct gguf_writer *w, const char *key, const struct gguf_str *items, size_t count);
/* Items of a fixed-size kind in memory order of this machine. */
void gguf_writer_array(struct gguf_writer *w, const char *key, enum gguf_kind kind, const void *items, size_t count);
/* Any value of another file, as it stands there. */
void gguf_writer_copy(struct gguf_writer *w, struct gguf_str key, const struct gguf_value *v);

void gguf_writer_tensor(struct gguf_writer *w, struct gguf_str name, enum kern_type type, int dims,
                        const uint64_t *ne);

/* Writes the header; nothing may be declared afterwards. To a file, or to the end of out (which is borrowed). */
enum err_code gguf_writer_start(struct gguf_writer *w, const char *path, struct err *e);
enum err_code gguf_writer_start_buf(struct gguf_writer *w, struct buf *out, struct err *e);
/* The next bytes of tensor data, in pieces of any size; a piece may not cross from one tensor into the next. */
enum err_code gguf_writer_data(struct gguf_writer *w, const void *data, size_t n, struct err *e);
enum err_code gguf_writer_finish(struct gguf_writer *w, struct err *e);
#endif
