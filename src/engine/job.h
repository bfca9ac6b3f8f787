/* job -- one request in the engine: its choices in the scheduler, its response frames on the way out.
 *
 *   engine_job_start -> [start events] head, usage -> [token events] data ... -> [last finish] data, end -> freed
 *
 * Response bytes gather in `out` during a step and leave as one data frame after it (job_flush).
 * Owner: the step thread. */
#ifndef ENGINE_JOB_H
#define ENGINE_JOB_H
#include "engine/link.h"
#include "engine/metric.h"
#include "sched/sched.h"

struct job_table; /* all jobs, by exchange id */

struct job_table *engine_job_table_new(struct sched *s, struct link *l, struct metric *m);
void engine_job_table_free(struct job_table *t); /* cancels what runs */
int engine_job_count(const struct job_table *t);

/* Takes m->job and m->sealed. Refused (queue full): the client gets 503. */
void engine_job_start(struct job_table *t, struct message *m);
void engine_job_cancel(struct job_table *t, uint64_t id, uint32_t attempt);
/* The signed receipt of a sealed exchange: the rest of its answer leaves. */
void engine_job_receipt(struct job_table *t, uint64_t id, uint32_t attempt, struct span note);
void engine_job_credit(struct job_table *t, uint64_t id, uint32_t attempt, uint32_t credit);
/* After each step: sends what gathered, frees what ended. */
void engine_job_flush_all(struct job_table *t);
#endif
