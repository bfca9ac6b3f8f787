/* identity -- what this engine runs, for the evidence and for a fleet: the weights behind its descriptor are the signed
 * ones, and which arithmetic makes the answers.
 *
 * The file is hashed through the descriptor the model is mapped from, on a thread beside the loading. */
#ifndef ENGINE_IDENTITY_H
#define ENGINE_IDENTITY_H
#include "base/json.h"
#include "trust/code.h"

struct identity;

/* asked: hello's "trust", or without evidence its "identity" {"build":"<hex>"}, as a fleet wants it; NULL: nobody wants
 * to know and *out is NULL. fd must stay open until the check. */
enum err_code identity_begin(const json_t *asked, int fd, struct identity **out, struct err *e);
/* Waits for the hash. ERR_DENIED: other weights than were signed. */
enum err_code identity_check(struct identity *d, const char *isa, const char *kv_type, struct err *e);
const uint8_t *identity_numerics(const struct identity *d); /* HASH_BYTES; after the check */
const uint8_t *identity_hash(const struct identity *d);     /* of the file, likewise */
void identity_free(struct identity *d);
#endif
