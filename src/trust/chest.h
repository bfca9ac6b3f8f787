/* chest -- sealed files in a folder: whole small ones, and long ones that grow by records.
 *
 * Each is sealed with XChaCha20-Poly1305 under one key that lies outside the folder (mode 0600). A record is
 * u32 length, 24 bytes of nonce, ciphertext; its name and number are sealed with it, so records cannot be moved,
 * swapped or taken from another file. A record that was cut by a crash is not there: opening to append takes it away.
 * One thread per file. */
#ifndef TRUST_CHEST_H
#define TRUST_CHEST_H
#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

enum { CHEST_RECORD_MAX = 8 << 20, CHEST_NAME_MAX = 80 };

struct chest;
/* Makes the folder and the key when they are missing. */
enum err_code chest_open(const char *dir, const char *key_file, struct chest **out, struct err *e);
/* The same under a key that somebody else holds: 32 bytes, copied. */
enum err_code chest_open_with(const char *dir, const uint8_t *key, struct chest **out, struct err *e);
void chest_close(struct chest *v);

/* A whole file of one record; the old one stays until the new one is on disk. */
enum err_code chest_write(const struct chest *v, const char *name, const void *data, size_t n, struct err *e);
/* Its first record, appended to out. */
enum err_code chest_read(const struct chest *v, const char *name, struct buf *out, struct err *e);
void chest_remove(const struct chest *v, const char *name);

/* A descriptor to append to, made when missing; *records: how many are in it. -1 and *e. */
int chest_append_open(const struct chest *v, const char *name, uint64_t *records, struct err *e);
/* The bytes of record `number`, to be written there. n <= CHEST_RECORD_MAX. */
void chest_seal(const struct chest *v, const char *name, uint64_t number, const void *data, size_t n, struct buf *out);
/* Every record in order; a missing file has none. fn false: enough. ERR_CORRUPT: it was changed. */
typedef bool chest_fn(void *arg, uint64_t number, const char *data, size_t n);
enum err_code chest_each(const struct chest *v, const char *name, chest_fn *fn, void *arg, struct err *e);
/* Calls fn with the name of every file in it, in no order. */
void chest_list(const struct chest *v, void (*fn)(void *arg, const char *name), void *arg);
#endif
