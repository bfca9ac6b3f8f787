/* simulate -- tokenworks simulate: the fleet alone, seeded and replayable: will it hold, with failures,
    at this load? */
#include "cmd/cmd.h"

#include "base/buf.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/progress.h"
#include "cmd/simulate_trace.h"
#include "plan/fleet.h"
#include "plan/optimise.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct simulate_options {
    const char *trace, *quarter;
    struct opt_strings what_if, units;
    double seconds, load, speed;
    int64_t seed, sample, requests, prompt_tokens, max_tokens;
    bool exact, failures, site_failures, json;
};

static const struct opt rows[] = {
    { "units", 'u', OPT_STRINGS, "HARDWARE@SITE=N", "the fleet, instead of the planned one; may be repeated",
      OPT_FIELD(struct simulate_options, units), 0, 0 },
    { "quarter", 'q', OPT_STRING, "2027-Q1", "which quarter's demand (default: the last)",
      OPT_FIELD(struct simulate_options, quarter), 0, 0 },
    { "trace", 0, OPT_STRING, "FILE",
     "replay recorded requests (Azure CSV, Mooncake JSON lines) for the first demand",
      OPT_FIELD(struct simulate_options, trace), 0, 0 },
    { "speed", 0, OPT_FLOAT, "X", "play the trace this many times faster (default 1)",
      OPT_FIELD(struct simulate_options, speed), 1e-6, 1e6 },
    { "requests", 'r', OPT_INT, "N", "of the trace the first N", OPT_FIELD(struct simulate_options, requests), 1, 1e9 },
    { "prompt-tokens", 'p', OPT_INT, "N", "longest prompt of the trace",
      OPT_FIELD(struct simulate_options, prompt_tokens), 1, 1e9 },
    { "max-tokens", 'n', OPT_INT, "N", "longest answer of the trace", OPT_FIELD(struct simulate_options, max_tokens), 1,
      1e9 },
    { "seconds", 's', OPT_FLOAT, "S", "simulated time (default: what percentiles need)",
      OPT_FIELD(struct simulate_options, seconds), 0, 1e9 },
    { "load", 'l', OPT_FLOAT, "X", "times the peak hour's rate (default 1)", OPT_FIELD(struct simulate_options,
        load), 0, 1e6 },
    { "seed", 0, OPT_INT, "N", "of every draw (default: the scenario's)", OPT_FIELD(struct simulate_options, seed),
     -1, 9e15 },
    { "exact", 0, OPT_FLAG, NULL, "one event per step of each engine", OPT_FIELD(struct simulate_options, exact), 0,
     0 },
    { "sample", 'k', OPT_INT, "K", "let one request stand for K (default: chosen from the batch sizes)",
      OPT_FIELD(struct simulate_options, sample), 0, 1e6 },
    { "failures", 0, OPT_FLAG, NULL, "devices and units fail (default; --no-failures)",
      OPT_FIELD(struct simulate_options, failures), 0, 0 },
    { "site-failures", 0, OPT_FLAG, NULL, "whole sites fail too", OPT_FIELD(struct simulate_options, site_failures),
     0, 0 },
    { "what-if", 0, OPT_STRINGS, "PATH=VALUE", "change one input; may be repeated",
      OPT_FIELD(struct simulate_options, what_if), 0, 0 },
    { "json", 0, OPT_FLAG, NULL, "print the result as JSON", OPT_FIELD(struct simulate_options, json), 0, 0 },
    { 0 },
};
const struct opt_command cmd_simulate_spec = {
    "simulate", "[options] SCENARIO.yaml",
        "simulate a scenario's fleet under its load: percentiles, throughput, failures",
    "Without --units the scenario is planned first and the planned fleet simulated. The same seed gives the same\n"
    "result. --exact takes one event per step; else steps with nothing to decide are taken together and, in large\n"
    "fleets, one request stands for K.", rows,
};

/* --units h200x8@north=2: these machines, from the first quarter on; flows by capacity. */
static enum err_code set_units(struct scenario *s, const struct opt_strings *units, struct err *e)
{
    for (int i = 0; i < units->count; i++) {
        char text[160], *at, *eq, *end;
        snprintf(text, sizeof text, "%s", units->v[i]);
        at = strchr(text, '@');
        eq = at ? strchr(at, '=') : NULL;
        if (!eq)
            return err_set(e, ERR_INVALID, "--units '%.80s': write it like h200x8@north=2", units->v[i]);
        *at = *eq = '\0';
        int h = 0, l = 0;
        while (h < s->hw_count && strcmp(s->hw[h].id, text))
            h++;
        while (l < s->site_count && strcmp(s->sites[l].id, at + 1))
            l++;
        double n = strtod(eq + 1, &end);
        if (h == s->hw_count || l == s->site_count || *end || !(n >= 0 && n <= 1e6))
            return err_set(e, ERR_INVALID, "--units '%.80s': no such hardware or site here, or no count",
                           units->v[i]);
        s->sites[l].existing[h] = floor(n);
        s->sites[l].existing_until[h] = QUARTERS_MAX;
        s->sites[l].power = fmax(s->sites[l].power, 1e12);
    }
    return ERR_OK;
}

static void forbid_orders(struct scenario *s)
{
    for (int i = 0; i < s->supplier_count; i++)
        for (int h = 0; h < s->hw_count; h++)
            s->suppliers[i].offers[h].given = false;
    s->rules.survive_site_loss = 0;
}

static enum err_code find_quarter(const struct scenario *s, const char *name, int *t, struct err *e)
{
    char q[16];
    *t = s->quarters - 1;
    for (int k = 0; name && k < s->quarters; k++) {
        scenario_quarter_name(s, k, q);
        if (!strcmp(q, name)) {
            *t = k;
            return ERR_OK;
        }
    }
    return name ? err_set(e, ERR_INVALID, "%.20s is not one of the scenario's quarters", name) : ERR_OK;
}

/* ---- what came out */

static json_t *estimates(const struct sim_estimate v[3])
{
    static const char *const names[3] = { "p50", "p90", "p99" };
    json_t *out = json_object();
    for (int i = 0; i < 3; i++)
        json_object_set_new(out, names[i], json_pack("{s:f,s:o}", "ms", v[i].value, "half_width",
                            isfinite(v[i].half_width) ? json_real(v[i].half_width) : json_null()));
    return out;
}

static json_t *result_json(const struct scenario *s, const struct sim_config *c, const struct sim_result *r,
                           const int *demand_of, const int *hw)
{
    json_t *streams = json_array(), *groups = json_array();
    for (int i = 0; i < c->stream_count; i++) {
        const struct sim_stream_result *v = &r->streams[i];
        json_array_append_new(streams, json_pack("{s:s,s:f,s:f,s:f,s:f,s:o,s:o,s:o}", "demand",
            s->demands[demand_of[i]].id, "arrived", v->arrived, "finished", v->finished, "lost", v->lost,
                "tokens_per_s",
            v->tokens_per_s, "ttft", estimates(v->ttft_ms), "itl", estimates(v->itl_ms), "e2e",
                estimates(v->e2e_ms)));
    }
    for (int g = 0; g < c->group_count; g++) {
        const struct sim_group_result *v = &r->groups[g];
        json_array_append_new(groups, json_pack("{s:s,s:s,s:i,s:f,s:f,s:f,s:f,s:f,s:f,s:f}", "hardware",
                                                s->hw[hw[g]].id,
            "site", s->sites[c->groups[g].site].id, "engines", c->groups[g].engines, "tokens_per_s", v->tokens_per_s,
            "busy", v->busy, "batch_mean", v->batch_mean, "up", v->up, "preemptions", v->preemptions, "kv_peak",
            v->kv_peak, "prefix_hit", v->prefix_hit));
    }
    return json_pack("{s:s,s:I,s:i,s:f,s:f,s:f,s:I,s:f,s:f,s:o,s:o}", "scenario", s->id, "seed", (json_int_t)c->seed,
                     "sample", c->sample, "seconds", c->seconds, "warmup_s", c->warmup_s, "tokens_per_s",
                         r->tokens_per_s,
                     "events", (json_int_t)r->events, "wall_s", r->wall_s, "failures", r->failures, "streams",
                         streams,
                     "groups", groups);
}

static void print_estimates(const char *what, const struct sim_estimate v[3])
{
    printf("  %-12s", what);
    for (int i = 0; i < 3; i++) {
        printf(" %10.1f", v[i].value);
        if (isfinite(v[i].half_width))
            printf(" +-%-7.1f", v[i].half_width);
        else
            printf("          ");
    }
    puts("");
}

static void print_result(const struct scenario *s, const struct sim_config *c, const struct sim_result *r,
                         const int *demand_of, const int *hw)
{
    printf("%.0f s simulated, %.0f s of them warm-up; seed %llu; %s", c->seconds, c->warmup_s,
           (unsigned long long)c->seed,
           c->coalesce ? "steps taken together" : "exact");
    printf(c->sample > 1 ? ", one request stands for %d\n" : "\n", c->sample);
    for (int i = 0; i < c->stream_count; i++) {
        const struct sim_stream_result *v = &r->streams[i];
        const struct plan_slo *slo = &s->slos[s->demands[demand_of[i]].slo];
        bool holds = v->ttft_ms[2].value <= slo->ttft_ms && v->itl_ms[2].value <= slo->itl_ms && v->lost == 0;
        printf("\n%s: %.0f requests, %.0f output tok/s; %s (limits %g and %g ms)\n", s->demands[demand_of[i]].id,
               v->arrived,
               v->tokens_per_s, holds ? "holds" : "DOES NOT HOLD", slo->ttft_ms, slo->itl_ms);
        if (v->lost > 0)
            printf("  %.0f requests were too large for any engine's memory\n", v->lost);
        printf("  ms                  p50                p90                p99\n");
        print_estimates("first token", v->ttft_ms);
        print_estimates("next token", v->itl_ms);
        print_estimates("whole", v->e2e_ms);
    }
    printf("\nengines                                tok/s    busy   batch     up  KV peak  preempted  prefix hits\n");
    for (int g = 0; g < c->group_count; g++) {
        const struct sim_group_result *v = &r->groups[g];
        printf("%4d %-14.14s %-14.14s %10.0f %5.0f %% %7.1f %5.1f %% %5.0f %% %10.0f %8.1f %%\n",
               c->groups[g].engines,
               s->hw[hw[g]].id, s->sites[c->groups[g].site].id, v->tokens_per_s, 100 * v->busy, v->batch_mean, 100 *
                   v->up,
               100 * v->kv_peak, v->preemptions, 100 * v->prefix_hit);
    }
    printf("\n%.0f output tok/s in all, %.0f failures, %lld events in %.2f s (%.2g a second)\n", r->tokens_per_s,
           r->failures,
           (long long)r->events, r->wall_s, (double)r->events / fmax(r->wall_s, 1e-9));
}

/* Takes v. */
static void show_json(json_t *v, const struct load_report *replayed)
{
    if (replayed)
        json_object_set_new(v, "runs", json_pack("[o]", load_report_json(replayed)));
    json_dumpf(v, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(10));
    puts("");
    json_decref(v);
}

static void show(const struct scenario *s, const struct sim_config *c, const struct sim_result *r,
                 const int *demand_of, const int *hw, const struct load_report *replayed)
{
    print_result(s, c, r, demand_of, hw);
    if (!replayed)
        return;
    printf("\nas tokenworks load measures it:\n");
    load_report_print_head();
    load_report_print(replayed);
}

static void on_progress(void *arg, double simulated_s)
{
    progress_update(arg, (int64_t)simulated_s);
}

static enum err_code run(const struct simulate_options *o, struct scenario *s, struct err *e)
{
    struct optimise_options oo = { .gap = 0.01, .seconds = 120, .threads = 2 };
    struct optimise_result plan = { 0 };
    struct sim_config *c = MEM_NEW(struct sim_config);
    struct sim_result *r = MEM_NEW(struct sim_result);
    struct simulate_trace trace = { .speed = 0 };
    struct simulate_trace_options to = { o->trace, o->speed, o->requests, o->prompt_tokens, o->max_tokens };
    int demand_of[SIM_STREAMS_MAX], hw[SIM_GROUPS_MAX], t;
    struct fleet_options fo = { .failures = o->failures, .site_failures = o->site_failures, .exact = o->exact,
        .sample = (int)o->sample, .seconds = o->seconds, .load = o->load, .seed = o->seed >= 0 ? (uint64_t)o->seed :
            s->seed };
    enum err_code code = find_quarter(s, o->quarter, &t, e);
    code = code ? code : set_units(s, &o->units, e);
    if (!code && o->units.count)
        forbid_orders(s);
    code = code ? code : optimise(s, &oo, &plan, e);
    if (!code) {
        fleet_config(&plan.decision, t, &fo, c, demand_of, hw);
        if (!c->stream_count)
            code = err_set(e, ERR_INVALID,
                           "no machine serves anything in that quarter; name a later one or give --units");
    }
    if (!code && o->trace && !(code = simulate_trace_open(&to, &trace, e)))
        simulate_trace_play(&trace, o->seconds, c);
    if (!code) {
        struct progress p;
        progress_start(&p, "simulating", (int64_t)c->seconds);
        c->progress = on_progress;
        c->arg = &p;
        code = sim_run(c, r, e);
        progress_end(&p);
    }
    if (!code) {
        struct load_report report, *replayed = simulate_trace_report(&trace, &report) ? &report : NULL;
        json_t *v = o->json ? result_json(s, c, r, demand_of, hw) : NULL;
        if (v)
            show_json(v, replayed);
        else
            show(s, c, r, demand_of, hw, replayed);
    }
    decision_release(&plan.decision);
    simulate_trace_release(&trace);
    mem_free(c);
    mem_free(r);
    return code;
}

int cmd_simulate(int argc, char **argv)
{
    int count;
    struct simulate_options o = { .load = 1, .speed = 1, .seed = -1, .failures = true };
    enum opt_result r = opt_parse(&cmd_simulate_spec, argc, argv, &o, &count);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (count != 1) {
        fprintf(stderr, "tokenworks simulate: give one scenario file (tokenworks simulate --help)\n");
        return 2;
    }
    struct mistakes m = { 0 };
    struct err e = { 0 };
    struct scenario *s = scenario_load_file(argv[1], o.what_if.v, o.what_if.count, &m);
    int rc = 0;
    if (!s) {
        fprintf(stderr, "%stokenworks simulate: the scenario has mistakes\n", buf_str(&m.text));
        rc = 1;
    } else if (run(&o, s, &e)) {
        rc = cmd_fail(&cmd_simulate_spec, &e);
    }
    mistakes_release(&m);
    scenario_free(s);
    return rc;
}
