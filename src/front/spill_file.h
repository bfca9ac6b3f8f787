/* spill_file -- where an engine keeps pages of its prefix cache beyond memory: STATE/spill/HASH.kv, one for each model,
 * under a storage key of the keeper, or without one under STATE/spill.key (0600, made when missing). The engine gets
 * descriptor and key, no path. */
#ifndef FRONT_SPILL_FILE_H
#define FRONT_SPILL_FILE_H
#include "base/err.h"
#include "base/json.h"

#include <stdint.h>

struct spill_files {
    const char *state;     /* the state folder */
    int64_t bytes;         /* a file's; 0: no spill */
    /* Who holds the storage keys, one for each model; NULL: they are in the file named above. */
    enum err_code (*key)(void *arg, const char *model_id, uint8_t *out, struct err *e);
    void *arg;
};
/* Adds `spill` to the hello; *fd is the caller's to close, -1: no spill. */
enum err_code spill_file_open(const struct spill_files *s, const char *model_id, json_t *hello, int *fd, struct err *e);
#endif
