/* introduce -- an engine and the evidence are made known to each other, at every start of an engine.
 *
 * The engine hears in its hello which weights were signed, which policy holds, and its epoch; when it is ready a node
 * note says what runs and under which key it takes sealed requests. Without evidence everything here does nothing.
 *
 * A key serves for an epoch; then the engine makes another, which is certified and logged before anybody is shown it:
 *
 *   SERVING --epoch over: "renew"--> ASKED --its key--> NOTED --in the published log--> SERVING, the old one for
 *                                                                        a grace more --"retire"--> gone
 * Owner: the loop. */
#ifndef FRONT_INTRODUCE_H
#define FRONT_INTRODUCE_H
#include "base/json.h"
#include "front/trustlog.h"

struct front;
struct link;
struct introductions;

struct introductions *introductions_new(struct front *f);
void introductions_free(struct introductions *t);

/* A link_hello_fn; front is the struct front. Adds "trust" to the hello. */
enum err_code introduce_hello(void *front, struct link *k, const char *path, json_t *hello, struct err *e);
void introduce_ready(struct front *f, struct link *k);
/* A far link's: a worker of the fleet has it from a file of that hash (64 hex digits, or ""). still: and somebody has
 * the one that was introduced before. */
void introduce_far(struct front *f, struct link *k, const char *hash, bool still);
bool introduce_weights(const struct front *f, const struct link *k, char hex[HASH_HEX + 1]); /* which were introduced */
void introduce_said(void *front, struct link *k, const json_t *said);           /* a link_trust_fn */
void introduce_changed(void *front);                                            /* what holds has changed */
void introduce_offered(void *front, int slot, uint64_t epoch);                  /* trustlog_options.offered */
const char *introduce_stopped(const struct front *f, const struct link *k);     /* why it is not served; NULL: it is */
/* What TW-Node may say of it: "boot.epoch", newest first. How many. */
enum { INTRODUCE_NODES = 2, INTRODUCE_NODE_MAX = 128 };
int introduce_nodes(const struct front *f, const struct link *k, char out[INTRODUCE_NODES][INTRODUCE_NODE_MAX + 1]);
bool introduce_takes_sealed(const struct front *f); /* an engine here does */
const struct trustlog_model *introduce_model(const struct front *f, const struct link *k); /* never NULL */
int introduce_slot(const struct front *f, const struct link *k); /* for trustlog_offer; -1: never started */
struct link *introduce_link(const struct front *f, uint8_t key_id); /* whose sealed requests have this key; or NULL */
bool introduce_numerics(const struct front *f, const struct link *k, uint8_t out[HASH_BYTES]);
#endif
