/* metrics -- /metrics in Prometheus' text format: the front's own counts, then each engine's stats frame as it is.
 *
 * A stats frame is {"counters":{name:number}, "gauges":{name:number}, "histograms":{name:{"le":[..],"counts":[..],
 * "sum":x}}}: counts are per bucket (not cumulative), one more than le, the last for everything above. Names become
 * tokenworks_<name> with the label model. */
#include "base/mem.h"
#include "front/front_impl.h"

#include <stdio.h>
#include <string.h>

static const double bounds[METRIC_BUCKETS] = { 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300 };

void metrics_count(struct front *f, int route_index, int status)
{
    if (route_index < METRIC_ROUTES_MAX && status >= METRIC_STATUS_FIRST && status < METRIC_STATUS_END)
        f->metrics.requests[route_index][status - METRIC_STATUS_FIRST]++;
}

void metrics_seconds(struct front *f, double seconds)
{
    int b = 0;
    while (b < METRIC_BUCKETS && seconds > bounds[b])
        b++;
    f->metrics.seconds_buckets[b]++;
    f->metrics.seconds_sum += seconds;
}

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    if (help)
        buf_printf(out, "# HELP tokenworks_%s %s\n", name, help);
    buf_printf(out, "# TYPE tokenworks_%s %s\n", name, type);
}

static void one(struct buf *out, const char *name, const char *type, const char *help, int64_t v)
{
    head(out, name, type, help);
    buf_printf(out, "tokenworks_%s %lld\n", name, (long long)v);
}

/* name{model="ID",more} with ID escaped as the format wants, which is JSON's way for all that a file name can hold. */
static void sample(struct buf *out, const char *name, const char *suffix, const struct link *k, const char *more)
{
    buf_printf(out, "tokenworks_%s%s{model=", name, suffix);
    jsonx_quote(link_model_id(k), strlen(link_model_id(k)), out);
    buf_printf(out, "%s} ", more);
}

static void render_front(const struct front *f, struct buf *out)
{
    static const struct http_server_counts none;
    const struct http_server_counts *c = f->server ? http_server_counts(f->server) : &none;
    head(out, "http_requests_total", "counter", "Requests answered, by route and status; 499: the client left.");
    for (int r = 0; r < METRIC_ROUTES_MAX && route_name(r); r++)
        for (int s = 0; s < METRIC_STATUS_END - METRIC_STATUS_FIRST; s++)
            if (f->metrics.requests[r][s])
                buf_printf(out, "tokenworks_http_requests_total{route=\"%s\",status=\"%d\"} %lld\n", route_name(r),
                           s + METRIC_STATUS_FIRST, (long long)f->metrics.requests[r][s]);
    head(out, "http_relayed_seconds", "histogram", "From a request's last byte to its reply's last byte.");
    int64_t sum = 0;
    for (int b = 0; b <= METRIC_BUCKETS; b++) {
        char le[24] = "+Inf";
        sum += f->metrics.seconds_buckets[b];
        if (b < METRIC_BUCKETS)
            snprintf(le, sizeof le, "%g", bounds[b]);
        buf_printf(out, "tokenworks_http_relayed_seconds_bucket{le=\"%s\"} %lld\n", le, (long long)sum);
    }
    buf_printf(out, "tokenworks_http_relayed_seconds_sum %.6f\ntokenworks_http_relayed_seconds_count %lld\n",
               f->metrics.seconds_sum, (long long)sum);
    one(out, "http_in_flight", "gauge", "Requests with an engine now.", f->relay_count);
    one(out, "http_cancelled_total", "counter", "Requests whose client left before the end.", f->metrics.cancelled);
    one(out, "http_connections", "gauge", "Open connections.", c->connections);
    one(out, "http_connections_total", "counter", "Connections accepted.", c->accepted);
    one(out, "http_connections_refused_total", "counter", "Connections turned away for their number.", c->refused);
    one(out, "http_received_bytes_total", "counter", "Bytes from clients.", c->bytes_in);
    one(out, "http_sent_bytes_total", "counter", "Bytes to clients.", c->bytes_out);
    one(out, "http_draining", "gauge", "1 while shutting down.", f->draining);
    head(out, "engine_up", "gauge", "1 when the model's engine is ready.");
    for (int i = 0; i < models_count(f->models); i++) {
        if (link_is_far(models_link(f->models, i)))
            continue;
        sample(out, "engine_up", "", models_link(f->models, i), "");
        buf_printf(out, "%d\n", link_state(models_link(f->models, i)) == LINK_READY);
    }
    head(out, "engine_restarts_total", "counter", "Times the model's engine was started again.");
    for (int i = 0; i < models_count(f->models); i++) {
        if (link_is_far(models_link(f->models, i)))
            continue;
        sample(out, "engine_restarts_total", "", models_link(f->models, i), "");
        buf_printf(out, "%lld\n", (long long)link_restarts(models_link(f->models, i)));
    }
}

static bool name_ok(const char *name)
{
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return n && n < 100 && !name[n];
}

static void render_histogram(const char *name, const struct link *k, const json_t *v, struct buf *out)
{
    const json_t *le = json_object_get(v, "le"), *counts = json_object_get(v, "counts");
    double total = 0;
    for (size_t i = 0; i < json_array_size(counts); i++) {
        char bound[40];
        total += json_number_value(json_array_get(counts, i));
        if (i >= json_array_size(le))
            break;
        snprintf(bound, sizeof bound, ",le=\"%g\"", json_number_value(json_array_get(le, i)));
        sample(out, name, "_bucket", k, bound);
        buf_printf(out, "%.0f\n", total);
    }
    sample(out, name, "_bucket", k, ",le=\"+Inf\"");
    buf_printf(out, "%.0f\n", total);
    sample(out, name, "_sum", k, "");
    buf_printf(out, "%.9g\n", json_number_value(json_object_get(v, "sum")));
    sample(out, name, "_count", k, "");
    buf_printf(out, "%.0f\n", total);
}

/* What the engine's figures mean; names that are not here have no HELP line. */
static const char *help_of(const char *name)
{
    static const struct { const char *name, *help; } known[] = {
        { "time_to_first_token_seconds", "From a request's arrival at the engine to its first token." },
        { "inter_token_latency_seconds", "Between two tokens of an answer." },
        { "e2e_request_latency_seconds", "From a request's arrival at the engine to its end." },
        { "request_queue_time_seconds", "Waited for its turn." },
        { "request_prefill_time_seconds", "From its turn to its first token." },
        { "request_decode_time_seconds", "From its first token to its end." },
        { "request_prompt_tokens", "Prompt tokens of a request." },
        { "request_generation_tokens", "Tokens generated for a request." },
        { "iteration_tokens_total", "Tokens computed in a step." },
        { "kv_cache_usage_perc", "Share of the KV pages in use; 1 is all." },
        { "prefix_cache_queries_total", "Prompt tokens looked for in the prefix cache." },
        { "prefix_cache_hits_total", "Prompt tokens found in the prefix cache." },
        { "num_requests_running", "Sequences in the step." },
        { "num_requests_waiting", "Sequences that wait for their turn." },
        { "prompt_tokens_total", "Prompt tokens of all requests." },
        { "generation_tokens_total", "Tokens generated." },
    };
    for (size_t i = 0; i < MEM_COUNT(known); i++)
        if (!strcmp(known[i].name, name))
            return known[i].help;
    return NULL;
}

static const json_t *stat(const struct front *f, int link, const char *section, const char *name)
{
    return json_object_get(json_object_get(link_stats(models_link(f->models, link)), section), name);
}

/* All samples of a name stand together, as the format wants: at the first engine that has the name. */
static void render_name(const struct front *f, int first, const char *section, const char *type, const char *name,
                        struct buf *out)
{
    for (int i = 0; i < first; i++)
        if (stat(f, i, section, name))
            return;
    head(out, name, type, help_of(name));
    for (int i = first; i < models_count(f->models); i++) {
        const json_t *v = stat(f, i, section, name);
        if (json_is_object(v)) {
            render_histogram(name, models_link(f->models, i), v, out);
        } else if (json_is_number(v)) {
            sample(out, name, "", models_link(f->models, i), "");
            buf_printf(out, "%.15g\n", json_number_value(v));
        }
    }
}

void metrics_render(const struct front *f, struct buf *out)
{
    static const struct { const char *section, *type; } sections[] = {
        { "counters", "counter" }, { "gauges", "gauge" }, { "histograms", "histogram" },
    };
    render_front(f, out);
    models_metrics(f->models, out);
    accounts_metrics(f->accounts, out);
    telemetry_metrics(f->telemetry, out);
    front_fleet_metrics(f->fleet, out);
    for (size_t s = 0; s < MEM_COUNT(sections); s++)
        for (int i = 0; i < models_count(f->models); i++) {
            const char *name;
            json_t *v, *all = json_object_get(link_stats(models_link(f->models, i)), sections[s].section);
            json_object_foreach(all, name, v)
                if (name_ok(name) && json_is_object(v) == (s == 2))
                    render_name(f, i, sections[s].section, sections[s].type, name, out);
        }
}

void answer_metrics(struct front *f, struct http_exchange *x, const struct route *r)
{
    struct buf b = { 0 };
    metrics_render(f, &b);
    struct http_reply reply = { .status = 200, .content_type = "text/plain; version=0.0.4; charset=utf-8" };
    front_reply_bytes(f, x, &reply, b.data, b.len);
    buf_release(&b);
}
