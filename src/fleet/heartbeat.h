/* heartbeat -- what a worker says of itself four times a second: who, since when, which models, how busy.
 *
 * {"v":1, "boot":"<16 hex>", "draining":false, "rate_ms":250,
 *  "models":[{"id", "hash":"<64 hex of the file>", "numerics":"<64 hex>", "ctx", "aliases":[..],
 *             "running", "waiting", "kv_pages", "kv_pages_free", "prefill_backlog", "tokens_per_s", "steps",
 *             "prefixes":["<16 hex>",..],           hottest beginnings, as gateways named them (request head "prefix")
 *             "outside":true,                        an outside provider's (provider.h); absent: the house's own
 *             "stands":true,                         its engine gives no sign of life; absent: it does. Told at once
 *             "facts":{..}}]}                        the engine's hello; only each two seconds and when it changed
 *
 * tokens_per_s: prompt and completion tokens computed in the last second or so. steps: the engine's step counter; a
 * worker whose counter stands still while something runs is as dead as one that is silent. */
#ifndef FLEET_HEARTBEAT_H
#define FLEET_HEARTBEAT_H
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    HEARTBEAT_MS = 250, HEARTBEAT_MISSED = 3, HEARTBEAT_MODELS_MAX = 64, HEARTBEAT_PREFIXES_MAX = 64,
    HEARTBEAT_ID_MAX = 256, GATEWAY_HEARTBEAT_MS = 1000, ORPHAN_MS = 4500,
};

struct heartbeat_model {
    char id[HEARTBEAT_ID_MAX];
    char hash[65], numerics[65];          /* hex; "" when unknown: nothing is then resumed there */
    int64_t ctx, running, waiting, kv_pages, kv_pages_free, prefill_backlog, steps;
    double tokens_per_s;
    uint64_t prefixes[HEARTBEAT_PREFIXES_MAX];
    int prefix_count;
    bool outside, stands;
    json_t *aliases, *facts;              /* owned; facts NULL: as before */
};

struct heartbeat {
    uint64_t boot;
    bool draining;
    struct heartbeat_model *models;       /* [model_count], owned */
    int model_count;
};

void heartbeat_write(const struct heartbeat *h, struct buf *out);
/* What came from elsewhere is hostile: every field is checked. ERR_INVALID with a sentence. */
enum err_code heartbeat_read(const char *text, size_t n, struct heartbeat *out, struct err *e);
void heartbeat_release(struct heartbeat *h);
#endif
