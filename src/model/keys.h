/* keys -- an architecture's keys, named without their prefix: keys_int(k, "block_count", ...). */
#ifndef MODEL_KEYS_H
#define MODEL_KEYS_H
#include "model/parts.h"

struct keys {
    const struct gguf_file *f;
    const struct model_arch *arch;
};

enum err_code keys_int(const struct keys *k, const char *key, int min, int max, int *out, struct err *e);
enum err_code keys_int_or(const struct keys *k, const char *key, int min, int max, int fallback, int *out,
                          struct err *e);
/* Finite, and not below min; a fallback below min means that the key is required. */
enum err_code keys_float_or(const struct keys *k, const char *key, double min, double fallback, float *out,
                            struct err *e);
enum err_code keys_bool_or(const struct keys *k, const char *key, bool fallback, bool *out, struct err *e);
/* The window of models whose every period-th layer sees everything (0: no window at all). */
enum err_code keys_window(const struct keys *k, int period, struct model_dims *d, struct err *e);
/* The keys that every decoder has. */
/* How an encoder's or embedding model's rows become a vector; MODEL_POOL_UNSAID without the key. */
enum err_code keys_pooling(const struct keys *k, enum model_pooling *out, struct err *e);
enum err_code keys_common(const struct keys *k, struct model_dims *d, struct err *e);
#endif
