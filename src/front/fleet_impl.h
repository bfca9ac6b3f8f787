/* fleet_impl -- what fleet.c and fleet_host.c share. Nobody else includes this. */
#ifndef FRONT_FLEET_IMPL_H
#define FRONT_FLEET_IMPL_H
#include "base/sha256.h"
#include "fleet/worker.h"
#include "front/fleet.h"
#include "front/front_impl.h"
#include "trust/code.h"

struct host_call;
struct front_fleet {
    struct front *front;
    struct fleet_place me;
    struct bus *bus;
    struct fleet_gateway *gateway; /* NULL: not one */
    struct fleet_limits *limits;   /* NULL: each gateway counts for itself */
    struct fleet_bills *bills;     /* NULL: they stay here */
    struct fleet_worker *worker;   /* NULL: not one */
    const struct fleet_options *o;
    uint8_t secret[SHA256_BYTES];
    uint8_t build[HASH_BYTES];
    int64_t up_ns;                 /* 0: the bus was never reached */
    char down[ERR_TEXT_MAX];       /* why the bus is away; "" when it is not */
    struct host_call *calls;       /* fleet_host.c's */
    struct host_prefixes *prefixes;
    uint64_t stood;                /* bit i: the i-th model's engine stands, as last told; fleet_host.c's */
};

/* fleet_host.c */
enum err_code host_open(struct front_fleet *t, struct err *e);
void host_close(struct front_fleet *t);
#endif
