/* post -- see post.h. */
#include "fleet/post.h"

#include "base/buf.h"
#include "base/mem.h"
#include "fleet/subject.h"

#include <stdio.h>
#include <string.h>

struct post {
    struct bus *bus;
    struct loop_timer *end_of_turn;
    struct buf frames;
    char subject[FLEET_SUBJECT_MAX], reply[FLEET_SUBJECT_MAX]; /* of frames */
};

static void flush(void *arg)
{
    struct post *p = arg;
    if (p->frames.len)
        bus_publish(p->bus, p->subject, p->reply, p->frames.data, p->frames.len);
    buf_clear(&p->frames);
}

struct post *post_new(struct loop *l, struct bus *b)
{
    struct post *p = MEM_NEW(struct post);
    p->bus = b;
    p->end_of_turn = loop_timer_new(l, flush, p);
    return p;
}

void post_free(struct post *p)
{
    if (!p)
        return;
    flush(p);
    loop_timer_free(p->end_of_turn);
    buf_release(&p->frames);
    mem_free(p);
}

bool post_frames(struct post *p, const char *subject, const char *reply, const char *frames, size_t n)
{
    bool joins = !strcmp(p->subject, subject) && !strcmp(p->reply, reply) && p->frames.len + n <= POST_BYTES_MAX;
    if (!joins)
        flush(p); /* what was written first is sent first */
    if (n > POST_BYTES_MAX || !bus_is_up(p->bus))
        return bus_publish(p->bus, subject, reply, frames, n);
    if (!p->frames.len) {
        snprintf(p->subject, sizeof p->subject, "%s", subject);
        snprintf(p->reply, sizeof p->reply, "%s", reply);
        loop_timer_soon(p->end_of_turn);
    }
    buf_append(&p->frames, frames, n);
    return true;
}
