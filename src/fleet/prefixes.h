/* prefixes -- who has lately been sent, or says that it holds, a prompt that begins so.
 *
 * A table of fixed size: a hash leads to a set of PREFIXES_WAYS entries, the one longest unused gives way. A worker is
 * its serial (roster.h), so what is known of a life ends with it. Keys are mixed with the model's id: the same words
 * are other pages in another model. Owner: the loop's thread. */
#ifndef FLEET_PREFIXES_H
#define FLEET_PREFIXES_H
#include <stdbool.h>
#include <stdint.h>

enum { PREFIXES_SETS = 16384, PREFIXES_WAYS = 8 };

struct prefixes;
struct prefixes *prefixes_new(int sets); /* a power of two; PREFIXES_SETS takes 2 MB */
void prefixes_free(struct prefixes *t);
uint64_t prefixes_model(const char *model_id); /* its share of a key */
void prefixes_note(struct prefixes *t, uint64_t model, uint64_t hash, uint32_t serial);
bool prefixes_has(const struct prefixes *t, uint64_t model, uint64_t hash, uint32_t serial);
#endif
