/* bus -- see bus.h. The part that all implementations share: arguments checked, the one chosen. */
#include "fleet/bus_impl.h"

#include <string.h>

enum { SUBJECT_MAX = 255 };

struct bus *bus_open(struct loop *l, const struct bus_options *o, const struct bus_events *events, void *arg,
                     struct err *e)
{
    if (o->url && (!strncmp(o->url, "nats://", 7) || !strncmp(o->url, "tls://", 6)))
        return bus_nats_open(l, o, events, arg, e);
    err_set(e, ERR_INVALID, "\"%.100s\" is no address of a bus: give nats://HOST:PORT or tls://HOST:PORT",
            o->url ? o->url : "");
    return NULL;
}

void bus_close(struct bus *b)
{
    if (b)
        b->ops->close(b);
}

bool bus_is_up(const struct bus *b)
{
    return b->ops->is_up(b);
}

bool bus_subject_ok(const char *subject, bool wildcards)
{
    if (strnlen(subject, SUBJECT_MAX + 1) > SUBJECT_MAX)
        return false;
    for (const char *p = subject;; p++) { /* a word a round */
        size_t n = strcspn(p, ".");
        if (!n || strcspn(p, "*>") < n) {
            bool any = n == 1 && wildcards && (*p == '*' || (*p == '>' && !p[1]));
            if (!any)
                return false;
        }
        for (size_t i = 0; i < n; i++)
            if ((unsigned char)p[i] <= ' ' || p[i] == 127)
                return false;
        p += n;
        if (!*p)
            return true;
    }
}

struct bus_sub *bus_subscribe(struct bus *b, const char *subject, const char *queue, bus_message_fn fn, void *arg,
                              struct err *e)
{
    if (!bus_subject_ok(subject, true) || (queue && !bus_subject_ok(queue, false))) {
        err_set(e, ERR_INVALID, "\"%.100s\" cannot be subscribed to: a subject is words between dots", subject);
        return NULL;
    }
    return b->ops->subscribe(b, subject, queue, fn, arg);
}

void bus_unsubscribe(struct bus_sub *s)
{
    if (s)
        s->bus->ops->unsubscribe(s);
}

bool bus_publish(struct bus *b, const char *subject, const char *reply, const void *data, size_t n)
{
    return n <= BUS_MESSAGE_MAX && bus_subject_ok(subject, false) && (!reply || bus_subject_ok(reply, false)) &&
           b->ops->publish(b, subject, reply, data, n);
}
