/* metric -- see metric.h. */
#include "engine/metric.h"

#include "base/json.h"

static const struct {
    const char *name;
    double bounds[METRIC_BUCKETS];
} histograms[METRIC_HISTOGRAMS] = {
    [METRIC_TTFT] = { "time_to_first_token_seconds",
                      { .005, .01, .025, .05, .1, .2, .3, .5, .75, 1, 2, 4, 8, 16, 32, 64 } },
    [METRIC_ITL] = { "inter_token_latency_seconds",
                     { .001, .002, .004, .006, .01, .015, .025, .05, .075, .1, .15, .2, .3, .5, 1, 2 } },
    [METRIC_E2E] = { "e2e_request_latency_seconds",
                     { .05, .1, .2, .3, .5, .8, 1, 2, 4, 8, 15, 30, 60, 120, 240, 480 } },
    [METRIC_QUEUE] = { "request_queue_time_seconds",
                       { .001, .005, .01, .025, .05, .1, .2, .3, .5, 1, 2, 4, 8, 16, 32, 64 } },
    [METRIC_PREFILL] = { "request_prefill_time_seconds",
                         { .005, .01, .025, .05, .1, .2, .3, .5, .75, 1, 2, 4, 8, 16, 32, 64 } },
    [METRIC_DECODE] = { "request_decode_time_seconds",
                        { .05, .1, .2, .3, .5, .8, 1, 2, 4, 8, 15, 30, 60, 120, 240, 480 } },
    [METRIC_PROMPT] = { "request_prompt_tokens",
                        { 1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5 } },
    [METRIC_OUTPUT] = { "request_generation_tokens",
                        { 1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5 } },
    [METRIC_STEP_ROWS] = { "iteration_tokens_total",
                           { 1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512 } },
};

void engine_metric_observe(struct metric *m, enum metric_histogram h, double value)
{
    int i = 0;
    while (i < METRIC_BUCKETS && value > histograms[h].bounds[i])
        i++;
    m->histograms[h].counts[i]++;
    m->histograms[h].sum += value;
}

static json_t *histogram_json(const struct metric *m, int h)
{
    json_t *le = json_array(), *counts = json_array();
    for (int i = 0; i < METRIC_BUCKETS; i++)
        json_array_append_new(le, json_real(histograms[h].bounds[i]));
    for (int i = 0; i <= METRIC_BUCKETS; i++)
        json_array_append_new(counts, json_integer(m->histograms[h].counts[i]));
    return json_pack("{s:o, s:o, s:f}", "le", le, "counts", counts, "sum", m->histograms[h].sum);
}

static void update_rates(struct metric *m, const struct sched_stats *s, int64_t now_ns)
{
    int64_t computed = s->prompt_tokens - s->cached_tokens;
    if (m->last_ns && now_ns > m->last_ns) {
        double seconds = (double)(now_ns - m->last_ns) / 1e9;
        m->decode_rate = (double)(s->completion_tokens - m->last_completion) / seconds;
        m->prefill_rate = (double)(computed - m->last_prompt) / seconds;
    }
    m->last_ns = now_ns;
    m->last_completion = s->completion_tokens;
    m->last_prompt = computed;
}

/* Seconds, as Prometheus wants them; the planner's are ms. */
static void put_step_time(json_t *gauges, const struct steptime_model *m)
{
    json_t *fit = json_pack("{s:f, s:f, s:f, s:f, s:f}", "step_time_a_seconds", m->a / 1e3, "step_time_b_seconds",
                            m->b / 1e3, "step_time_c_seconds", m->c / 1e3, "step_time_d_seconds", m->d / 1e3,
                            "step_time_e_seconds", m->e / 1e3);
    json_object_update_new(gauges, fit);
}

void engine_metric_json(struct metric *m, const struct sched_stats *s, int64_t now_ns, struct buf *out)
{
    update_rates(m, s, now_ns);
    json_t *counters = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f}",
        "prompt_tokens_total", (json_int_t)s->prompt_tokens, "prompt_tokens_cached_total", (json_int_t)s->cached_tokens,
        "generation_tokens_total", (json_int_t)s->completion_tokens, "steps_total", (json_int_t)s->steps,
        "step_rows_total", (json_int_t)s->rows, "preemptions_total", (json_int_t)s->parked,
        "requests_total", (json_int_t)m->requests, "requests_cancelled_total", (json_int_t)m->cancelled,
        "deadlines_total", (json_int_t)m->deadlines, "deadlines_refused_total", (json_int_t)m->deadlines_refused,
        "deadlines_missed_total", (json_int_t)m->deadlines_missed, "step_seconds_total", (double)s->step_ns / 1e9);
    json_object_set_new(counters, "prefix_cache_queries_total", json_integer(s->prompt_tokens)); /* in tokens */
    json_object_set_new(counters, "prefix_cache_hits_total", json_integer(s->cached_tokens));
    if (m->spill) {
        json_object_set_new(counters, "kv_spill_pages_saved_total", json_integer(m->spill->saved));
        json_object_set_new(counters, "kv_spill_pages_loaded_total", json_integer(m->spill->loaded));
        json_object_set_new(counters, "kv_spill_pages_damaged_total", json_integer(m->spill->damaged));
    }
    if (s->drafted) {
        json_object_set_new(counters, "spec_decode_num_draft_tokens_total", json_integer(s->drafted));
        json_object_set_new(counters, "spec_decode_num_accepted_tokens_total", json_integer(s->accepted));
    }
    json_t *gauges = json_pack("{s:i, s:i, s:i, s:i, s:i, s:f, s:f}",
        "num_requests_running", s->running, "num_requests_waiting", s->waiting, "kv_pages", s->kv_pages,
        "kv_pages_used", s->kv_pages_used, "kv_pages_idle", s->kv_pages_idle,
        "generation_tokens_per_second", m->decode_rate, "prefill_tokens_per_second", m->prefill_rate);
    json_object_set_new(gauges, "prefill_backlog_tokens", json_integer(s->prefill_backlog));
    double used = s->kv_pages ? (double)s->kv_pages_used / s->kv_pages : 0;
    json_object_set_new(gauges, "kv_cache_usage_perc", json_real(used));
    put_step_time(gauges, &s->step_time);
    json_t *hists = json_object();
    for (int h = 0; h < METRIC_HISTOGRAMS; h++)
        json_object_set_new(hists, histograms[h].name, histogram_json(m, h));
    json_t *all = json_pack("{s:o, s:o, s:o}", "counters", counters, "gauges", gauges, "histograms", hists);
    jsonx_dump(all, out);
    json_decref(all);
}
