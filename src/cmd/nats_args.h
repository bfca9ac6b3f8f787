/* nats_args -- the options by which a command that is neither server nor gateway reaches a fleet's bus. */
#ifndef CMD_NATS_ARGS_H
#define CMD_NATS_ARGS_H
#include "base/opt.h"
#include "fleet/bus.h"

struct nats_args {
    const char *url, *creds, *ca, *cert, *key;
};
#define NATS_ARGS_DEFAULT { .url = "nats://127.0.0.1:4222" }

/* Rows of an option table; `field` is the struct nats_args in the command's own struct. */
#define NATS_ROWS(type, field) \
    { "nats", 0, OPT_STRING, "URL", "the site's NATS server (nats://127.0.0.1:4222)", OPT_FIELD(type, field.url), 0, \
      0 }, \
    { "nats-creds", 0, OPT_STRING, "FILE", "NATS credentials", OPT_FIELD(type, field.creds), 0, 0 }, \
    { "nats-ca", 0, OPT_STRING, "FILE", "PEM: who signed the bus's certificate", OPT_FIELD(type, field.ca), 0, 0 }, \
    { "nats-cert", 0, OPT_STRING, "FILE", "PEM certificate shown to the bus", OPT_FIELD(type, field.cert), 0, 0 }, \
    { "nats-key", 0, OPT_STRING, "FILE", "PEM key of that certificate", OPT_FIELD(type, field.key), 0, 0 }

static inline struct bus_options nats_bus(const struct nats_args *a, const char *name)
{
    return (struct bus_options){ .url = a->url, .name = name, .creds = a->creds, .ca = a->ca, .cert = a->cert,
                                 .key = a->key };
}
#endif
