/* queue -- a bounded first-in-first-out of pointers between threads.
 *
 * Thread-safe. Whoever pushes gives the pointer away; whoever pops owns it. */
#ifndef BASE_QUEUE_H
#define BASE_QUEUE_H
#include <stdbool.h>
#include <stdint.h>

struct queue;

struct queue *queue_new(int capacity);
void queue_free(struct queue *q);               /* items still inside are not freed: drain it first */
bool queue_try_push(struct queue *q, void *item); /* false when full or closed */
bool queue_push(struct queue *q, void *item);     /* waits for room; false when closed */
void *queue_try_pop(struct queue *q);             /* NULL when empty */
void *queue_pop(struct queue *q, int64_t wait_ms); /* NULL on time-out, or closed and empty; -1: no time-out */
void queue_close(struct queue *q);                /* wakes everybody; what is inside can still be popped */
int queue_count(struct queue *q);
#endif
