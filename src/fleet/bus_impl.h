/* bus_impl -- what an implementation of the bus gives; bus.c chooses one by the URL. For bus*.c alone. */
#ifndef FLEET_BUS_IMPL_H
#define FLEET_BUS_IMPL_H
#include "fleet/bus.h"

struct bus_ops {
    void (*close)(struct bus *b);
    bool (*is_up)(const struct bus *b);
    struct bus_sub *(*subscribe)(struct bus *b, const char *subject, const char *queue, bus_message_fn fn, void *arg);
    void (*unsubscribe)(struct bus_sub *s);
    bool (*publish)(struct bus *b, const char *subject, const char *reply, const void *data, size_t n);
};

struct bus {                      /* first in an implementation's own struct */
    const struct bus_ops *ops;
};

struct bus_sub {                  /* the same */
    struct bus *bus;
};

/* Words between dots, none of them empty or with white space; * as a whole word, > as the last one. */
bool bus_subject_ok(const char *subject, bool wildcards);

struct bus *bus_nats_open(struct loop *l, const struct bus_options *o, const struct bus_events *events, void *arg,
                          struct err *e);
#endif
