/* fake_bus -- bus.h without a server, in one process: what is published arrives in order, a turn of the loop later.
 * A test that includes it links this instead of bus_nats.c. It can be taken away, and made to lose messages. */
#ifndef TESTS_FLEET_FAKE_BUS_H
#define TESTS_FLEET_FAKE_BUS_H
#include "base/mem.h"
#include "fleet/bus.h"

#include <string.h>

enum { FAKE_SUBS = 32 };

struct bus {
    struct loop *loop;
    struct bus_sub *subs[FAKE_SUBS];
    bool up;
    /* true: this message is lost on the way, though publish said that it went. */
    bool (*loses)(const char *subject, const char *data, size_t n);
};

struct bus_sub {
    struct bus *bus;
    char subject[256];
    bus_message_fn fn;
    void *arg;
};

struct fake_message {
    struct bus *bus;
    char *subject, *reply, *data;
    size_t n;
};

static bool fake_matches(const char *pattern, const char *subject)
{
    while (*pattern && *subject) {
        if (*pattern == '*') {
            pattern++;
            subject += strcspn(subject, ".");
        } else if (*pattern++ != *subject++) {
            return false;
        }
    }
    return !*pattern && !*subject;
}

static void fake_deliver(void *arg)
{
    struct fake_message *m = arg;
    struct bus_message out = { m->subject, m->reply, m->data, m->n };
    for (int i = 0; i < FAKE_SUBS; i++) {
        struct bus_sub *s = m->bus->subs[i];
        if (s && fake_matches(s->subject, m->subject))
            s->fn(s->arg, &out);
    }
    mem_free(m->subject);
    mem_free(m->reply);
    mem_free(m->data);
    mem_free(m);
}

bool bus_is_up(const struct bus *b)
{
    return b->up;
}

struct bus_sub *bus_subscribe(struct bus *b, const char *subject, const char *queue, bus_message_fn fn, void *arg,
                              struct err *e)
{
    struct bus_sub *s = MEM_NEW(struct bus_sub);
    *s = (struct bus_sub){ .bus = b, .fn = fn, .arg = arg };
    snprintf(s->subject, sizeof s->subject, "%s", subject);
    for (int i = 0; i < FAKE_SUBS; i++)
        if (!b->subs[i])
            return b->subs[i] = s;
    err_set(e, ERR_LIMIT, "too many subscriptions");
    mem_free(s);
    return NULL;
}

void bus_unsubscribe(struct bus_sub *s)
{
    for (int i = 0; i < FAKE_SUBS; i++)
        if (s->bus->subs[i] == s)
            s->bus->subs[i] = NULL;
    mem_free(s);
}

bool bus_publish(struct bus *b, const char *subject, const char *reply, const void *data, size_t n)
{
    if (!b->up || n > BUS_MESSAGE_MAX)
        return false;
    if (b->loses && b->loses(subject, data, n))
        return true;
    struct fake_message *m = MEM_NEW(struct fake_message);
    *m = (struct fake_message){ b, mem_strdup(subject), mem_strdup(reply ? reply : ""), mem_new(1, n + 1), n };
    memcpy(m->data, data, n);
    loop_post(b->loop, fake_deliver, m);
    return true;
}
#endif
