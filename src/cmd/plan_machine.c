/* plan_machine -- see plan_machine.h. The step times are those its engine learned from its steps (sched/steptime.h),
 * the limits those of its scheduler; the way to it and back is timed by requests that need no step. */
#include "cmd/plan_machine.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "net/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUND_TRIPS = 9, REPLY_MAX = 8 << 20, STEPS_MIN = 100 };

struct machine {
    const char *url;
    char model[48], isa[16], type[16];
    int64_t weight_bytes, kv_bytes, kv_tokens, threads;
    double target_itl_ms, target_ttft_ms;
    int64_t running_max, batch_rows, prefill_rows, draft_rows, page_tokens;
    double step_s[5], steps, round_trip_ms;
};

static enum err_code get(struct http_client *c, const char *url, const char *path, const char *key, struct buf *out,
                         struct err *e)
{
    struct buf full = { 0 };
    struct http_client_reply reply = { 0 };
    buf_printf(&full, "%.*s%s", (int)strcspn(url, "?#"), url, path);
    struct http_client_request r = { .url = buf_str(&full), .bearer = key, .reply_max = REPLY_MAX, .total_ms = 20000 };
    enum err_code code = http_client_run(c, &r, &reply, e);
    if (!code && reply.status != 200)
        code = err_set(e, ERR_IO, "%.200s answers %d%s", buf_str(&full), reply.status,
                       reply.status == 401 ? "; put an API key of its into $TOKENWORKS_API_KEY" : "");
    if (!code)
        buf_append(out, reply.body.data, reply.body.len);
    http_client_reply_release(&reply);
    buf_release(&full);
    return code;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The first model's facts; the median time of asking for them. */
static enum err_code ask_models(struct http_client *c, const char *key, struct machine *m, struct buf *out,
                                struct err *e)
{
    double ms[ROUND_TRIPS];
    for (int i = 0; i < ROUND_TRIPS; i++) {
        int64_t start = clock_mono_ns();
        buf_clear(out);
        enum err_code code = get(c, m->url, "/v1/models", key, out, e);
        if (code)
            return code;
        ms[i] = (double)(clock_mono_ns() - start) / 1e6;
    }
    qsort(ms, ROUND_TRIPS, sizeof *ms, by_value);
    m->round_trip_ms = ms[ROUND_TRIPS / 2];
    return ERR_OK;
}

/* Texts go into a scenario: nothing but what an id may hold. */
static void copy_id(char *out, size_t size, const char *text)
{
    size_t n = 0;
    for (; text && *text && n + 1 < size; text++)
        out[n++] = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", *text) ? *text : '-';
    out[n] = '\0';
}

static enum err_code read_models(const char *text, size_t n, struct machine *m, struct err *e)
{
    json_t *v = jsonx_parse(text, n, e);
    const json_t *one = json_array_get(json_object_get(v, "data"), 0), *meta = json_object_get(one, "meta");
    const json_t *s = json_object_get(meta, "scheduler");
    const char *isa = NULL, *type = NULL;
    enum err_code c = v ? ERR_OK : ERR_INVALID;
    if (!c && !s)
        c = err_set(e, ERR_INVALID, "it does not say how its engine schedules; load the model there first");
    copy_id(m->model, sizeof m->model, json_string_value(json_object_get(one, "id")));
    c = c ? c : jsonx_get_int(meta, "weight_bytes", 1, INT64_MAX, &m->weight_bytes, e);
    c = c ? c : jsonx_get_int(meta, "kv_bytes", 1, INT64_MAX, &m->kv_bytes, e);
    c = c ? c : jsonx_get_int(meta, "kv_tokens", 1, INT64_MAX, &m->kv_tokens, e);
    c = c ? c : jsonx_get_int(meta, "threads", 1, 4096, &m->threads, e);
    c = c ? c : jsonx_get_double(s, "target_itl_ms", 0, 1e6, &m->target_itl_ms, e);
    c = c ? c : jsonx_get_double(s, "target_ttft_ms", 0, 1e7, &m->target_ttft_ms, e);
    c = c ? c : jsonx_get_int(s, "running_max", 1, 65536, &m->running_max, e);
    c = c ? c : jsonx_get_int(s, "batch_rows", 1, 1 << 20, &m->batch_rows, e);
    c = c ? c : jsonx_get_int(s, "prefill_rows", 1, 1 << 20, &m->prefill_rows, e);
    c = c ? c : jsonx_get_int(s, "draft_rows", 0, 1 << 20, &m->draft_rows, e);
    c = c ? c : jsonx_get_int(s, "page_tokens", 1, 512, &m->page_tokens, e);
    c = c ? c : jsonx_get_string(meta, "isa", &isa, e);
    c = c ? c : jsonx_get_string(meta, "type", &type, e);
    copy_id(m->isa, sizeof m->isa, isa);
    copy_id(m->type, sizeof m->type, type);
    json_decref(v);
    return c;
}

/* The value of NAME{model="MODEL"} in Prometheus' text; 0 when it is not there. */
static double metric(const char *text, const char *name, const char *model)
{
    char want[160];
    snprintf(want, sizeof want, "\n%s{model=\"%s\"} ", name, model);
    const char *at = strstr(text, want);
    return at ? strtod(at + strlen(want), NULL) : 0;
}

static enum err_code read_metrics(const char *text, struct machine *m, struct err *e)
{
    for (int k = 0; k < 5; k++) {
        char name[48];
        snprintf(name, sizeof name, "tokenworks_step_time_%c_seconds", 'a' + k);
        m->step_s[k] = metric(text, name, m->model);
    }
    m->steps = metric(text, "tokenworks_steps_total", m->model);
    if (m->steps < STEPS_MIN)
        return err_set(e, ERR_INVALID, "its engine took %.0f steps so far and cannot say how long they take; give it "
                       "work like yours first (tokenworks load --url %.100s -c 1,4,16)", m->steps, m->url);
    return ERR_OK;
}

static void write_machine(const struct machine *m, struct buf *out)
{
    const double *s = m->step_s;
    buf_printf(out, "hardware:\n  - id: machine\n    memory: %.4g GB         # what its engine took: weights, keys and "
               "values\n", (double)(m->weight_bytes + m->kv_bytes) / 0.9e9 + 0.001);
    buf_puts(out, "    price: 2000 USD        # assumed: yours?\n    power_load: 100 W      # assumed\n"
             "    power_idle: 30 W       # assumed\n    performance:\n");
    buf_printf(out, "      - model: %s\n        # learned from %.0f steps; ms = a + b*prefill + c*batch + d*context + "
               "e*sum(prefill*context)\n        step: {a: %.6g ms, b: %.6g ms/tok, c: %.6g ms/tok, d: %.6g ns/tok, "
               "e: %.6g ns/tok2}\n", m->model, m->steps, 1e3 * s[0], 1e3 * s[1], 1e3 * s[2], 1e9 * s[3], 1e9 * s[4]);
    if (m->draft_rows)
        buf_puts(out, "        # it also guesses tokens (--speculate), which is not simulated: it may be faster than "
                 "this\n");
    buf_printf(out, "        serving: {target_itl: %g ms, target_ttft: %g ms, running_max: %d, batch_rows: %d,\n"
               "                  prefill_rows: %d, page: %d tok, kv: %lld tok}\n", m->target_itl_ms,
               m->target_ttft_ms, (int)m->running_max, (int)m->batch_rows, (int)m->prefill_rows, (int)m->page_tokens,
               (long long)m->kv_tokens);
}

static void write_scenario(const struct machine *m, struct buf *out)
{
    time_t now = time(NULL);
    struct tm t;
    char day[16];
    gmtime_r(&now, &t);
    strftime(day, sizeof day, "%Y-%m-%d", &t);
    buf_printf(out, "# One machine as it is: %s (%s), %s, %d threads, asked on %s.\n#\n"
               "#   tokenworks simulate FILE --units machine@here=1 --trace T --speed X what load would measure there\n"
               "#   tokenworks plan FILE                                                how many, at what cost\n"
               "#\n# Prices, power and demand below are placeholders: put yours.\n",
               m->model, m->type, m->isa, (int)m->threads, day);
    buf_printf(out, "scenario: machine\ntitle: Machines like this one\nstart: %d-Q%d\nquarters: 4\n\n",
               t.tm_year + 1900, t.tm_mon / 3 + 1);
    buf_printf(out, "models:\n  - {id: %s, weights: %.6g GB, kv_per_token: %.0f B}\n\n"
               "slos:\n  - {id: dialogue, ttft_p99: 20 s, itl_p99: %g ms}\n\n", m->model, (double)m->weight_bytes / 1e9,
               (double)m->kv_bytes / (double)m->kv_tokens, m->target_itl_ms > 0 ? 2 * m->target_itl_ms : 500);
    write_machine(m, out);
    buf_puts(out, "\nsuppliers:\n  - {id: shop, country: here, sells: [{hardware: machine, capacity: 100 units, "
             "lead_time: 1 quarter}]}\n\nsites:\n  - id: here\n    jurisdiction: here\n    power: 20 kW\n"
             "    power_price: {use: power-eu}\n    pue: 1.2\n    existing: [{hardware: machine, count: 1}]\n\n"
             "demand:\n");
    buf_printf(out, "  - id: people\n    model: %s\n    slo: dialogue\n    residency: any\n"
               "    output_per_day: 1 Mtok/day\n    input_tokens: 500 tok\n    output_tokens: 150 tok\n"
               "    peak: 2\n    latency: {here: %.3g ms}    # measured: there and back\n", m->model, m->round_trip_ms);
}

enum err_code plan_machine(const char *url, const char *key, struct buf *out, struct err *e)
{
    char base[512];
    snprintf(base, sizeof base, "%s", url);
    for (size_t n = strlen(base); n && base[n - 1] == '/'; n--)
        base[n - 1] = '\0';
    struct machine m = { .url = base };
    struct http_client *c = http_client_new();
    struct buf models = { 0 }, metrics = { 0 };
    enum err_code code = ask_models(c, key, &m, &models, e);
    code = code ? code : read_models(buf_str(&models), models.len, &m, e);
    code = code ? code : get(c, base, "/metrics", key, &metrics, e);
    code = code ? code : read_metrics(buf_str(&metrics), &m, e);
    if (!code)
        write_scenario(&m, out);
    buf_release(&models);
    buf_release(&metrics);
    http_client_free(c);
    return code && strncmp(e->text, base, strlen(base)) ? err_prefix(e, "%.200s", base) : code;
}
