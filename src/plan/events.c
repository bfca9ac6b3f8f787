/* events -- see events.h. */
#include "plan/events.h"

#include "base/mem.h"

enum { ARITY = 4 };

static bool before(const struct event *a, const struct event *b)
{
    return a->at_ns < b->at_ns || (a->at_ns == b->at_ns && a->seq < b->seq);
}

void events_push(struct events *q, int64_t at_ns, int kind, int who, uint32_t version)
{
    if (q->count == q->cap) {
        q->cap = q->cap ? 2 * q->cap : 256;
        q->heap = mem_grow(q->heap, (size_t)q->cap, sizeof *q->heap);
    }
    struct event e = { at_ns, q->next_seq++, kind, who, version };
    int i = q->count++;
    while (i > 0 && before(&e, &q->heap[(i - 1) / ARITY])) {
        q->heap[i] = q->heap[(i - 1) / ARITY];
        i = (i - 1) / ARITY;
    }
    q->heap[i] = e;
}

bool events_pop(struct events *q, struct event *out)
{
    if (!q->count)
        return false;
    *out = q->heap[0];
    struct event e = q->heap[--q->count];
    int i = 0;
    for (;;) { /* bounded by the heap's depth */
        int first = ARITY * i + 1, least = first;
        if (first >= q->count)
            break;
        int last = first + ARITY < q->count ? first + ARITY : q->count;
        for (int k = first + 1; k < last; k++)
            if (before(&q->heap[k], &q->heap[least]))
                least = k;
        if (!before(&q->heap[least], &e))
            break;
        q->heap[i] = q->heap[least];
        i = least;
    }
    q->heap[i] = e;
    return true;
}

void events_release(struct events *q)
{
    mem_free(q->heap);
    *q = (struct events){ 0 };
}
