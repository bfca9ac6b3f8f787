/* gateway_impl -- what gateway.c keeps and exchange*.c, state.c use of it. */
#ifndef FLEET_GATEWAY_IMPL_H
#define FLEET_GATEWAY_IMPL_H
#include "fleet/catalog.h"
#include "fleet/exchange.h"
#include "fleet/post.h"

enum {
    GATEWAY_EXCHANGES_MAX = 65536,
    GATEWAY_PEERS_MAX = 64,
    GATEWAY_CANCELS_MAX = 4096,
    GATEWAY_BODIES_MAX = 1 << 30, /* bytes of requests kept, in case that they must be sent again */
    GATEWAY_TICK_MS = 50,
};

struct gateway_peer {             /* another gateway, or this one */
    struct fleet_place place;
    uint64_t boot;
    int64_t heard_ms;
};

struct gateway_cancel {           /* that the bus did not take */
    struct fleet_place at;
    uint64_t id;
    uint32_t attempt;
};

struct fleet_gateway {
    struct loop *loop;
    struct bus *bus;
    struct fleet_place me;
    struct fleet_gateway_events events;
    void *arg;
    uint64_t boot;
    char inbox[FLEET_SUBJECT_MAX];
    struct bus_sub *subs[3];      /* inbox, workers' beats, gateways' */
    struct loop_timer *tick;
    struct post *post;            /* frames of work */
    struct roster *roster;
    struct catalog catalog;
    struct prefixes *known;
    struct rng dice;
    enum route_policy policy;
    struct fleet_exchange **xs;   /* [slots]; an id is serial << 16 | slot */
    int slots, hint, open;
    int64_t bodies_bytes;
    uint64_t serial;
    bool was_up;
    char asked[FLEET_JURISDICTIONS_MAX][FLEET_NAME_MAX + 1]; /* where requests were allowed to go so far */
    int asked_count;
    int64_t down_ms, beat_ms, rtt_ms; /* when: the bus went away, we last beat, and measured */
    bool catalog_stale;           /* changed() came: told at the end of what is going on */
    struct gateway_cancel cancels[GATEWAY_CANCELS_MAX];
    int cancel_count;
    struct gateway_peer peers[GATEWAY_PEERS_MAX];
    int peer_count;
    uint64_t turned_id;           /* the last frame nobody waited for: whose, */
    int64_t turned_ms;            /* and when its worker was told */
    int64_t resumed, failed, refused;
};

int64_t gateway_now_ms(void);
/* A frame to a subject; to a worker. false: the bus did not take it. */
bool gateway_publish_to(struct fleet_gateway *g, const char *subject, const struct frame *f);
bool gateway_publish(struct fleet_gateway *g, const struct fleet_place *to, const struct frame *f);
void gateway_cancel_later(struct fleet_gateway *g, const struct fleet_place *to, uint64_t id, uint32_t attempt);
bool gateway_has(const struct fleet_gateway *g, uint64_t id); /* the exchange is not over */
/* For the worker of a running exchange, each tick: one that was silent for a moment is asked for a sign. true: it is
 * under suspicion. */
bool gateway_knock(struct fleet_gateway *g, uint32_t serial, const char *model);
void gateway_forget(struct fleet_gateway *g, struct fleet_exchange *x); /* out of the table; freed */
#endif
