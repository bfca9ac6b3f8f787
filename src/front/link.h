/* link -- one engine process and the socket to it: started, greeted, listened to, started again when it dies; or, far
 * away, a model that workers of the fleet have.
 *
 *   OFF --link_start--> LOADING --its hello--> READY --dies--> DOWN (again after a pause that doubles up to 30 s)
 *    |                     `--hello that is not ready, or dies--> DOWN
 *    |--link_measure--> MEASURING --hello with what the model needs--> LEAVING
 *   any --link_stop--> LEAVING --the process is gone--> OFF
 *
 * A far link is READY while a worker may be asked, else DOWN; it starts and stops nothing. Its calls are exchanges of
 * the gateway (fleet/gateway.h), with the same frames.
 *
 * Owned by the front's loop thread. An exchange with the engine is a link_call inside somebody's struct. */
#ifndef FRONT_LINK_H
#define FRONT_LINK_H
#include "base/json.h"
#include "fleet/gateway.h"
#include "front/spill_file.h"
#include "net/loop.h"
#include "wire/frame.h"

enum link_state { LINK_DOWN, LINK_LOADING, LINK_READY, LINK_OFF, LINK_MEASURING, LINK_LEAVING };
enum { LINK_CALLS_MAX = 65536, LINK_PENDING_MAX = 256 << 20 };

struct link;
struct link_call {
    uint64_t id, seq_out, seq_in;
    void (*frame)(struct link_call *c, const struct frame *f); /* end and error close the call before this runs */
    void (*lost)(struct link_call *c, const char *why);        /* the engine died; the call is closed */
    void *arg;
    struct fleet_call far;                                     /* a far link's: the exchange */
    struct link *far_of;                                       /* open at this far link; NULL: it is not */
};

typedef void (*link_trust_fn)(void *arg, struct link *k, const json_t *said);
typedef enum err_code (*link_hello_fn)(void *arg, struct link *k, const char *model_path, json_t *hello, struct err *e);

struct link_spec {
    const char *model_id;
    const char *model_path;
    const json_t *options;     /* for hello's model.options; borrowed, read at each start */
    const char *const *argv;   /* the engine program; NULL: this program's own `engine` */
    const struct spill_files *spill; /* borrowed; NULL: none */
    link_hello_fn hello;       /* adds to the hello of every start; NULL: nothing to add */
    link_trust_fn trust;       /* a trust frame came; NULL: they are dropped */
};

typedef void (*link_changed_fn)(void *arg, struct link *k); /* its state or its loading */
struct link *link_new(struct loop *l, const struct link_spec *spec, link_changed_fn changed, void *arg);
struct link *link_far_new(struct fleet_gateway *g, const char *model_id, link_changed_fn changed, void *arg);
/* What the fleet has of this model now. facts: copied by reference; NULL: as before. */
void link_far_set(struct link *k, bool ready, const json_t *facts);
bool link_is_far(const struct link *k);
void link_free(struct link *k);  /* closes the socket, waits a moment for the process, then kills it */
void link_start(struct link *k);   /* from OFF: spawns; from then on it looks after itself until link_stop */
void link_measure(struct link *k); /* from OFF: an engine that reads the file's plan and ends: see link_needs */
/* The engine sees the end of its input, finishes what it must and exits; killed when it takes too long. Calls that are
 * open are lost. */
void link_stop(struct link *k);

enum link_state link_state(const struct link *k);
const char *link_model_id(const struct link *k);
const char *link_model_path(const struct link *k);
double link_loading(const struct link *k);       /* 0..1 while loading */
const char *link_fault(const struct link *k);    /* why it is down; "" when it is not */
bool link_refused(const struct link *k);         /* the engine itself said that it cannot serve this model */
int link_failures(const struct link *k);         /* starts since the last one that became ready */
int64_t link_restarts(const struct link *k);
int64_t link_retry_s(const struct link *k);      /* what to put into Retry-After */
bool link_has_adapter(const struct link *k, const char *name); /* loaded, or named in its options */
bool link_adapter_fixed(const struct link *k, const char *name); /* named in its options */
void link_adapter_set(struct link *k, const char *name, bool there); /* in what link_facts says is loaded */
json_t *link_added(struct link *k);              /* adapters that came while it ran, name to file: adapters.c's */
const json_t *link_facts(const struct link *k);  /* hello's model object, or NULL */
const json_t *link_stats(const struct link *k);  /* the latest stats frame, or NULL */
/* Asked about each 50 ms: it is ready and gives no sign of life, or its step takes far longer than it was to. Only an
 * engine that was told of a fleet gives such signs; of others always false. */
bool link_stands(struct link *k);
const json_t *link_needs(const struct link *k);  /* what link_measure found, or NULL */
int link_calls(const struct link *k);            /* open ones */
const char *link_state_name(const struct link *k); /* "unloaded", "loading", "ready", "restarting", "unloading" */

const json_t *link_trust(const struct link *k);  /* hello's trust object, or NULL */

void link_say(struct link *k, enum frame_kind kind, const json_t *payload); /* outside any call; not ready: dropped */
/* Opens a call; false when the engine is not ready or has too much to read already. */
bool link_call_open(struct link *k, struct link_call *c);
/* The same of a far link; errors as of fleet_call_open. */
enum err_code link_far_open(struct link *k, struct link_call *c, const struct fleet_ask *ask, struct err *e);
/* A request: its head, as FRAME_REQUEST has it, and its body of any length. */
void link_call_request(struct link *k, struct link_call *c, const json_t *head, const char *body, size_t n);
void link_call_send(struct link *k, struct link_call *c, enum frame_kind kind, uint16_t flags, const void *payload,
                    size_t n);
/* The same with a descriptor, which stays the caller's; false: too many are on their way. */
bool link_call_send_fd(struct link *k, struct link_call *c, enum frame_kind kind, const void *payload, size_t n,
                       int fd);
void link_call_close(struct link *k, struct link_call *c); /* nothing more is heard of it; closing twice is fine */
#endif
