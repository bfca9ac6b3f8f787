/* gguf -- a model file: map it, check every byte of its header once, look things up.
 *
 * The file is hostile: every count, size and offset is checked with overflow-safe arithmetic against the
 * file's length and the limits below before use. After gguf_open succeeds the struct is immutable and may be
 * read by any thread. Strings are NUL-free or refused where a C string is asked for. */
#ifndef GGUF_GGUF_H
#define GGUF_GGUF_H
#include "base/err.h"
#include "kern/type.h"

enum {
    GGUF_KEYS_MAX = 65536,
    GGUF_TENSORS_MAX = 65536,
    GGUF_NAME_MAX = 256,      /* bytes of a tensor name or key */
    GGUF_DIMS_MAX = 4,
    GGUF_ARRAY_DEPTH_MAX = 4,
};

enum gguf_kind {
    GGUF_U8, GGUF_I8, GGUF_U16, GGUF_I16, GGUF_U32, GGUF_I32, GGUF_F32, GGUF_BOOL,
    GGUF_STRING, GGUF_ARRAY, GGUF_U64, GGUF_I64, GGUF_F64,
};

struct gguf_str {
    const char *data; /* borrowed from the map, not NUL-terminated */
    size_t len;
};

struct gguf_tensor {
    struct gguf_str name;
    enum kern_type type;
    int dims;                    /* 1..4 */
    uint64_t ne[GGUF_DIMS_MAX];  /* ne[0] is the fastest; unused ones are 1 */
    const void *data;            /* in the map, aligned as the file says */
    size_t bytes;
    uint64_t offset;             /* from the start of the file */
};

struct gguf_value; /* one metadata value */
struct gguf_file;

/* Maps the descriptor (which stays the caller's). name is for messages. */
enum err_code gguf_open_fd(int fd, const char *name, struct gguf_file **out, struct err *e);
enum err_code gguf_open(const char *path, struct gguf_file **out, struct err *e);
/* The same over bytes in memory, borrowed until close (tests, fuzzing). */
enum err_code gguf_open_memory(const void *data, size_t n, struct gguf_file **out, struct err *e);
void gguf_close(struct gguf_file *f);
/* Gives the pages of the tensor data back to the system: after the weights were repacked. */
void gguf_drop_pages(struct gguf_file *f);

int gguf_version(const struct gguf_file *f);
size_t gguf_file_bytes(const struct gguf_file *f);
size_t gguf_alignment(const struct gguf_file *f);
int gguf_key_count(const struct gguf_file *f);
struct gguf_str gguf_key_name(const struct gguf_file *f, int i);
const struct gguf_value *gguf_key_value(const struct gguf_file *f, int i);
int gguf_tensor_count(const struct gguf_file *f);
const struct gguf_tensor *gguf_tensor_at(const struct gguf_file *f, int i);
const struct gguf_tensor *gguf_tensor_find(const struct gguf_file *f, const char *name); /* NULL: none */
const struct gguf_value *gguf_find(const struct gguf_file *f, const char *key);          /* NULL: none */

enum gguf_kind gguf_value_kind(const struct gguf_value *v);
/* Any integer kind that fits; false otherwise. Bool for bool or integer; double for any number. */
bool gguf_value_int(const struct gguf_value *v, int64_t *out);
bool gguf_value_bool(const struct gguf_value *v, bool *out);
bool gguf_value_double(const struct gguf_value *v, double *out);
bool gguf_value_string(const struct gguf_value *v, struct gguf_str *out);
/* Arrays: element kind and count; element i as above. Strings are indexed at open: O(1). */
bool gguf_value_array(const struct gguf_value *v, enum gguf_kind *kind, size_t *count);
bool gguf_array_int(const struct gguf_value *v, size_t i, int64_t *out);
bool gguf_array_double(const struct gguf_value *v, size_t i, double *out);
bool gguf_array_string(const struct gguf_value *v, size_t i, struct gguf_str *out);

/* Required and optional keys with the sentence made here: "FILE: key 'llama.block_count' is missing". The
 * _or forms leave a default when the key is absent and still refuse a wrong kind or range. */
enum err_code gguf_get_int(const struct gguf_file *f, const char *key, int64_t min, int64_t max, int64_t *out,
                           struct err *e);
enum err_code gguf_get_int_or(const struct gguf_file *f, const char *key, int64_t min, int64_t max,
                              int64_t fallback, int64_t *out, struct err *e);
enum err_code gguf_get_double_or(const struct gguf_file *f, const char *key, double fallback, double *out,
                                 struct err *e);
enum err_code gguf_get_bool_or(const struct gguf_file *f, const char *key, bool fallback, bool *out,
                               struct err *e);
/* A fresh C string the caller frees (mem_free); *out = NULL when absent. */
enum err_code gguf_get_string_or_null(const struct gguf_file *f, const char *key, char **out, struct err *e);
const char *gguf_name(const struct gguf_file *f);
#endif
