/* simulate_trace -- recorded requests for a simulation, cut as `tokenworks load` cuts them, and what became of each
 * in load's own figures, so that the two can be laid side by side. */
#ifndef CMD_SIMULATE_TRACE_H
#define CMD_SIMULATE_TRACE_H
#include "cmd/load_report.h"
#include "plan/sim.h"

struct simulate_trace {
    struct trace trace;
    struct load_run run;  /* samples as load would have taken them */
    double speed;
    struct sim_watch watch;
    bool watched;         /* every engine tells what becomes of its requests: run is filled */
};

struct simulate_trace_options {
    const char *path;
    double speed;
    int64_t requests, prompt_tokens, max_tokens; /* 0: as recorded */
};

enum err_code simulate_trace_open(const struct simulate_trace_options *o, struct simulate_trace *t, struct err *e);
/* The first stream of c plays the trace, alone; t stays where it is until the simulation is over. seconds 0: all. */
void simulate_trace_play(struct simulate_trace *t, double seconds, struct sim_config *c);
/* After the simulation; false when the engines told nothing. */
bool simulate_trace_report(struct simulate_trace *t, struct load_report *out);
void simulate_trace_release(struct simulate_trace *t);
#endif
