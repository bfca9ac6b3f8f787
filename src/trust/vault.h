/* vault -- sealed files in a folder: whole small ones, and long ones that grow by records.
 *
 * Each is sealed with XChaCha20-Poly1305 under one key that lies outside the folder (mode 0600). A record is
 * u32 length, 24 bytes of nonce, ciphertext; its name and number are sealed with it, so records cannot be moved, swapped
 * or taken from another file. A record that was cut by a crash is not there: opening to append takes it away.
 * One thread per file. */
#ifndef TRUST_VAULT_H
#define TRUST_VAULT_H
#include "base/buf.h"
#include "base/err.h"

#include <stdint.h>

enum { VAULT_RECORD_MAX = 8 << 20, VAULT_NAME_MAX = 80 };

struct vault;
/* Makes the folder and the key when they are missing. */
enum err_code vault_open(const char *dir, const char *key_file, struct vault **out, struct err *e);
void vault_close(struct vault *v);

/* A whole file of one record; the old one stays until the new one is on disk. */
enum err_code vault_write(const struct vault *v, const char *name, const void *data, size_t n, struct err *e);
enum err_code vault_read(const struct vault *v, const char *name, struct buf *out, struct err *e); /* its first record */
void vault_remove(const struct vault *v, const char *name);

/* A descriptor to append to, made when missing; *records: how many are in it. -1 and *e. */
int vault_append_open(const struct vault *v, const char *name, uint64_t *records, struct err *e);
/* The bytes of record `number`, to be written there. n <= VAULT_RECORD_MAX. */
void vault_seal(const struct vault *v, const char *name, uint64_t number, const void *data, size_t n, struct buf *out);
/* Every record in order; a missing file has none. fn false: enough. ERR_CORRUPT: it was changed. */
typedef bool vault_fn(void *arg, uint64_t number, const char *data, size_t n);
enum err_code vault_each(const struct vault *v, const char *name, vault_fn *fn, void *arg, struct err *e);
/* Calls fn with the name of every file in it, in no order. */
void vault_list(const struct vault *v, void (*fn)(void *arg, const char *name), void *arg);
#endif
