/* nats_options -- our options of a bus as the client library wants them. For nats_*.c and what uses its key-value
 * buckets; nobody else includes it. */
#ifndef FLEET_NATS_OPTIONS_H
#define FLEET_NATS_OPTIONS_H
#include "fleet/bus.h"

#include <nats/nats.h>

enum { NATS_SERVERS_MAX = 16, NATS_DIAL_MS = 2000, NATS_WRITE_MS = 2000, NATS_PING_MS = 1000, NATS_PINGS_OUT = 2 };

/* Addresses, credentials, TLS, pings; one attempt at each server, no reconnecting. NULL and *e: what was wrong. */
natsOptions *nats_options_new(const struct bus_options *o, struct err *e);
/* Whether TLS is to be spoken: an address says so, or there is an authority or a certificate. */
bool nats_options_tls(const struct bus_options *o);
/* The addresses without credentials, for sentences: "nats://a:4222,nats://b:4222". */
void nats_options_where(const struct bus_options *o, char *out, size_t n);
#endif
