/* models -- all the models this server offers: by which names they are found, and which of them have an engine now.
 * Those of other machines' workers (link_is_far) are among them: they are ready or not, and never loaded or unloaded.
 *
 * models.c has the list (from the command line, a folder that is read again when a name is not known); swap.c decides
 * who is in memory. A request that names a model waits with a model_wait until its engine is ready:
 *
 *   OFF --wanted--> measured once --its need fits--> LOADING --> READY --nobody needs it and memory is short--> OFF
 *
 * S1  What loaded models need, together, stays within the limit (0: none, and nothing is ever measured or unloaded
 *     for memory). An engine that is leaving counts until its process is gone.
 * S2  An engine with an open call is never stopped to make room. When everything is busy and a request has waited for
 *     a while, the one loaded longest takes no new requests until it is done; those wait their turn. Who has waited
 *     longest loads first, so nobody starves.
 *
 * Owner: the loop's thread. Callbacks of a wait never run inside models_want or models_released. */
#ifndef FRONT_MODELS_H
#define FRONT_MODELS_H
#include "base/buf.h"
#include "base/json.h"
#include "front/error.h"
#include "front/front.h"
#include "front/link.h"

enum { MODEL_WAITS_MAX = 1024 };

struct models;
struct models_options {
    struct loop *loop;
    const struct front_options *front;    /* borrowed; its models are the first ones */
    link_changed_fn changed;              /* after models has seen it */
    link_hello_fn hello;                  /* adds to the hello of an engine that is to serve */
    link_trust_fn trust;                  /* what an engine says of its keys */
    void *arg;
    /* The server can never do what it was started for; not called once an engine has been ready. */
    void (*hopeless)(void *arg, const char *why);
};
struct models *models_new(const struct models_options *o);
void models_free(struct models *m);
void models_start(struct models *m);      /* loads those that are to be there from the start */

int models_count(const struct models *m);
struct link *models_link(const struct models *m, int i);
/* "" and "default": the first. By id, then by alias; an unknown name has the folder read again. NULL: unknown. */
struct link *models_find(struct models *m, const char *name);
void models_rescan(struct models *m);
/* A model that workers of the fleet have, and no engine of ours: it is in the list from now on, and offered while
 * ready. facts: borrowed, NULL: as before. */
void models_far_set(struct models *m, struct fleet_gateway *g, const char *id, bool ready, const json_t *facts);
bool models_offered(const struct models *m, int i);                   /* false: a far one that nobody has now */
void models_names(const struct models *m, struct buf *out);           /* "a, b, c and 7 more" */
const char *models_path(const struct models *m, int i);               /* of its file */
const char *models_alias(const struct models *m, int i, int n);       /* NULL past the last */
bool models_expected(const struct models *m, int i);                  /* loaded from the start: /health waits for it */
int64_t models_need_bytes(const struct models *m, int i);             /* 0: not measured */
int64_t models_memory_limit(const struct models *m);                  /* 0: none */
bool models_loaded(const struct models *m, int i);                    /* has an engine, or soon */

struct model_wait {
    void (*ready)(void *arg);             /* the engine takes calls now; both forget the wait first */
    void (*refused)(void *arg, const struct error *e, int64_t retry_s);
    void *arg;
    struct model_wait *next;              /* models' own from here on */
    int model;                            /* -1: not waiting */
    int64_t since_ns;
};
/* true: ready now, and w is not kept. false: one of the callbacks follows, unless models_forget. */
bool models_want(struct models *m, struct link *k, struct model_wait *w);
void models_forget(struct models *m, struct model_wait *w);           /* the client left; not waiting is fine */
void models_released(struct models *m, struct link *k);               /* a call of it was closed */

/* By an operator. unload: false when it is pinned. load brings in the engine as if a request had asked. */
void models_load(struct models *m, struct link *k);
bool models_unload(struct models *m, struct link *k);

void models_metrics(const struct models *m, struct buf *out);         /* Prometheus' text */
#endif
