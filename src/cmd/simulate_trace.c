/* simulate_trace -- see simulate_trace.h. */
#include "cmd/simulate_trace.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>

static int32_t at_most(int32_t n, int64_t most)
{
    return most && n > most ? (int32_t)most : n;
}

static void on_start(void *arg, int at, int cached_tokens)
{
    struct simulate_trace *t = arg;
    t->run.samples[at].cached_tokens = cached_tokens;
}

static void on_token(void *arg, int at, int64_t ns)
{
    struct simulate_trace *t = arg;
    struct load_sample *s = &t->run.samples[at];
    if (s->chunks++)
        load_run_gap(&t->run, ns - s->last);
    else
        s->first = ns;
    s->last = s->end = ns;
    s->output_tokens = s->chunks;
    if (s->chunks == t->trace.requests[at].output)
        s->outcome = LOAD_DONE;
    t->run.wall_ns = ns > t->run.wall_ns ? ns : t->run.wall_ns;
}

enum err_code simulate_trace_open(const struct simulate_trace_options *o, struct simulate_trace *t, struct err *e)
{
    *t = (struct simulate_trace){ .speed = o->speed };
    enum err_code c = trace_read(o->path, &t->trace, e);
    if (c)
        return c;
    t->trace.count = at_most(t->trace.count, o->requests);
    t->run.count = t->trace.count;
    t->run.samples = mem_new((size_t)t->trace.count, sizeof *t->run.samples);
    for (int i = 0; i < t->trace.count; i++) {
        struct trace_request *r = &t->trace.requests[i];
        r->input = at_most(r->input, o->prompt_tokens);
        r->output = at_most(r->output, o->max_tokens);
        t->run.samples[i] = (struct load_sample){ .due = (int64_t)((double)r->at_ns / o->speed), .has_usage = true,
                                                  .prompt_tokens = r->input };
    }
    struct trace_facts f;
    trace_facts(&t->trace, &f);
    fprintf(stderr, "trace: %d requests over %.0f s; prompt mean %.0f median %.0f, answer mean %.0f median %.0f",
            f.requests, f.seconds, f.input_mean, f.input_median, f.output_mean, f.output_median);
    fprintf(stderr, t->trace.hash_count ? "; %.1f %% of prefix blocks seen before\n" : "\n", 100 * f.prefix_hit);
    return ERR_OK;
}

void simulate_trace_play(struct simulate_trace *t, double seconds, struct sim_config *c)
{
    double length_s = (double)t->trace.requests[t->trace.count - 1].at_ns / 1e9 / t->speed;
    c->streams[0].trace = &t->trace;
    c->streams[0].trace_speed = t->speed;
    c->stream_count = 1;
    c->sample = 1;
    c->seconds = seconds > 0 ? seconds : length_s + 1e-3;
    c->warmup_s = fmin(c->warmup_s, c->seconds / 10);
    c->drain = true;
    t->watch = (struct sim_watch){ on_start, on_token, t };
    t->watched = true;
    for (int g = 0; g < c->group_count; g++) {
        t->watched = t->watched && c->groups[g].pace.on;
        if (t->trace.hash_count)
            c->groups[g].prefix_blocks = (int)fmin(1 << 24, (double)c->groups[g].kv_tokens / TRACE_BLOCK_TOKENS);
    }
    c->watch = &t->watch;
}

bool simulate_trace_report(struct simulate_trace *t, struct load_report *out)
{
    if (t->watched)
        load_report_make(&t->run, t->speed, out);
    return t->watched;
}

void simulate_trace_release(struct simulate_trace *t)
{
    trace_release(&t->trace);
    load_run_release(&t->run);
}
