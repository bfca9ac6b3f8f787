/* list -- the lists of sched_impl.h: insert, remove, sort. */
#include "sched/sched_impl.h"

/* From the tail: a new sequence is nearly always the last. */
void sched_list_insert(struct list *l, struct sched_seq *q, sched_before_fn *before)
{
    struct sched_seq *p = l->tail;
    while (p && before(&q->seat, &p->seat))
        p = p->prev;
    q->prev = p;
    q->next = p ? p->next : l->head;
    *(p ? &p->next : &l->head) = q;
    *(q->next ? &q->next->prev : &l->tail) = q;
    l->count++;
}

void sched_list_remove(struct list *l, struct sched_seq *q)
{
    *(q->prev ? &q->prev->next : &l->head) = q->next;
    *(q->next ? &q->next->prev : &l->tail) = q->prev;
    q->prev = q->next = NULL;
    l->count--;
}

/* Merges two chains that are linked by next alone; stable. */
static struct sched_seq *merge(struct sched_seq *a, struct sched_seq *b, sched_before_fn *before)
{
    struct sched_seq *head = NULL, **end = &head;
    while (a && b) {
        struct sched_seq **from = before(&b->seat, &a->seat) ? &b : &a;
        *end = *from;
        end = &(*end)->next;
        *from = (*from)->next;
    }
    *end = a ? a : b;
    return head;
}

/* A merge sort from the bottom up: runs[i] holds a chain of 2^i sequences or none. */
void sched_list_sort(struct list *l, sched_before_fn *before)
{
    struct sched_seq *runs[32] = { NULL }, *all = NULL;
    for (struct sched_seq *q = l->head, *next; q; q = next) {
        next = q->next;
        q->next = NULL;
        int i = 0;
        for (; runs[i]; i++) { /* ends: a list has fewer than 2^31 */
            q = merge(runs[i], q, before);
            runs[i] = NULL;
        }
        runs[i] = q;
    }
    for (int i = 0; i < 32; i++)
        all = runs[i] ? merge(runs[i], all, before) : all;
    l->head = all;
    l->tail = NULL;
    for (struct sched_seq *q = all; q; q = q->next) {
        q->prev = l->tail;
        l->tail = q;
    }
}
