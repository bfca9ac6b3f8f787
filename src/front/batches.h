/* batches -- requests for the night: /v1/files and /v1/batches. A file of JSON lines is kept sealed, each line's body
 * is given to an engine at the lowest class, and the answers are kept in files of the same kind.
 *
 * B1  Nothing is written while no folder is configured for it; what is written is sealed (trust/chest.h).
 * B2  A line is billed once: its row's id is made of the batch and the line, its answer is kept after the row is on
 *     disk, and a line without a kept answer is computed again after a crash.
 * B3  The front looks at a line's envelope only; the body goes to the engine as it came.
 *
 * Owner: the loop; a thread of batch_run.c writes. */
#ifndef FRONT_BATCHES_H
#define FRONT_BATCHES_H
#include "base/err.h"

#include <stdint.h>

struct front;
struct batches;
struct http_exchange;
struct route;

/* dir: where they rest; key_file: the key they are sealed with, made when missing. Goes on with what was under way. */
struct batches *batches_new(struct front *f, const char *dir, const char *key_file, const uint8_t *key,
                            struct err *e); /* key: 32 bytes of the keeper's; NULL: the file's */
void batches_free(struct batches *b);
void batches_start(struct batches *b); /* the loop runs from now on */
void batches_drain(struct batches *b); /* starts no more lines */
int batches_busy(const struct batches *b); /* lines with an engine now */

void answer_files(struct front *f, struct http_exchange *x, const struct route *r);
void answer_file(struct front *f, struct http_exchange *x, const struct route *r);
void answer_batches(struct front *f, struct http_exchange *x, const struct route *r);
void answer_batch(struct front *f, struct http_exchange *x, const struct route *r);
#endif
