/* pulse -- tells the front each 50 ms that this process lives and how long its step has been running, from a thread
 * that waits for no step: {"pulse":{"step_ms","expected_ms"}} in a stats frame. 0: no step runs; nobody knows.
 *
 * In a fleet only: the front tells gateways of an engine that stands, and they begin its requests elsewhere too. */
#ifndef ENGINE_PULSE_H
#define ENGINE_PULSE_H
#include "engine/link.h"
#include "sched/sched.h"

struct pulse;
/* Borrows both until pulse_stop. NULL: no thread was to be had, and there is no pulse. */
struct pulse *engine_pulse_start(struct link *l, const struct sched *s);
void engine_pulse_stop(struct pulse *p); /* NULL: nothing */
#endif
