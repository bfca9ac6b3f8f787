/* events -- the future of a simulation: a heap ordered by (ns, order of scheduling), so that a run replays. */
#ifndef PLAN_EVENTS_H
#define PLAN_EVENTS_H
#include <stdbool.h>
#include <stdint.h>

struct event {
    int64_t at_ns;
    uint64_t seq;     /* given by events_push: ties go to who was scheduled first */
    int32_t kind, who;
    uint32_t version; /* of `who`: an event of an older version is stale and skipped */
};

struct events {
    struct event *heap; /* 4-ary */
    int count, cap;
    uint64_t next_seq;
};

void events_push(struct events *q, int64_t at_ns, int kind, int who, uint32_t version);
bool events_pop(struct events *q, struct event *out); /* false when empty */
void events_release(struct events *q);
#endif
