/* bus_nats -- the bus on a NATS server: the loop's side. nats_line.h has the other one.
 *
 * Owner: the loop's thread. I1: a message finds its subscription by (slot, serial), so that one for a subscription that
 * is gone finds none. */
#include "fleet/bus_impl.h"
#include "fleet/nats_line.h"

#include "base/assert.h"
#include "base/mem.h"

#include <sys/eventfd.h>
#include <unistd.h>

enum { BATCH = 256, SLOT_BITS = 16 }; /* so many events, then others on the loop have their turn */

struct nats_sub {
    struct bus_sub base;
    uint64_t id;                  /* serial << SLOT_BITS | slot */
    bus_message_fn fn;
    void *arg;
};

struct nats_bus {
    struct bus base;
    struct bus_events events;
    void *arg;
    struct nats_line *line;
    int wake_fd;
    struct loop_watch *watch;
    struct line_event *todo;      /* taken from the line, not yet told */
    bool up, telling;
    struct nats_sub **subs;       /* [slots] */
    int slots;
    uint64_t serial;
};

static struct nats_sub *sub_of(const struct nats_bus *b, uint64_t id)
{
    uint64_t slot = id & ((1u << SLOT_BITS) - 1);
    struct nats_sub *s = slot < (uint64_t)b->slots ? b->subs[slot] : NULL;
    return s && s->id == id ? s : NULL;
}

static void tell(struct nats_bus *b, const struct line_event *ev)
{
    struct nats_sub *s;
    switch (ev->kind) {
    case LINE_MESSAGE:
        s = sub_of(b, ev->sub);
        if (s)
            s->fn(s->arg, &ev->m);
        break;
    case LINE_UP:
        b->up = true;
        if (b->events.up)
            b->events.up(b->arg);
        break;
    case LINE_DOWN:
        b->up = false;
        if (b->events.down)
            b->events.down(b->arg, ev->text);
        break;
    case LINE_REFUSED:
        if (b->events.refused)
            b->events.refused(b->arg, ev->text);
        break;
    }
}

static void ring(struct nats_bus *b)
{
    uint64_t one = 1;
    ssize_t n = write(b->wake_fd, &one, sizeof one); /* EAGAIN: it rings already */
    (void)n;
}

static void heard(void *arg)
{
    struct nats_bus *b = arg;
    uint64_t rings;
    if (read(b->wake_fd, &rings, sizeof rings) < 0)
        return;
    b->telling = true;
    for (int i = 0; i < BATCH; i++) {
        if (!b->todo)
            b->todo = nats_line_take(b->line);
        struct line_event *ev = b->todo;
        if (!ev)
            break;
        b->todo = ev->next;
        tell(b, ev);
        nats_line_give_back(b->line, ev);
    }
    b->telling = false;
    if (b->todo)
        ring(b);
}

static void nats_close(struct bus *base)
{
    struct nats_bus *b = (struct nats_bus *)base;
    ASSERT(!b->telling); /* not from inside a callback */
    for (struct line_event *ev; (ev = b->todo);) {
        b->todo = ev->next;
        nats_line_give_back(b->line, ev);
    }
    if (b->line)
        nats_line_close(b->line);
    loop_watch_free(b->watch);
    if (b->wake_fd >= 0)
        close(b->wake_fd);
    for (int i = 0; i < b->slots; i++)
        mem_free(b->subs[i]);
    mem_free(b->subs);
    mem_free(b);
}

static bool nats_is_up(const struct bus *base)
{
    return ((const struct nats_bus *)base)->up;
}

static int free_slot(struct nats_bus *b)
{
    for (int i = 0; i < b->slots; i++)
        if (!b->subs[i])
            return i;
    int at = b->slots, grown = b->slots ? 2 * b->slots : 16;
    ASSERT(grown <= 1 << SLOT_BITS);
    b->subs = mem_grow(b->subs, (size_t)grown, sizeof *b->subs);
    for (int i = at; i < grown; i++)
        b->subs[i] = NULL;
    b->slots = grown;
    return at;
}

static struct bus_sub *nats_subscribe(struct bus *base, const char *subject, const char *queue, bus_message_fn fn,
                                      void *arg)
{
    struct nats_bus *b = (struct nats_bus *)base;
    struct nats_sub *s = MEM_NEW(struct nats_sub);
    int slot = free_slot(b);
    *s = (struct nats_sub){ .base.bus = base, .id = ++b->serial << SLOT_BITS | (uint64_t)slot, .fn = fn, .arg = arg };
    b->subs[slot] = s;
    nats_line_subscribe(b->line, s->id, subject, queue);
    return &s->base;
}

static void nats_unsubscribe(struct bus_sub *base)
{
    struct nats_sub *s = (struct nats_sub *)base;
    struct nats_bus *b = (struct nats_bus *)base->bus;
    ASSERT(sub_of(b, s->id) == s);
    nats_line_unsubscribe(b->line, s->id);
    b->subs[s->id & ((1u << SLOT_BITS) - 1)] = NULL;
    mem_free(s);
}

static bool nats_publish(struct bus *base, const char *subject, const char *reply, const void *data, size_t n)
{
    struct nats_bus *b = (struct nats_bus *)base;
    return b->up && nats_line_publish(b->line, subject, reply, data, n);
}

struct bus *bus_nats_open(struct loop *l, const struct bus_options *o, const struct bus_events *events, void *arg,
                          struct err *e)
{
    static const struct bus_ops ops = { nats_close, nats_is_up, nats_subscribe, nats_unsubscribe, nats_publish };
    struct nats_bus *b = MEM_NEW(struct nats_bus);
    *b = (struct nats_bus){ .base.ops = &ops, .events = *events, .arg = arg };
    b->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (b->wake_fd < 0)
        err_errno(e, "cannot make an eventfd for the bus");
    else
        b->line = nats_line_open(o, b->wake_fd, e);
    if (!b->line) {
        nats_close(&b->base);
        return NULL;
    }
    b->watch = loop_watch_new(l, b->wake_fd, heard, b);
    return &b->base;
}
