/* metric -- the engine's counters and histograms, and the stats frame that carries them to the front.
 *
 * Names follow the field's usual ones (vLLM's), without prefix. Owner: the step thread. */
#ifndef ENGINE_METRIC_H
#define ENGINE_METRIC_H
#include "base/buf.h"
#include "engine/spill.h"
#include "sched/sched.h"

#include <stdint.h>

enum metric_histogram { METRIC_TTFT, METRIC_ITL, METRIC_E2E, METRIC_QUEUE, METRIC_PREFILL, METRIC_DECODE,
                        METRIC_PROMPT, METRIC_OUTPUT, METRIC_STEP_ROWS, METRIC_HISTOGRAMS };
enum { METRIC_BUCKETS = 16 };

struct metric {
    struct {
        int64_t counts[METRIC_BUCKETS + 1]; /* not cumulative; the last is above every bound */
        double sum;
    } histograms[METRIC_HISTOGRAMS];
    int64_t requests, cancelled, rejected;
    int64_t deadlines, deadlines_refused, deadlines_missed; /* taken, refused at once, passed all the same */
    int64_t last_ns, last_completion, last_prompt; /* for the rates */
    double decode_rate, prefill_rate;
    const struct spill_stats *spill; /* NULL: no spill */
};

void engine_metric_observe(struct metric *m, enum metric_histogram h, double value); /* seconds, or rows */
/* Appends {"counters":{..},"gauges":{..},"histograms":{..}}; rates are since the last call. */
void engine_metric_json(struct metric *m, const struct sched_stats *s, int64_t now_ns, struct buf *out);
#endif
