/* planner -- the loop: optimise, check, simulate; where a service level fails plan for slower machines; again. */
#ifndef PLAN_PLANNER_H
#define PLAN_PLANNER_H
#include "plan/fleet.h"
#include "plan/optimise.h"
#include "plan/sense.h"

enum { PLANNER_ROUNDS_MAX = 6 };

struct planner_options {
    struct optimise_options optimise;
    bool simulate, sensitivity;
    void (*say)(void *arg, const char *line); /* the narration, a line at a time; may be NULL */
    void *arg;
};
struct plan {
    struct scenario *s;               /* borrowed; its derate is what the last round planned with */
    struct optimise_result result;
    struct cost cost;
    struct slo_report slo;
    struct sense sense;
    int rounds;
    bool simulated, has_sense;
};
/* ERR_CORRUPT when the checker finds the solver's answer wrong; then nothing is kept. */
enum err_code planner_run(struct scenario *s, const struct planner_options *o, struct plan *out, struct err *e);
void plan_release(struct plan *p);
#endif
