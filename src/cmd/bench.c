/* bench -- tokenworks bench: prefill, decode and batched decode of a model, against the machine's own limits.
 *
 * Tests are named as the peers' benches name them: pp512 (prefill of 512 tokens), tg128 (128 tokens decoded),
 * tg64@b32 (64 tokens for each of 32 sequences in one batch, after 128 of prompt), tg32@d4096 (32 tokens after 4,096 of
 * context). Tokens are pseudo-random: speed does not depend on the text. */
#include "cmd/cmd.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/progress.h"
#include "base/rng.h"
#include "cmd/bench_kernels.h"
#include "cmd/bench_probe.h"
#include "cmd/model_path.h"
#include "infer/kv.h"
#include "infer/seq.h"
#include "model/model.h"
#include "sched/steptime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REPEATS_MAX = 100, PREFILL_CHUNK = 512, BATCH_PROMPT = 128, RESULTS_MAX = 160 };

struct bench_options {
    const char *model, *state, *isa, *kv_type;
    struct opt_ints prompts, decodes, batches, depths;
    int64_t threads, repeats;
    bool json, no_probe, kernels;
};

static const struct opt option_rows[] = {
    { "model", 'm', OPT_STRING, "FILE|NAME", "model file, or a name in the state folder",
      OPT_FIELD(struct bench_options, model), 0, 0 },
    { "prompt", 'p', OPT_INTS, "N,..", "prefill of N tokens (512)",
      OPT_FIELD(struct bench_options, prompts), 0, 1 << 20 },
    { "decode", 'n', OPT_INTS, "N,..", "decode of N tokens (128)",
      OPT_FIELD(struct bench_options, decodes), 0, 1 << 20 },
    { "batch", 'b', OPT_INTS, "N,..", "decode for N sequences together (1)",
      OPT_FIELD(struct bench_options, batches), 1, 512 },
    { "depth", 'd', OPT_INTS, "N,..", "decode after N tokens of context (0)", OPT_FIELD(struct bench_options, depths),
      0, 1 << 20 },
    { "repeats", 'r', OPT_INT, "N", "runs of each test (5)", OPT_FIELD(struct bench_options, repeats), 1, REPEATS_MAX },
    { "threads", 't', OPT_INT, "N", "kernel threads", OPT_FIELD(struct bench_options, threads), 1, 512 },
    { "isa", 0, OPT_STRING, "NAME", "cap: ref, avx2, avx512, amx", OPT_FIELD(struct bench_options, isa), 0, 0 },
    { "kv-type", 0, OPT_STRING, "TYPE", "f16, bf16, q8_0 or f32", OPT_FIELD(struct bench_options, kv_type), 0, 0 },
    { "state", 0, OPT_STRING, "DIR", "state folder", OPT_FIELD(struct bench_options, state), 0, 0 },
    { "json", 0, OPT_FLAG, NULL, "one JSON object", OPT_FIELD(struct bench_options, json), 0, 0 },
    { "no-probe", 0, OPT_FLAG, NULL, "skip the measurement of the machine's limits",
      OPT_FIELD(struct bench_options, no_probe), 0, 0 },
    { "kernels", 0, OPT_FLAG, NULL, "each kernel by itself as a fraction of the machine's limit; needs no model",
      OPT_FIELD(struct bench_options, kernels), 0, 0 },
    { 0 },
};
const struct opt_command cmd_bench_spec = {
    "bench", "[options]", "measure prefill, decode and batched decode",
    "Prints tokens/s as median [least, most] over the repeats, bytes of weights and KV read for a token, and the\n"
    "rates they imply; the probe before and after says what the machine allows and whether its cores are its own.",
    option_rows,
};

struct result {
    char name[48];
    int repeats;
    double rate[REPEATS_MAX]; /* tokens/s, sorted */
    double bytes_per_token, flops_per_token;
};

struct bench {
    struct bench_options o;
    struct kern_table kern;
    struct pool *pool;
    struct model *model;
    struct model_work *work;
    struct kv_pool *kv;
    size_t file_bytes;
    char *id;
    struct probe before, after;
    struct result results[RESULTS_MAX];
    int result_count;
    struct steptime *steptime; /* of every pass that was made */
};

/* ---- one forward pass of n rows for each of b sequences */

struct lanes {
    struct seq *seqs; /* [b] */
    int b;
    int32_t *tokens;  /* [b * rows] */
    struct model_run *runs;
    int32_t *logit_rows;
};

static void lanes_init(struct bench *t, struct lanes *l, int b, int tokens)
{
    struct rng r = { .seed = 42 };
    int32_t *prompt = mem_new((size_t)tokens, sizeof *prompt);
    *l = (struct lanes){ .b = b };
    l->seqs = mem_new((size_t)b, sizeof *l->seqs);
    l->tokens = mem_new((size_t)(b > PREFILL_CHUNK ? b : PREFILL_CHUNK), sizeof *l->tokens);
    l->runs = mem_new((size_t)b, sizeof *l->runs);
    l->logit_rows = mem_new((size_t)b, sizeof *l->logit_rows);
    for (int i = 0; i < b; i++) {
        for (int k = 0; k < tokens; k++)
            prompt[k] = (int32_t)rng_below(&r, (uint64_t)model_facts(t->model)->vocab);
        seq_init(&l->seqs[i], t->kv, (uint64_t)i, prompt, tokens, tokens);
    }
    mem_free(prompt);
}

static void lanes_release(struct bench *t, struct lanes *l)
{
    for (int i = 0; i < l->b; i++)
        seq_release(&l->seqs[i]);
    mem_free(l->seqs);
    mem_free(l->tokens);
    mem_free(l->runs);
    mem_free(l->logit_rows);
    kv_tree_forget_idle(t->kv);
}

/* Advances sequences [first, end) by `rows` each; logits for the last row of each when wanted. */
static bool forward(struct bench *t, struct lanes *l, int first, int end, int rows, bool logits)
{
    struct model_batch batch = { .tokens = l->tokens, .runs = l->runs, .logit_rows = l->logit_rows };
    struct steptime_load load = { .prefill = 0 };
    for (int i = first; i < end; i++) {
        struct seq *s = &l->seqs[i];
        if (!seq_reserve(s, s->computed + rows))
            return false;
        memcpy(l->tokens + batch.rows, s->tokens + s->computed, (size_t)rows * sizeof *l->tokens);
        l->runs[batch.run_count++] = (struct model_run){ .rows = rows, .pos_first = s->computed, .pages = s->page_at };
        batch.rows += rows;
        *(rows > 1 ? &load.prefill : &load.batch) += rows;
        *(rows > 1 ? &load.sum_pc : &load.context) += rows * (s->computed + (rows > 1 ? rows / 2.0 : 1));
        if (logits)
            l->logit_rows[batch.logit_count++] = batch.rows - 1;
    }
    int64_t start = clock_mono_ns();
    model_forward(t->model, t->work, &batch);
    steptime_learn(t->steptime, &load, (double)(clock_mono_ns() - start) / 1e6);
    for (int i = first; i < end; i++)
        seq_computed(&l->seqs[i], l->seqs[i].computed + rows);
    return true;
}

static bool prefill(struct bench *t, struct lanes *l, int tokens)
{
    for (int i = 0; i < l->b; i++)
        for (int done = 0; done < tokens;) {
            int rows = tokens - done < PREFILL_CHUNK ? tokens - done : PREFILL_CHUNK;
            done += rows;
            if (!forward(t, l, i, i + 1, rows, done == tokens))
                return false;
        }
    return true;
}

/* ---- tests */

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

struct test {
    int prompt, decode, batch, depth;
};

static void name_test(const struct test *q, char *out, size_t n)
{
    int at = q->prompt ? snprintf(out, n, "pp%d", q->prompt) : snprintf(out, n, "tg%d", q->decode);
    if (q->batch > 1)
        at += snprintf(out + at, n - (size_t)at, "@b%d", q->batch);
    if (q->depth)
        snprintf(out + at, n - (size_t)at, "@d%d", q->depth);
}

/* Tokens of context when the timed part begins: streams side by side have read a prompt each. */
static int depth_of(const struct test *q)
{
    return q->batch > 1 && !q->depth ? BATCH_PROMPT : q->depth;
}

/* Seconds for one run of the test's timed part, or < 0 when the KV memory does not hold it. */
static double run_once(struct bench *t, const struct test *q)
{
    struct lanes l;
    int depth = depth_of(q);
    lanes_init(t, &l, q->batch, depth + q->prompt + q->decode + 1);
    bool ok = depth == 0 || prefill(t, &l, depth);
    if (ok && q->decode) /* the first step after a prefill pays for cold caches: not counted */
        ok = forward(t, &l, 0, l.b, 1, true);
    int64_t start = clock_mono_ns();
    if (q->prompt)
        ok = ok && prefill(t, &l, q->prompt);
    for (int i = 0; ok && i < q->decode; i++)
        ok = forward(t, &l, 0, l.b, 1, true);
    double seconds = (double)(clock_mono_ns() - start) / 1e9;
    lanes_release(t, &l);
    return ok ? seconds : -1;
}

static void run_test(struct bench *t, const struct test *q)
{
    if (t->result_count == RESULTS_MAX)
        return;
    struct result *r = &t->results[t->result_count++];
    name_test(q, r->name, sizeof r->name);
    int tokens = (q->prompt + q->decode) * q->batch;
    for (int i = -1; i < t->o.repeats; i++) { /* one warm-up */
        double seconds = run_once(t, q);
        if (seconds < 0)
            break;
        if (i >= 0)
            r->rate[r->repeats++] = tokens / seconds;
    }
    qsort(r->rate, (size_t)r->repeats, sizeof *r->rate, ascending);
    const struct model_facts *f = model_facts(t->model);
    double kv_token = (double)model_kv_page_bytes(t->model) / KERN_PAGE_TOKENS;
    double context = depth_of(q) + (q->prompt + q->decode) / 2.0;
    double rows = q->prompt ? (q->prompt < PREFILL_CHUNK ? q->prompt : PREFILL_CHUNK) : q->batch;
    r->bytes_per_token = (double)f->weight_bytes / rows + (q->prompt ? kv_token : kv_token * context);
    r->flops_per_token = 2.0 * (double)f->params;
}

static void run_all(struct bench *t)
{
    const struct bench_options *o = &t->o;
    for (int i = 0; i < o->prompts.count; i++)
        if (o->prompts.v[i])
            run_test(t, &(struct test){ .prompt = (int)o->prompts.v[i], .batch = 1 });
    for (int i = 0; i < o->decodes.count; i++)
        for (int b = 0; b < o->batches.count; b++)
            for (int d = 0; d < o->depths.count; d++)
                if (o->decodes.v[i])
                    run_test(t, &(struct test){ .decode = (int)o->decodes.v[i], .batch = (int)o->batches.v[b],
                                                .depth = (int)o->depths.v[d] });
}

/* ---- what is printed */

static double median(const struct result *r)
{
    return r->repeats ? (r->rate[(r->repeats - 1) / 2] + r->rate[r->repeats / 2]) / 2 : 0;
}

static void print_text(const struct bench *t)
{
    const struct model_facts *f = model_facts(t->model);
    printf("%s  %s %s, %.1f M parameters, %.1f MiB, %s, %d threads\n", t->id, f->arch, f->type_name,
           (double)f->params / 1e6, (double)t->file_bytes / 0x1p20, t->kern.name, pool_threads(t->pool));
    if (!t->o.no_probe) {
        probe_print(&t->before, "before", stdout);
        probe_print(&t->after, "after", stdout);
    }
    printf("%-16s %12s %24s %10s %10s %10s\n", "test", "tokens/s", "[least, most] of runs",
           "MB/token", "GB/s", "GFLOP/s");
    for (int i = 0; i < t->result_count; i++) {
        const struct result *r = &t->results[i];
        if (!r->repeats) {
            printf("%-16s does not fit in the KV memory\n", r->name);
            continue;
        }
        char spread[40];
        snprintf(spread, sizeof spread, "[%.2f, %.2f] of %d", r->rate[0], r->rate[r->repeats - 1], r->repeats);
        printf("%-16s %12.2f %24s %10.2f %10.2f %10.1f\n", r->name, median(r), spread, r->bytes_per_token / 1e6,
               r->bytes_per_token * median(r) / 1e9, r->flops_per_token * median(r) / 1e9);
    }
    const struct steptime_model *m = steptime_fit(t->steptime);
    printf("a step takes %.3g + %.3g prefill + %.3g batch + %.3g context + %.3g sum_pc ms\n", m->a, m->b, m->c, m->d,
           m->e);
}

static void print_json(const struct bench *t)
{
    json_t *results = json_array();
    for (int i = 0; i < t->result_count; i++) {
        const struct result *r = &t->results[i];
        if (r->repeats)
            json_array_append_new(results, json_pack("{s:s, s:f, s:f, s:f, s:i, s:f, s:f, s:f}",
                "test", r->name, "tokens_per_s", median(r), "min", r->rate[0], "max", r->rate[r->repeats - 1],
                "repeats", r->repeats, "bytes_per_token", r->bytes_per_token,
                "gb_per_s", r->bytes_per_token * median(r) / 1e9, "tflops", r->flops_per_token * median(r) / 1e12));
    }
    const struct steptime_model *m = steptime_fit(t->steptime);
    json_t *step = json_pack("{s:f, s:f, s:f, s:f, s:f}", "a", m->a, "b", m->b, "c", m->c, "d", m->d, "e", m->e);
    json_t *all = json_pack("{s:s, s:I, s:s, s:i, s:o*, s:o, s:o}", "model", t->id, "file_bytes",
                            (json_int_t)t->file_bytes,
                            "isa", t->kern.name, "threads", pool_threads(t->pool),
                            "probe", t->o.no_probe ? NULL : probe_json(&t->before, &t->after), "results", results,
                            "step", step);
    struct buf b = { 0 };
    jsonx_dump(all, &b);
    puts(buf_str(&b));
    buf_release(&b);
    json_decref(all);
}

/* ---- life */

static void on_progress(void *arg, double fraction)
{
    progress_update(arg, (int64_t)(fraction * 1000));
}

/* Tokens of KV that the largest test holds at once. */
static int64_t kv_tokens_needed(const struct bench_options *o)
{
    int64_t most = 0;
    for (int i = 0; i < o->prompts.count; i++)
        most = o->prompts.v[i] > most ? o->prompts.v[i] : most;
    for (int i = 0; i < o->decodes.count; i++)
        for (int b = 0; b < o->batches.count; b++)
            for (int d = 0; d < o->depths.count; d++) {
                int64_t n = (o->decodes.v[i] + o->depths.v[d] + BATCH_PROMPT + 2 * KERN_PAGE_TOKENS) * o->batches.v[b];
                most = n > most ? n : most;
            }
    return most + 2 * KERN_PAGE_TOKENS;
}

static enum err_code open_model(struct bench *t, struct err *e)
{
    struct model_path model = { 0 };
    struct gguf_file *f = NULL;
    struct model_load_options mo = { .kern = &t->kern, .kv_type = KERN_F16, .progress = on_progress };
    enum kern_isa cap = KERN_ISA_COUNT;
    if (t->o.isa && !kern_isa_by_name(t->o.isa, &cap))
        return err_set(e, ERR_INVALID, "--isa %.20s: choose ref, avx2, avx512 or amx", t->o.isa);
    if (t->o.kv_type && !kern_type_by_name(t->o.kv_type, &mo.kv_type))
        return err_set(e, ERR_INVALID, "--kv-type %.20s: choose f16, bf16, q8_0 or f32", t->o.kv_type);
    kern_table_fill(&t->kern, kern_isa_detect(cap));
    t->pool = pool_new(t->o.threads ? (int)t->o.threads : pool_default_threads());
    struct progress p;
    progress_start(&p, "loading", 1000);
    mo.progress_arg = &p;
    enum err_code c = model_path_find(t->o.model, t->o.state, &model, e);
    c = c ? c : gguf_open(model.path, &f, e);
    c = c ? c : model_load(f, &mo, t->pool, &t->model, e);
    progress_end(&p);
    if (!c) {
        int widest = PREFILL_CHUNK;
        for (int i = 0; i < t->o.batches.count; i++)
            widest = t->o.batches.v[i] > widest ? (int)t->o.batches.v[i] : widest;
        t->id = mem_strdup(model.id);
        t->file_bytes = gguf_file_bytes(f);
        t->work = model_work_new(t->model, t->pool, widest, widest);
        t->kv = kv_pool_new(model_kv_page_bytes(t->model), (int)(kv_tokens_needed(&t->o) / KERN_PAGE_TOKENS));
    }
    gguf_close(f);
    model_path_release(&model);
    return c;
}

static enum err_code run_kernels(struct bench *t, struct err *e)
{
    enum kern_isa cap = KERN_ISA_COUNT;
    if (t->o.isa && !kern_isa_by_name(t->o.isa, &cap))
        return err_set(e, ERR_INVALID, "--isa %.20s: choose ref, avx2, avx512 or amx", t->o.isa);
    bench_kernels(stdout, t->o.json, cap);
    return ERR_OK;
}

int cmd_bench(int argc, char **argv)
{
    struct bench *t = MEM_NEW(struct bench);
    t->steptime = steptime_new();
    t->o = (struct bench_options){ .model = "default", .repeats = 5,
                                   .prompts = { 1, { 512 } }, .decodes = { 1, { 128 } },
                                   .batches = { 1, { 1 } }, .depths = { 1, { 0 } } };
    int positional;
    struct err e = { 0 };
    enum opt_result r = opt_parse(&cmd_bench_spec, argc, argv, &t->o, &positional);
    int status = r == OPT_HELP_SHOWN ? 0 : 2;
    if (r == OPT_RUN && t->o.kernels) {
        status = run_kernels(t, &e) ? cmd_fail(&cmd_bench_spec, &e) : 0;
    } else if (r == OPT_RUN) {
        status = open_model(t, &e) ? cmd_fail(&cmd_bench_spec, &e) : 0;
        if (!status) {
            if (!t->o.no_probe)
                probe_run(t->pool, &t->before);
            run_all(t);
            if (!t->o.no_probe)
                probe_run(t->pool, &t->after);
            if (t->o.json)
                print_json(t);
            else
                print_text(t);
        }
    }
    steptime_free(t->steptime);
    kv_pool_free(t->kv);
    model_work_free(t->work);
    model_free(t->model);
    pool_free(t->pool);
    mem_free(t->id);
    mem_free(t);
    return status;
}
