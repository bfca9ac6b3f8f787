/* load_report -- see load_report.h. Percentiles are the nearest rank: a value that was measured. */
#include "cmd/load_report.h"

#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double ns_per_ms = 1e6, ns_per_s = 1e9;

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static double rank(const float *sorted, size_t n, double share)
{
    size_t i = (size_t)ceil(share * (double)n);
    return sorted[i ? i - 1 : 0];
}

/* Sorts v. */
static struct load_spread spread(float *v, size_t n)
{
    struct load_spread s = { .count = n };
    if (n == 0)
        return s;
    qsort(v, n, sizeof(*v), by_value);
    for (size_t i = 0; i < n; i++)
        s.mean += v[i];
    s.mean /= (double)n;
    s.p50 = rank(v, n, 0.50);
    s.p90 = rank(v, n, 0.90);
    s.p99 = rank(v, n, 0.99);
    s.max = v[n - 1];
    return s;
}

void load_report_make(const struct load_run *r, double speed, struct load_report *out)
{
    struct load_report o = { .concurrency = r->concurrency, .speed = speed, .requests = r->count,
                             .wall_s = (double)r->wall_ns / ns_per_s,
                             .late_ms_max = (double)r->late_ns_max / ns_per_ms };
    float *ttft = mem_new((size_t)r->count, sizeof(*ttft)), *whole = mem_new((size_t)r->count, sizeof(*whole));
    float *per_token = mem_new((size_t)r->count, sizeof(*per_token));
    size_t n = 0, m = 0;
    for (int i = 0; i < r->count; i++) {
        const struct load_sample *s = &r->samples[i];
        o.refused += s->outcome == LOAD_REFUSED;
        o.broken += s->outcome == LOAD_BROKEN;
        o.cut_short += s->outcome == LOAD_SHORT;
        o.pending += s->outcome == LOAD_PENDING;
        if (s->outcome != LOAD_DONE)
            continue;
        o.done++;
        o.without_usage += !s->has_usage;
        o.prompt_tokens += s->prompt_tokens;
        o.cached_tokens += s->cached_tokens;
        o.output_tokens += s->output_tokens;
        ttft[n] = (float)((double)(s->first - s->due) / ns_per_ms);
        whole[n++] = (float)((double)(s->end - s->due) / ns_per_ms);
        if (s->output_tokens > 1)
            per_token[m++] = (float)((double)(s->last - s->first) / ns_per_ms / (s->output_tokens - 1));
    }
    o.ttft = spread(ttft, n);
    o.whole = spread(whole, n);
    o.per_token = spread(per_token, m);
    o.gap = spread(r->gaps_ms, r->gap_count);
    memcpy(o.first_error, r->first_error, sizeof(o.first_error));
    mem_free(ttft);
    mem_free(whole);
    mem_free(per_token);
    *out = o;
}

static double per_s(double count, double seconds)
{
    return seconds > 0 ? count / seconds : 0;
}

void load_report_print_head(void)
{
    printf("%-12s %6s %6s  %-24s  %-24s  %-24s %9s %9s %7s\n", "", "", "", "TTFT ms", "ITL ms", "end to end ms",
           "output", "prompt", "");
    printf("%-12s %6s %6s  %7s %8s %7s  %7s %8s %7s  %7s %8s %7s %9s %9s %7s\n", "load", "done", "errors", "p50", "p90",
           "p99", "p50", "p90", "p99", "p50", "p90", "p99", "tok/s", "tok/s", "req/s");
}

static void print_spread(const struct load_spread *s)
{
    printf("  %7.1f %8.1f %7.1f", s->p50, s->p90, s->p99);
}

void load_report_print(const struct load_report *r)
{
    char name[32];
    if (r->concurrency)
        snprintf(name, sizeof(name), "%d at once", r->concurrency);
    else
        snprintf(name, sizeof(name), "trace x%g", r->speed);
    printf("%-12s %6d %6d", name, r->done, r->refused + r->broken + r->cut_short);
    print_spread(&r->ttft);
    print_spread(&r->gap);
    print_spread(&r->whole);
    printf(" %9.1f %9.1f %7.2f\n", per_s((double)r->output_tokens, r->wall_s),
           per_s((double)r->prompt_tokens, r->wall_s), per_s(r->done, r->wall_s));
    if (r->first_error[0])
        printf("  first error: %s\n", r->first_error);
    if (r->without_usage)
        printf("  %d answers reported no usage: their tokens are events counted\n", r->without_usage);
    if (r->pending)
        printf("  stopped: %d requests not finished\n", r->pending);
    if (r->late_ms_max > 100)
        printf("  this program sent up to %.0f ms late: the figures are worse than the server\n", r->late_ms_max);
    fflush(stdout);
}

static json_t *spread_json(const struct load_spread *s)
{
    return json_pack("{s:f,s:f,s:f,s:f,s:f,s:I}", "mean", s->mean, "p50", s->p50, "p90", s->p90, "p99", s->p99, "max",
                     s->max, "count", (json_int_t)s->count);
}

json_t *load_report_json(const struct load_report *r)
{
    json_t *j = json_object();
    if (r->concurrency)
        json_object_set_new(j, "concurrency", json_integer(r->concurrency));
    else
        json_object_set_new(j, "speed", json_real(r->speed));
    json_object_set_new(j, "requests", json_integer(r->requests));
    json_object_set_new(j, "completed", json_integer(r->done));
    json_object_set_new(j, "errors", json_pack("{s:i,s:i,s:i}", "refused", r->refused, "broken", r->broken, "cut_short",
                                               r->cut_short));
    if (r->first_error[0])
        json_object_set_new(j, "first_error", json_string(r->first_error));
    json_object_set_new(j, "not_finished", json_integer(r->pending));
    json_object_set_new(j, "without_usage", json_integer(r->without_usage));
    json_object_set_new(j, "wall_s", json_real(r->wall_s));
    json_object_set_new(j, "late_ms_max", json_real(r->late_ms_max));
    json_object_set_new(j, "prompt_tokens", json_integer(r->prompt_tokens));
    json_object_set_new(j, "cached_tokens", json_integer(r->cached_tokens));
    json_object_set_new(j, "output_tokens", json_integer(r->output_tokens));
    json_object_set_new(j, "output_tokens_per_s", json_real(per_s((double)r->output_tokens, r->wall_s)));
    json_object_set_new(j, "prompt_tokens_per_s", json_real(per_s((double)r->prompt_tokens, r->wall_s)));
    json_object_set_new(j, "requests_per_s", json_real(per_s(r->done, r->wall_s)));
    json_object_set_new(j, "ttft_ms", spread_json(&r->ttft));
    json_object_set_new(j, "itl_ms", spread_json(&r->gap));
    json_object_set_new(j, "per_token_ms", spread_json(&r->per_token));
    json_object_set_new(j, "end_to_end_ms", spread_json(&r->whole));
    return j;
}
