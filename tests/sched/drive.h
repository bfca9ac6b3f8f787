/* drive -- a tiny model with a vocabulary of letters, and requests driven through a scheduler to their end. */
#ifndef TESTS_SCHED_DRIVE_H
#define TESTS_SCHED_DRIVE_H
#include "../test.h"
#include "../tiny_model.h"
#include "base/mem.h"
#include "model/model.h"
#include "sched/sched.h"

#include <stdio.h>

enum { ANSWER_MAX = 400 };

struct fixture {
    struct buf file, other_file, spelling;
    struct gguf_file *gguf, *other_gguf;
    struct kern_table kern;
    struct pool *pool;
    struct model *model, *other; /* the same shape, other weights */
    struct vocab *vocab;
    struct grammar_trie *trie;
};
static struct fixture fx;
static const int32_t ends[] = { TINY_EOS };

struct answer {
    struct infer_token tokens[ANSWER_MAX];
    int count, cached, stop_at; /* stop_at: say stop at this many; 0: never */
    enum infer_finish why;
    struct sched_drafts drafts;
    struct sched_seq *seq;
    bool over;
};

static bool on_token(void *user, const struct infer_token *t)
{
    struct answer *a = user;
    a->tokens[a->count++] = *t;
    return a->stop_at && a->count >= a->stop_at;
}

static void on_finish(void *user, enum infer_finish why)
{
    struct answer *a = user;
    a->why = why;
    a->drafts = sched_seq_drafts(a->seq);
    a->over = true;
}

static void on_start(void *user, int cached)
{
    ((struct answer *)user)->cached = cached;
}

static const struct sched_events events = { .token = on_token, .finish = on_finish, .start = on_start };

static inline struct sched_options options_of(int kv_pages, int batch, int prefill, int running)
{
    return (struct sched_options){ .batch_rows = batch, .prefill_rows = prefill, .running_max = running,
                                   .waiting_max = 1000, .kv_bytes = (size_t)kv_pages * model_kv_page_bytes(fx.model),
                                   .end_tokens = ends, .end_count = 1, .vocab = fx.vocab, .trie = fx.trie };
}

static inline struct sched *make(const struct sched_options *o)
{
    struct sched *s = NULL;
    struct err e = { 0 };
    if (sched_new(fx.model, fx.pool, o, &s, &e))
        printf("# %s\n", e.text);
    return s;
}

struct request {
    int32_t prompt[ANSWER_MAX];
    int count;
    struct infer_params params;
    uint64_t seed, space;
    int32_t known[ANSWER_MAX]; /* drawn elsewhere already, or said to be */
    int known_count;
};

static inline void add(struct sched *s, const struct request *q, struct answer *a)
{
    struct sched_spec spec = { .prompt = q->prompt, .prompt_count = q->count, .params = &q->params, .seed = q->seed,
                               .space = q->space, .events = &events, .user = a, .known = q->known,
                               .known_count = q->known_count };
    CHECK_INT(sched_add(s, &spec, &a->seq, NULL), ERR_OK);
}

/* Steps until the answer is there; returns how many. */
static inline int run(struct sched *s, const struct answer *a)
{
    int steps = 0;
    for (; !a->over && steps < 20000; steps++)
        sched_step(s);
    return steps;
}

static inline bool same(const struct answer *a, const struct answer *b)
{
    bool equal = a->count == b->count && a->why == b->why;
    for (int i = 0; equal && i < a->count; i++) {
        const struct infer_token *x = &a->tokens[i], *y = &b->tokens[i];
        equal = x->id == y->id && x->top_count == y->top_count && !memcmp(&x->logprob, &y->logprob, sizeof x->logprob);
        for (int k = 0; equal && k < x->top_count; k++)
            equal = !memcmp(&x->top[k], &y->top[k], sizeof x->top[k]);
    }
    return equal;
}

/* Ids 3.. are letters and a few longer pieces, which is all that the tests' grammars speak of. */
static inline bool make_vocab(struct err *e)
{
    static const char *const pieces[] = { "\"name\"", "\"na", "\"count\"", "tr", "true", "false", "null", "\":", "{\"", "}}" };
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789{}[]\",:.-_+/*()!?=<>";
    static char text[TINY_VOCAB][8] = { "<unk>", "<s>", "</s>" };
    struct gguf_str strings[TINY_VOCAB];
    int32_t types[TINY_VOCAB] = { 2, 3, 3 };
    float scores[TINY_VOCAB] = { 0 };
    for (int i = 0; i < TINY_VOCAB; i++) {
        int piece = i - 3, letter = piece - (int)(sizeof pieces / sizeof *pieces);
        if (piece >= 0) {
            types[i] = 1;
            scores[i] = -(float)i;
            if (letter < 0)
                snprintf(text[i], sizeof text[i], "%s", pieces[piece]);
            else
                snprintf(text[i], sizeof text[i], "%c", letter < (int)sizeof letters - 1 ? letters[letter] : 1 + letter - 80);
        }
        strings[i] = (struct gguf_str){ text[i], strlen(text[i]) };
    }
    struct gguf_writer *w = gguf_writer_new();
    gguf_writer_string(w, "tokenizer.ggml.model", "llama");
    gguf_writer_strings(w, "tokenizer.ggml.tokens", strings, TINY_VOCAB);
    gguf_writer_array(w, "tokenizer.ggml.token_type", GGUF_I32, types, TINY_VOCAB);
    gguf_writer_array(w, "tokenizer.ggml.scores", GGUF_F32, scores, TINY_VOCAB);
    struct gguf_file *f = NULL;
    enum err_code c = gguf_writer_start_buf(w, &fx.spelling, e);
    c = c ? c : gguf_writer_finish(w, e);
    gguf_writer_free(w);
    c = c ? c : gguf_open_memory(fx.spelling.data, fx.spelling.len, &f, e);
    c = c ? c : vocab_new(f, NULL, &fx.vocab, e);
    gguf_close(f);
    struct grammar_token tokens[TINY_VOCAB];
    for (int i = 0; i < TINY_VOCAB; i++)
        tokens[i] = (struct grammar_token){ i > 2 ? text[i] : NULL, i > 2 ? strlen(text[i]) : 0 };
    fx.trie = c ? NULL : grammar_trie_new(tokens, TINY_VOCAB);
    return !c;
}

static inline bool set_up(void)
{
    struct err e = { 0 };
    tiny_model(&fx.file);
    tiny_model(&fx.other_file); /* its random numbers go on where the first one's ended */
    kern_table_fill(&fx.kern, kern_isa_detect(KERN_ISA_COUNT));
    fx.pool = pool_new(2);
    struct model_load_options o = { .kern = &fx.kern, .kv_type = KERN_F16 };
    if (!gguf_open_memory(fx.file.data, fx.file.len, &fx.gguf, &e) && !model_load(fx.gguf, &o, fx.pool, &fx.model, &e) &&
        !gguf_open_memory(fx.other_file.data, fx.other_file.len, &fx.other_gguf, &e) &&
        !model_load(fx.other_gguf, &o, fx.pool, &fx.other, &e) && make_vocab(&e))
        return true;
    printf("not ok 1 - the tiny model loads\n# %s\n", e.text);
    return false;
}

static inline void tear_down(void)
{
    model_free(fx.model);
    model_free(fx.other);
    gguf_close(fx.gguf);
    gguf_close(fx.other_gguf);
    vocab_free(fx.vocab);
    grammar_trie_free(fx.trie);
    pool_free(fx.pool);
    buf_release(&fx.file);
    buf_release(&fx.other_file);
    buf_release(&fx.spelling);
}
#endif
