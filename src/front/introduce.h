/* introduce -- an engine and the evidence are made known to each other, at every start of an engine.
 *
 * The engine hears in its hello which weights were signed, which policy holds, and its epoch; when it is ready a node
 * note says what runs and under which key it takes sealed requests. Without evidence everything here does nothing.
 * Owner: the loop. */
#ifndef FRONT_INTRODUCE_H
#define FRONT_INTRODUCE_H
#include "base/json.h"
#include "front/trustlog.h"

struct front;
struct link;
struct introductions;

struct introductions *introductions_new(void);
void introductions_free(struct introductions *t);

/* A link_hello_fn; front is the struct front. Adds "trust" to the hello. */
enum err_code introduce_hello(void *front, struct link *k, const char *path, json_t *hello, struct err *e);
void introduce_ready(struct front *f, struct link *k);
const struct trustlog_model *introduce_model(const struct front *f, const struct link *k); /* never NULL */
int introduce_slot(const struct front *f, const struct link *k); /* for trustlog_offer; -1: never started */
struct link *introduce_link(const struct front *f, uint8_t key_id); /* whose sealed requests have this key; or NULL */
bool introduce_numerics(const struct front *f, const struct link *k, uint8_t out[HASH_BYTES]);
#endif
