/* clock -- time, passed in where it matters so that tests can turn it. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H
#include <stdint.h>

int64_t clock_mono_ns(void); /* monotonic: durations, timeouts */
int64_t clock_wall_s(void);  /* Unix seconds: what goes into records */
int64_t clock_wall_ns(void);
#endif
