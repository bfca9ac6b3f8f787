/* lease_bucket -- the key-value bucket that shared limits stand in. For lease.c, and for who makes it before any
 * gateway needs it: where permissions hold, gateways may read and write it, not make it. */
#ifndef FLEET_LEASE_BUCKET_H
#define FLEET_LEASE_BUCKET_H
#include <nats/nats.h>

#define LEASE_BUCKET "tw_quota"

/* Made when it is not there. name NULL: LEASE_BUCKET; replicas 0: 1. */
natsStatus lease_bucket_need(jsCtx *js, const char *name, int replicas);
#endif
