/* load -- tokenworks load: how a running server does under load: time to first token, between tokens, rates. */
#include "cmd/cmd.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "cmd/load_report.h"
#include "cmd/load_run.h"
#include "plan/trace.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { REQUESTS_MAX = 1 << 22, TOKENS_MAX = 1 << 24 };

struct load_options {
    const char *url, *model, *key, *trace, *ca;
    struct opt_ints concurrency;
    int64_t requests, prompt_tokens, max_tokens, timeout_s, seed;
    double speed;
    bool completions, ignore_eos, json;
};

static const struct opt rows[] = {
    { "url", 'u', OPT_STRING, "URL", "the server, without /v1 (http://127.0.0.1:8080)",
      OPT_FIELD(struct load_options, url), 0, 0 },
    { "model", 'm', OPT_STRING, "NAME", "model asked for (default)", OPT_FIELD(struct load_options, model), 0, 0 },
    { "key", 'k', OPT_STRING, "KEY", "API key; better in $TOKENWORKS_API_KEY",
      OPT_FIELD(struct load_options, key), 0, 0 },
    { "ca", 0, OPT_STRING, "FILE", "certificates to trust instead of the system's (PEM)",
      OPT_FIELD(struct load_options, ca), 0, 0 },
    { "concurrency", 'c', OPT_INTS, "N,..", "requests kept in flight, one run for each (1)",
      OPT_FIELD(struct load_options, concurrency), 1, MULTI_CALLS_MAX },
    { "trace", 0, OPT_STRING, "FILE", "send when and what a trace says instead (CSV or JSON lines)",
      OPT_FIELD(struct load_options, trace), 0, 0 },
    { "speed", 0, OPT_FLOAT, "X", "the trace's clock, X times as fast (1)", OPT_FIELD(struct load_options, speed), 1e-6,
      1e6 },
    { "requests", 'r', OPT_INT, "N", "requests in a run (4 for each in flight); of a trace the first N",
      OPT_FIELD(struct load_options, requests), 1, REQUESTS_MAX },
    { "prompt-tokens", 'p', OPT_INT, "N", "length of the prompts (256); with a trace the most",
      OPT_FIELD(struct load_options, prompt_tokens), 1, TOKENS_MAX },
    { "max-tokens", 'n', OPT_INT, "N", "length of the answers (64); with a trace the most",
      OPT_FIELD(struct load_options, max_tokens), 1, TOKENS_MAX },
    { "completions", 0, OPT_FLAG, NULL, "POST /v1/completions, not /v1/chat/completions",
      OPT_FIELD(struct load_options, completions), 0, 0 },
    { "ignore-eos", 0, OPT_FLAG, NULL, "answers of full length (on; --no-ignore-eos for servers that refuse it)",
      OPT_FIELD(struct load_options, ignore_eos), 0, 0 },
    { "timeout", 0, OPT_INT, "S", "seconds for one request (600)", OPT_FIELD(struct load_options, timeout_s), 1,
      86400 },
    { "seed", 0, OPT_INT, "N", "of the prompts' words (the clock); the same again finds them in the server's cache",
      OPT_FIELD(struct load_options, seed), 0, 0 },
    { "json", 0, OPT_FLAG, NULL, "print one JSON object", OPT_FIELD(struct load_options, json), 0, 0 },
    { 0 },
};
const struct opt_command cmd_load_spec = {
    "load", "--url URL [options]", "measure a running server: TTFT, time between tokens, tokens/s",
    "Sends streaming chat requests and notes when each piece of an answer arrives. Prompts are common words, no\n"
    "two alike unless a trace says that they share blocks. Two short requests come first, unmeasured, to learn how\n"
    "many tokens a word has here.\n"
    "With --concurrency: closed loop, a new request starts when one ends. With --trace: open loop, requests start\n"
    "at their time; time to first token counts from then. Formats: TIMESTAMP,ContextTokens,GeneratedTokens as CSV,\n"
    "or {\"timestamp\" in ms, \"input_length\", \"output_length\", \"hash_ids\"} a line.\n"
    "ITL is the time between two events with text. Exit status 1 when no request succeeded.", rows,
};

static volatile bool stopped;

static void on_interrupt(int signo)
{
    (void)signo;
    stopped = true;
}

struct plan {
    struct load_job *jobs; /* owned */
    int count;
    struct trace trace;
};

static void plan_release(struct plan *p)
{
    mem_free(p->jobs);
    trace_release(&p->trace);
}

static void plan_closed(const struct load_options *o, int concurrency, struct plan *p)
{
    p->count = (int)(o->requests ? o->requests : 4 * (int64_t)concurrency);
    p->jobs = mem_new((size_t)p->count, sizeof(*p->jobs));
    for (int i = 0; i < p->count; i++)
        p->jobs[i] = (struct load_job){ .prompt_tokens = (int)(o->prompt_tokens ? o->prompt_tokens : 256),
                                        .max_tokens = (int)(o->max_tokens ? o->max_tokens : 64) };
}

static int at_most(int64_t n, int64_t most)
{
    n = n < 1 ? 1 : n;
    return (int)(most && n > most ? most : n);
}

static enum err_code plan_trace(const struct load_options *o, struct plan *p, struct err *e)
{
    enum err_code c = trace_read(o->trace, &p->trace, e);
    if (c)
        return c;
    p->count = at_most(p->trace.count, o->requests ? o->requests : REQUESTS_MAX);
    p->jobs = mem_new((size_t)p->count, sizeof(*p->jobs));
    for (int i = 0; i < p->count; i++) {
        const struct trace_request *r = &p->trace.requests[i];
        p->jobs[i] = (struct load_job){
            .at_ns = (int64_t)((double)r->at_ns / o->speed),
            .prompt_tokens = at_most(r->input, o->prompt_tokens),
            .max_tokens = at_most(r->output, o->max_tokens), .block_count = r->hash_count,
            .blocks = r->hash_count ? p->trace.hashes + r->first_hash : NULL };
    }
    return ERR_OK;
}

/* One run: concurrency 0 is the trace's open loop. */
static enum err_code one_run(const struct load_options *o, const struct load_target *t, struct multi *c, int number,
                             int concurrency, struct load_report *out, struct err *e)
{
    struct plan p = { 0 };
    enum err_code code = ERR_OK;
    if (concurrency)
        plan_closed(o, concurrency, &p);
    else
        code = plan_trace(o, &p, e);
    if (!code) {
        struct load_run r = { .target = t, .client = c, .jobs = p.jobs, .count = p.count, .concurrency = concurrency,
                              .round = (uint64_t)number };
        load_run(&r, &stopped);
        load_report_make(&r, o->speed, out);
        load_run_release(&r);
    }
    plan_release(&p);
    return code;
}

static enum err_code all_runs(const struct load_options *o, struct load_target *t, struct multi *c, int *done,
                              struct err *e)
{
    int runs = o->trace ? 1 : o->concurrency.count;
    json_t *list = json_array();
    enum err_code code = load_calibrate(t, c, e);
    if (!code && !o->json)
        load_report_print_head();
    for (int i = 0; i < runs && !code && !stopped; i++) {
        struct load_report r;
        code = one_run(o, t, c, i, o->trace ? 0 : (int)o->concurrency.v[i], &r, e);
        if (code)
            break;
        *done += r.done;
        o->json ? (void)json_array_append_new(list, load_report_json(&r)) : load_report_print(&r);
    }
    if (!code && o->json) {
        struct buf text = { 0 };
        json_t *all = json_pack("{s:s,s:s,s:I,s:O}", "url", t->url, "model", t->model, "seed", (json_int_t)o->seed,
                                "runs", list);
        jsonx_dump(all, &text);
        puts(buf_str(&text));
        json_decref(all);
        buf_release(&text);
    }
    json_decref(list);
    return code;
}

int cmd_load(int argc, char **argv)
{
    struct load_options o = { .model = "default", .speed = 1, .timeout_s = 600, .ignore_eos = true,
                              .seed = clock_wall_ns() & INT32_MAX,
                              .concurrency = { 1, { 1 } } };
    int positional, done = 0;
    enum opt_result r = opt_parse(&cmd_load_spec, argc, argv, &o, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (!o.url || positional) {
        fprintf(stderr, "tokenworks load: give --url URL, such as http://127.0.0.1:8080\n");
        return 2;
    }
    char *url = mem_strdup(o.url);
    for (size_t n = strlen(url); n && url[n - 1] == '/'; n--)
        url[n - 1] = '\0';
    struct rlimit files;
    if (!getrlimit(RLIMIT_NOFILE, &files)) { /* a descriptor for each request in flight */
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    signal(SIGINT, on_interrupt);
    struct load_target t = { .url = url, .model = o.model, .key = o.key ? o.key : getenv("TOKENWORKS_API_KEY"),
                             .completions = o.completions, .ignore_eos = o.ignore_eos, .seed = (uint64_t)o.seed,
                             .timeout_ms = o.timeout_s * 1000 };
    struct multi *c = NULL;
    struct err e;
    struct multi_options client = { .ca_file = o.ca };
    enum err_code code = multi_new(&client, &c, &e);
    if (!code)
        code = all_runs(&o, &t, c, &done, &e);
    multi_free(c);
    mem_free(url);
    return code ? cmd_fail(&cmd_load_spec, &e) : done ? 0 : 1;
}
