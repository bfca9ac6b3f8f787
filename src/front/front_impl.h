/* front_impl -- what the files of front/ share. Nobody else includes this. */
#ifndef FRONT_FRONT_IMPL_H
#define FRONT_FRONT_IMPL_H
#include "front/account.h"
#include "front/batches.h"
#include "front/error.h"
#include "front/fleet.h"
#include "front/fleet_limits.h"
#include "front/front.h"
#include "front/keys.h"
#include "front/introduce.h"
#include "front/link.h"
#include "front/models.h"
#include "front/notify.h"
#include "front/receipts.h"
#include "front/recent.h"
#include "front/repeat.h"
#include "front/signature.h"
#include "front/telemetry.h"

struct front;
struct relay;

enum method_bit { M_GET = 1, M_POST = 2, M_DELETE = 4 };

struct route {
    const char *path;           /* ending in '*': everything that begins so */
    unsigned methods;           /* method_bit; HEAD goes where GET goes */
    void (*answer)(struct front *f, struct http_exchange *x, const struct route *r);
    const char *id_prefix;      /* of response ids, for relayed ones */
    enum dialect dialect;
    bool open;                  /* asks for no key */
};

enum { METRIC_ROUTES_MAX = 64, METRIC_STATUS_FIRST = 100, METRIC_STATUS_END = 600, METRIC_BUCKETS = 12 };

struct metrics {
    int64_t requests[METRIC_ROUTES_MAX][METRIC_STATUS_END - METRIC_STATUS_FIRST]; /* by route index, status */
    int64_t seconds_buckets[METRIC_BUCKETS + 1];
    double seconds_sum;
    int64_t cancelled;
};

struct front {
    struct front_options options;
    struct loop *loop;
    struct http_server *server;
    struct keys *keys;
    struct accounts *accounts;            /* NULL: no ledger */
    struct trustlog *trust;               /* NULL: no evidence is kept */
    struct introductions *introductions;  /* of engines, to it */
    struct signatures *signatures;        /* of requests that are not sealed */
    struct asking *asking;                /* questions to it */
    struct adapter_call *adapter_calls;   /* questions to engines */
    struct waiting *waiting;              /* replies that wait for their receipt */
    struct batches *batches;              /* NULL: off */
    struct recents *recents;              /* requests to look at */
    struct repeats *repeats;              /* requests with an Idempotency-Key */
    struct models *models;
    struct front_fleet *fleet;            /* NULL: this machine alone */
    struct notify *notify;
    struct loop_timer *alive_timer;
    struct telemetry *telemetry;          /* NULL: none */
    struct relay *relays;                 /* in flight */
    int relay_count;
    bool draining, told_ready;
    struct loop_timer *drain_timer;
    int64_t drain_until_ns;
    struct metrics metrics;
    int64_t started_s;
    enum err_code result;
    struct err error;
};

/* routes.c */
void routes_head(struct http_exchange *x, void *front);
void routes_request(struct http_exchange *x, void *front);
const struct route *route_of(const struct http_exchange *x);          /* never NULL: the last one fits all */
const char *route_name(int index);                                    /* NULL past the end */
void front_reply_error(struct front *f, struct http_exchange *x, const struct error *e, const char *headers);
void front_reply_json(struct front *f, struct http_exchange *x, int status, const struct buf *body);
void front_reply_begin(struct front *f, struct http_exchange *x, const struct http_reply *r); /* CORS, counted */
void front_reply_bytes(struct front *f, struct http_exchange *x, const struct http_reply *r, const void *data,
                       size_t n);
void front_note(struct front *f, const struct http_exchange *x, int status);          /* the request's log line */
const char *front_tenant(const struct front *f, const struct http_head *h); /* whom the key names; "" when nobody */
struct link *front_find_model(struct front *f, const char *name);     /* models_find */
struct link *front_find_named(struct front *f, enum dialect d, const char *name); /* Ollama's NAME:latest too */

/* answers.c, admin.c, metrics.c, console.c, relay.c: the `answer` functions of the table */
bool answer_ready(const struct front *f);  /* every engine that is to be there is */
void answer_live(struct front *f, struct http_exchange *x, const struct route *r);
void answer_health(struct front *f, struct http_exchange *x, const struct route *r);
void answer_models(struct front *f, struct http_exchange *x, const struct route *r);
void answer_model(struct front *f, struct http_exchange *x, const struct route *r);
void answer_stats(struct front *f, struct http_exchange *x, const struct route *r);
void answer_metrics(struct front *f, struct http_exchange *x, const struct route *r);
void answer_console(struct front *f, struct http_exchange *x, const struct route *r);
void answer_unknown(struct front *f, struct http_exchange *x, const struct route *r);
void answer_requests(struct front *f, struct http_exchange *x, const struct route *r);
void answer_tco(struct front *f, struct http_exchange *x, const struct route *r);
void answer_load(struct front *f, struct http_exchange *x, const struct route *r);
void answer_admin(struct front *f, struct http_exchange *x, const struct route *r);
void answer_relay(struct front *f, struct http_exchange *x, const struct route *r);
void answer_sealed(struct front *f, struct http_exchange *x, const struct route *r);
void answer_response(struct front *f, struct http_exchange *x, const struct route *r);
void answer_tags(struct front *f, struct http_exchange *x, const struct route *r);
void answer_ps(struct front *f, struct http_exchange *x, const struct route *r);
void answer_show(struct front *f, struct http_exchange *x, const struct route *r);
void answer_version(struct front *f, struct http_exchange *x, const struct route *r);
void answer_pull(struct front *f, struct http_exchange *x, const struct route *r);
void answer_not_here(struct front *f, struct http_exchange *x, const struct route *r);

/* evidence.c: /v1/evidence, /v1/receipts/{id}, /log/... */
void answer_evidence(struct front *f, struct http_exchange *x, const struct route *r);
void answer_receipt(struct front *f, struct http_exchange *x, const struct route *r);
void answer_log(struct front *f, struct http_exchange *x, const struct route *r);
bool evidence_gone(struct front *f, const struct http_exchange *x); /* a client left before its answer */

/* fleet.c: GET /tokenworks/fleet, POST /tokenworks/fleet/drain */
void answer_fleet(struct front *f, struct http_exchange *x, const struct route *r);

/* load.c */
bool load_allowed(const struct front *f, const struct http_head *h); /* whether this key may manage models */

/* adapters.c */
bool adapters_path(struct http_slice path); /* /tokenworks/models/ID/adapters... */
void answer_adapters(struct front *f, struct http_exchange *x, const struct route *r);
void adapters_again(struct front *f, struct link *k); /* its engine has just become ready */
bool adapters_gone(struct front *f, const struct http_exchange *x);
void adapters_close(struct front *f);

/* metrics.c */
void metrics_count(struct front *f, int route_index, int status);
void metrics_seconds(struct front *f, double seconds);
void metrics_render(const struct front *f, struct buf *out);

/* responses.c: RESPONSE_MARK_BYTES characters and a NUL that tell the model of a response's id */
enum { RESPONSE_MARK_BYTES = 3 };
void response_mark(const char *model, char *out);

/* relay.c */
struct envelope;
void relay_start(struct front *f, struct http_exchange *x, const struct route *route, struct link *link,
                 const struct envelope *env);
void relay_gone(struct http_exchange *x, void *front);
void relay_drained(struct http_exchange *x, void *front);
void relay_cut_all(struct front *f, const char *why);  /* the drain's time is over */
#endif
