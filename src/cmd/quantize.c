/* quantize -- tokenworks quantize: a model file written again in other block formats.
 *
 * Tensor after tensor, a few megabytes of rows at a time: any size of model in little memory. */
#include "cmd/cmd.h"

#include "base/log.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/progress.h"
#include "gguf/write.h"
#include "model/mix.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { SLAB_VALUES = 4 << 20 }; /* at a time */

struct quantize_options {
    int64_t threads;
};

static const struct opt option_rows[] = {
    { "threads", 'j', OPT_INT, "N", "threads (default: all processors)", OPT_FIELD(struct quantize_options, threads), 1,
      POOL_THREADS_MAX },
    { 0 },
};
const struct opt_command cmd_quantize_spec = {
    "quantize", "[options] IN OUT TYPE", "write a model in another block format",
    "TYPE is one of F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K_M, Q4_K_S, Q4_K_M, Q5_K_S, Q5_K_M,\n"
    "Q6_K, IQ4_NL, IQ4_XS. Names with _S and _M give more bits to the tensors that lose most. Rows that do not\n"
    "divide into blocks of 256 take blocks of 32. Norms and vectors stay as they are.",
    option_rows,
};

struct job {
    const struct gguf_file *in;
    const struct mix *mix;
    struct mix_facts facts;
    struct gguf_writer *out;
    struct pool *pool;
    struct progress bar;
    int64_t done;
};

/* Rows of one tensor from one type to another, shared between threads. */
struct slab {
    enum kern_type from, to;
    const unsigned char *src;
    unsigned char *dst;
    size_t cols, src_row, dst_row;
    int rows;
    float *row_of_rank;    /* [threads][cols] */
    atomic_bool not_finite; /* relaxed: read after the pool has joined */
};

static void convert_rows(struct team *t, void *arg)
{
    struct slab *s = arg;
    float *row = s->row_of_rank + (size_t)t->rank * s->cols;
    for (int r; (r = team_next(t, s->rows)) >= 0;) {
        bool finite = true;
        kern_dequantize(s->from, s->src + (size_t)r * s->src_row, row, s->cols);
        for (size_t i = 0; i < s->cols; i++)
            finite &= isfinite(row[i]) != 0;
        if (!finite)
            atomic_store_explicit(&s->not_finite, true, memory_order_relaxed);
        kern_quantize(s->to, row, s->dst + (size_t)r * s->dst_row, s->cols);
    }
}

static enum err_code convert_tensor(struct job *j, const struct gguf_tensor *t, enum kern_type to, struct err *e)
{
    size_t cols = (size_t)t->ne[0], rows = (size_t)(t->ne[1] * t->ne[2] * t->ne[3]);
    size_t at_once = SLAB_VALUES / cols ? SLAB_VALUES / cols : 1;
    struct slab s = { .from = t->type, .to = to, .src = t->data, .cols = cols };
    s.src_row = kern_row_bytes(t->type, cols);
    s.dst_row = kern_row_bytes(to, cols);
    s.dst = mem_new(at_once, s.dst_row);
    s.row_of_rank = mem_new((size_t)pool_threads(j->pool) * cols, sizeof(float));
    enum err_code c = ERR_OK;
    for (size_t first = 0; first < rows && !c; first += at_once) {
        s.rows = (int)(rows - first < at_once ? rows - first : at_once);
        s.src = (const unsigned char *)t->data + first * s.src_row;
        pool_run(j->pool, convert_rows, &s);
        if (atomic_load_explicit(&s.not_finite, memory_order_relaxed))
            c = err_set(e, ERR_CORRUPT, "%s: tensor '%.*s' holds infinities or NaN", gguf_name(j->in),
                        (int)t->name.len, t->name.data);
        else
            c = gguf_writer_data(j->out, s.dst, (size_t)s.rows * s.dst_row, e);
        j->done += (int64_t)((size_t)s.rows * cols);
        progress_update(&j->bar, j->done);
    }
    mem_free(s.row_of_rank);
    mem_free(s.dst);
    return c;
}

static bool key_is_ours(struct gguf_str name)
{
    static const char *const dropped[] = { "general.file_type", "general.quantization_version", "general.alignment" };
    for (size_t i = 0; i < MEM_COUNT(dropped); i++)
        if (strlen(dropped[i]) == name.len && !memcmp(dropped[i], name.data, name.len))
            return true;
    return false;
}

static void declare(struct job *j)
{
    for (int i = 0; i < gguf_key_count(j->in); i++)
        if (!key_is_ours(gguf_key_name(j->in, i)))
            gguf_writer_copy(j->out, gguf_key_name(j->in, i), gguf_key_value(j->in, i));
    gguf_writer_u32(j->out, "general.quantization_version", 2);
    gguf_writer_u32(j->out, "general.file_type", (uint32_t)mix_file_type(j->mix));
    for (int i = 0; i < gguf_tensor_count(j->in); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(j->in, i);
        gguf_writer_tensor(j->out, t->name, mix_type_of(j->mix, &j->facts, t), t->dims, t->ne);
    }
}

static int64_t values_in(const struct gguf_file *f)
{
    int64_t n = 0;
    for (int i = 0; i < gguf_tensor_count(f); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(f, i);
        n += (int64_t)(t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]);
    }
    return n;
}

static enum err_code write_all(struct job *j, const char *path, struct err *e)
{
    declare(j);
    enum err_code c = gguf_writer_start(j->out, path, e);
    progress_start(&j->bar, mix_name(j->mix), values_in(j->in));
    for (int i = 0; i < gguf_tensor_count(j->in) && !c; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(j->in, i);
        enum kern_type to = mix_type_of(j->mix, &j->facts, t);
        c = to == t->type ? gguf_writer_data(j->out, t->data, t->bytes, e) : convert_tensor(j, t, to, e);
        if (to == t->type)
            j->done += (int64_t)(t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]);
    }
    progress_end(&j->bar);
    return c ? c : gguf_writer_finish(j->out, e);
}

/* Q4 from Q4 loses twice: worth a word, it may be all there is. */
static void warn_twice(const struct job *j)
{
    for (int i = 0; i < gguf_tensor_count(j->in); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(j->in, i);
        const struct kern_type_info *from = kern_type_info((int)t->type);
        enum kern_type to = mix_type_of(j->mix, &j->facts, t);
        if (from->block_len > 1 && to != t->type && kern_type_info((int)to)->block_len > 1) {
            log_line(LOG_WARN, "quantize", "%s is quantised already (tensor '%.*s' is %s): what it lost stays lost; "
                     "start from F16 where there is one", gguf_name(j->in), (int)t->name.len, t->name.data, from->name);
            return;
        }
    }
}

/* A model quantised onto itself is the original lost. */
static bool same_file(const char *a, const char *b)
{
    struct stat s, t;
    return !stat(a, &s) && !stat(b, &t) && s.st_dev == t.st_dev && s.st_ino == t.st_ino;
}

static enum err_code run(const struct quantize_options *o, const char *in, const char *out, const char *type,
                         struct err *e)
{
    struct job j = { .mix = mix_find(type) };
    struct gguf_file *f;
    if (!j.mix)
        return err_set(e, ERR_INVALID, "no type '%s' (these are: %s)", type, mix_names());
    if (same_file(in, out))
        return err_set(e, ERR_INVALID, "%s: IN and OUT are the same file; give OUT another name", out);
    enum err_code c = gguf_open(in, &f, e);
    if (c)
        return c;
    j.in = f;
    j.out = gguf_writer_new();
    j.pool = pool_new((int)o->threads);
    mix_read_facts(f, &j.facts);
    if (gguf_tensor_count(f)) {
        warn_twice(&j);
        c = write_all(&j, out, e);
    } else {
        c = err_set(e, ERR_INVALID, "%s: holds no tensors to quantise", in);
    }
    gguf_writer_free(j.out);
    pool_free(j.pool);
    gguf_close(f);
    return c;
}

int cmd_quantize(int argc, char **argv)
{
    struct quantize_options o = { .threads = pool_default_threads() };
    int positional;
    struct err e = { 0 };
    enum opt_result r = opt_parse(&cmd_quantize_spec, argc, argv, &o, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (positional != 3) {
        fprintf(stderr, "tokenworks quantize: give IN, OUT and TYPE (tokenworks quantize --help)\n");
        return 2;
    }
    return run(&o, argv[1], argv[2], argv[3], &e) ? cmd_fail(&cmd_quantize_spec, &e) : 0;
}
