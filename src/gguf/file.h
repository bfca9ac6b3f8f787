/* file -- what a gguf_file and a gguf_value hold. Private to gguf/. */
#ifndef GGUF_FILE_H
#define GGUF_FILE_H
#include "gguf/gguf.h"

enum {
    GGUF_STRINGS_MAX = 1 << 22, /* indexed strings of arrays, in the whole file */
    GGUF_NESTED_MAX = 1 << 18,  /* arrays inside arrays, in the whole file */
    GGUF_ALIGN_DEFAULT = 32,
    GGUF_ALIGN_MAX = 1 << 20,
};

struct gguf_value {
    enum gguf_kind kind;
    const unsigned char *raw; /* the value as it stands in the file, after its kind */
    size_t raw_bytes;
    struct gguf_str str;      /* GGUF_STRING */
    /* GGUF_ARRAY: */
    enum gguf_kind item_kind;
    size_t count;
    const unsigned char *items;   /* [count] fixed-size items, unaligned */
    struct gguf_str *strings;     /* [count] when item_kind is GGUF_STRING; owned */
    struct gguf_value *nested;    /* [count] when item_kind is GGUF_ARRAY; owned */
};

struct gguf_key {
    struct gguf_str name;
    struct gguf_value value;
};

struct gguf_file {
    char *name; /* for messages */
    const unsigned char *data;
    size_t bytes;
    bool mapped; /* data is ours to unmap */
    int version;
    size_t alignment;
    size_t data_start; /* where tensor data begins */
    int key_count, tensor_count;
    struct gguf_key *keys;       /* [key_count] in file order */
    struct gguf_tensor *tensors; /* [tensor_count] in file order */
    int *keys_sorted;            /* [key_count] indices in order of name, for bsearch */
    int *tensors_sorted;
    size_t strings_indexed, nested_made; /* against the limits above */
};

/* Bytes of a fixed-size kind; 0 for strings and arrays. */
size_t gguf_kind_bytes(enum gguf_kind kind);
/* Reads the whole header of f->data: fills everything below `mapped`. */
enum err_code gguf_parse(struct gguf_file *f, struct err *e);
void gguf_value_release(struct gguf_value *v);
/* A fixed-size item at p as integer or double; false when the kind is not of that family or does not fit. */
bool gguf_item_int(enum gguf_kind kind, const unsigned char *p, int64_t *out);
bool gguf_item_double(enum gguf_kind kind, const unsigned char *p, double *out);
int gguf_str_compare(struct gguf_str a, struct gguf_str b);
#endif
