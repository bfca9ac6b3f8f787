/* logits -- tokenworks logits: the logits at every position of a list of token ids, raw, for checking a model.
 *
 * One sequence, fed in chunks; with --batch-with, other sequences of random tokens share every step, which must
 * not change a bit of the answer. */
#include "cmd/cmd.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/progress.h"
#include "base/rng.h"
#include "kern/kern.h"
#include "model/model.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOKEN_FILE_MAX = 64 << 20, CHUNK_DEFAULT = 512, COMPANIONS_MAX = 256, COMPANION_SEED = 20260817 };

struct logits_options {
    const char *model, *tokens, *out, *isa, *kv_type;
    int64_t chunk, batch_with, threads, ctx;
};

static const struct opt option_rows[] = {
    { "model", 'm', OPT_STRING, "FILE", "the model", OPT_FIELD(struct logits_options, model), 0, 0 },
    { "tokens", 't', OPT_STRING, "FILE", "token ids as text, or - for standard input",
      OPT_FIELD(struct logits_options, tokens), 0, 0 },
    { "out", 'o', OPT_STRING, "FILE", "where the logits go: float32 [ids][vocabulary]",
      OPT_FIELD(struct logits_options, out), 0, 0 },
    { "chunk", 0, OPT_INT, "N", "feed N tokens in a step (default 512; 1: token by token)",
      OPT_FIELD(struct logits_options, chunk), 1, 1 << 16 },
    { "batch-with", 0, OPT_INT, "N", "run N other sequences of random tokens in every step",
      OPT_FIELD(struct logits_options, batch_with), 0, COMPANIONS_MAX },
    { "ctx", 0, OPT_INT, "N", "positions a sequence may reach (default: what the model was trained for)",
      OPT_FIELD(struct logits_options, ctx), 0, 1 << 26 },
    { "kv-type", 0, OPT_STRING, "TYPE", "how keys and values are stored: f16 (default), bf16, f32, q8_0",
      OPT_FIELD(struct logits_options, kv_type), 0, 0 },
    { "isa", 0, OPT_STRING, "NAME", "at most this instruction set: ref, avx2, avx512, amx",
      OPT_FIELD(struct logits_options, isa), 0, 0 },
    { "threads", 'j', OPT_INT, "N", "kernel threads", OPT_FIELD(struct logits_options, threads), 1, POOL_THREADS_MAX },
    { 0 },
};
const struct opt_command cmd_logits_spec = {
    "logits", "--model FILE --tokens FILE --out FILE [options]", "raw logits of a list of token ids, for checking",
    "Feeds the ids in one sequence and writes the logits at every position as little-endian float32\n"
    "[ids][vocabulary]. For a given build, machine class and file the bytes are the same for every --chunk,\n"
    "--batch-with and --threads.",
    option_rows,
};

struct run {
    const struct model *m;
    struct model_work *work;
    const int32_t *ids;
    int n, chunk, seqs;       /* seqs: this one and its companions */
    unsigned char **pages;    /* [seqs][pages_each] */
    int pages_each;
    int out_fd;
};

static enum err_code parse_ids(const struct buf *text, const char *name, int vocab, int32_t **out, int *n,
                               struct err *e)
{
    const char *p = buf_str(text);
    int32_t *ids = mem_new(text->len / 2 + 1, sizeof *ids);
    int count = 0;
    for (;;) {
        p += strspn(p, " \t\r\n,[]");
        if (!*p)
            break;
        char *end;
        errno = 0;
        long v = strtol(p, &end, 10);
        if (end == p || errno || v < 0 || v >= vocab) {
            mem_free(ids);
            return err_set(e, ERR_INVALID, "%s: '%.*s' is not a token id within 0..%d", name,
                           (int)strcspn(p, " \t\r\n,"), p, vocab - 1);
        }
        ids[count++] = (int32_t)v;
        p = end;
    }
    if (!count) {
        mem_free(ids);
        return err_set(e, ERR_INVALID, "%s: no token ids in it", name);
    }
    *out = ids;
    *n = count;
    return ERR_OK;
}

/* Positions [pos, pos + rows) of every sequence in one step; sequence 0 in the middle of its companions. */
static enum err_code one_step(struct run *r, int pos, int rows, struct err *e)
{
    int total = rows * r->seqs, vocab = model_facts(r->m)->vocab, own = r->seqs / 2;
    int32_t *tokens = mem_new((size_t)total, sizeof *tokens), *wanted = mem_new((size_t)rows, sizeof *wanted);
    struct model_run *runs = mem_new((size_t)r->seqs, sizeof *runs);
    for (int s = 0; s < r->seqs; s++) {
        runs[s] = (struct model_run){ .rows = rows, .pos_first = pos, .pages = r->pages + s * r->pages_each };
        for (int i = 0; i < rows; i++) {
            uint64_t at = (uint64_t)s << 32 | (uint64_t)(pos + i);
            tokens[s * rows + i] = s == own ? r->ids[pos + i]
                                            : (int32_t)(rng_unit(COMPANION_SEED, at) * vocab);
        }
    }
    for (int i = 0; i < rows; i++)
        wanted[i] = own * rows + i;
    struct model_batch b = { .rows = total, .tokens = tokens, .runs = runs, .run_count = r->seqs,
                             .logit_rows = wanted, .logit_count = rows };
    const float *logits = model_forward(r->m, r->work, &b);
    enum err_code c = file_write_all_fd(r->out_fd, logits, (size_t)rows * (size_t)vocab * sizeof(float), e);
    mem_free(tokens);
    mem_free(wanted);
    mem_free(runs);
    return c;
}

static enum err_code all_steps(struct run *r, const struct logits_options *o, struct pool *pool, struct err *e)
{
    struct progress bar;
    r->chunk = (int)o->chunk < r->n ? (int)o->chunk : r->n;
    r->seqs = 1 + (int)o->batch_with;
    r->pages_each = (r->n + KERN_PAGE_TOKENS - 1) / KERN_PAGE_TOKENS;
    size_t page_count = (size_t)r->pages_each * (size_t)r->seqs, page = model_kv_page_bytes(r->m);
    unsigned char *block = mem_aligned(page_count * page);
    r->pages = mem_new(page_count, sizeof *r->pages);
    for (size_t i = 0; i < page_count; i++)
        r->pages[i] = block + i * page;
    r->work = model_work_new(r->m, pool, r->chunk * r->seqs, r->chunk);
    enum err_code c = ERR_OK;
    progress_start(&bar, "logits", r->n);
    for (int pos = 0; pos < r->n && !c; pos += r->chunk) {
        c = one_step(r, pos, r->n - pos < r->chunk ? r->n - pos : r->chunk, e);
        progress_update(&bar, pos);
    }
    progress_end(&bar);
    model_work_free(r->work);
    mem_free(r->pages);
    mem_aligned_free(block, page_count * page);
    return c;
}

static enum err_code check_fit(const struct run *r, const struct logits_options *o, struct err *e)
{
    if (r->n > model_ctx(r->m))
        return err_set(e, ERR_LIMIT, "%d ids do not fit a context of %d positions; give a larger --ctx", r->n,
                       model_ctx(r->m));
    if (o->chunk * (o->batch_with + 1) > 1 << 20)
        return err_set(e, ERR_LIMIT, "--chunk times sequences is more than a million rows; make it smaller");
    return ERR_OK;
}

static enum err_code write_logits(const struct logits_options *o, const struct model *m, struct pool *pool,
                                  struct err *e)
{
    struct buf text = { 0 };
    int32_t *ids = NULL;
    struct run r = { .m = m, .out_fd = -1 };
    enum err_code c = file_read(o->tokens, TOKEN_FILE_MAX, &text, e);
    if (!c)
        c = parse_ids(&text, o->tokens, model_facts(m)->vocab, &ids, &r.n, e);
    r.ids = ids;
    if (!c)
        c = check_fit(&r, o, e);
    if (!c) {
        r.out_fd = open(o->out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        c = r.out_fd < 0 ? err_errno(e, "%s: cannot create", o->out) : all_steps(&r, o, pool, e);
    }
    if (r.out_fd >= 0 && close(r.out_fd) && !c)
        c = err_errno(e, "%s: cannot close", o->out);
    buf_release(&text);
    mem_free(ids);
    return c;
}

static enum err_code run_with(const struct logits_options *o, enum kern_isa limit, enum kern_type kv_type,
                              struct err *e)
{
    struct gguf_file *f;
    struct kern_table kern;
    struct model *m = NULL;
    enum err_code c = gguf_open(o->model, &f, e);
    if (c)
        return c;
    kern_table_fill(&kern, kern_isa_detect(limit));
    struct pool *pool = pool_new((int)o->threads);
    struct model_load_options lo = { .kern = &kern, .kv_type = kv_type, .ctx = (int)o->ctx };
    c = model_load(f, &lo, pool, &m, e);
    if (!c)
        c = write_logits(o, m, pool, e);
    model_free(m);
    pool_free(pool);
    gguf_close(f);
    return c;
}

int cmd_logits(int argc, char **argv)
{
    struct logits_options o = { .isa = "amx", .kv_type = "f16", .chunk = CHUNK_DEFAULT,
                                .threads = pool_default_threads() };
    int positional;
    enum kern_isa limit;
    enum kern_type kv_type;
    struct err e = { 0 };
    enum opt_result r = opt_parse(&cmd_logits_spec, argc, argv, &o, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (positional || !o.model || !o.tokens || !o.out) {
        fprintf(stderr, "tokenworks logits: give --model, --tokens and --out (tokenworks logits --help)\n");
        return 2;
    }
    if (!kern_isa_by_name(o.isa, &limit) || !model_kv_type_by_name(o.kv_type, &kv_type)) {
        fprintf(stderr, "tokenworks logits: --isa is ref, avx2, avx512 or amx; --kv-type f16, bf16, f32 or q8_0\n");
        return 2;
    }
    return run_with(&o, limit, kv_type, &e) ? cmd_fail(&cmd_logits_spec, &e) : 0;
}
