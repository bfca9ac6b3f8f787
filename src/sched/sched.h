/* sched -- which sequences run in the next step: admission, continuous batching, chunked prefill, parking.
 *
 *                 sched_add                admit (pages for the whole prompt are there or evictable)
 *        nothing ----------> WAITING --------------------------------------------> RUNNING --finish--> gone
 *                               ^                                                     |
 *                               +------------------- park (KV pages ran out) ---------+
 *
 * A step takes one row of every running sequence that decodes, more where guesses of its next tokens pay (draft.h),
 * then chunks of prompts as far as the target time between tokens allows (pace.h); who goes first is order.h's to
 * say. Nothing is ever failed for memory: when a page is missing the last sequence in that order is parked and later
 * computed again; the first always proceeds, and fits, because sched_new refuses a context larger than the pool. A
 * place that another tenant has more right to is given up in the same way.
 *
 * Owner: the step thread calls everything here; callbacks run inside sched_step and sched_cancel. */
#ifndef SCHED_SCHED_H
#define SCHED_SCHED_H
#include "infer/kv.h"
#include "infer/params.h"
#include "model/adapter.h"
#include "model/model.h"
#include "sched/order.h"
#include "sched/pace.h"
#include "text/grammar.h"
#include "text/vocab.h"

struct sched;
struct sched_seq;

struct sched_options {
    int batch_rows;      /* rows in a step, prompts and decodes together */
    int prefill_rows;    /* of these, for prompts while others decode, as long as their time is not known */
    int running_max;     /* sequences in a step */
    int waiting_max;     /* sched_add refuses past this */
    size_t kv_bytes;     /* memory for pages */
    const int32_t *end_tokens; /* [end_count], borrowed */
    int end_count;
    const struct vocab *vocab;        /* for grammars; NULL where none are used (tests, bench); borrowed */
    const struct grammar_trie *trie;  /* its tokens; borrowed */
    int64_t (*now_ns)(void);          /* NULL: the monotonic clock; tests pass their own */
    double itl_ms, ttft_ms;           /* targets (pace.h); itl_ms 0: prefill_rows says it all */
    int draft_rows;                   /* guesses checked for a sequence in a step, at most (draft.h); 0: none */
    bool draft_always;                /* whether it pays or not */
    const struct model *draft_model;  /* guesses as well; borrowed; NULL: none */
    size_t draft_kv_bytes;            /* memory for its pages */
    const struct model_rest *rest;    /* runs the layers that the model does not have; borrowed; NULL: it has all */
    const struct steptime_model *step_time; /* instead of what is learned; borrowed; NULL: learn */
};

struct sched_events {
    /* A token was drawn. true: end the sequence with INFER_STOP (a stop string was completed). */
    bool (*token)(void *user, const struct infer_token *t);
    /* The sequence is over; its handle is invalid when this returns. */
    void (*finish)(void *user, enum infer_finish why);
    /* It left the queue for the first time: prompt tokens found in the prefix tree. */
    void (*start)(void *user, int cached_tokens);
    /* A pooled text's vector: [n], borrowed for the call; finish(INFER_STOP) follows. */
    void (*vector)(void *user, const float *v, int n);
};

/* A text that becomes a vector instead of going on. */
struct sched_pooling {
    enum model_pooling how; /* decoders: MODEL_POOL_MEAN or MODEL_POOL_LAST */
    int second;             /* encoders that tell two texts apart: where the second one begins; 0: there is one */
};

struct sched_spec {
    const int32_t *prompt;   /* copied; 1 <= prompt_count < ctx */
    int prompt_count;
    const struct infer_params *params; /* borrowed until finish */
    uint64_t seed;
    uint64_t space;          /* prefix name space: tenants do not see each other's */
    int priority;            /* larger goes first */
    uint64_t tenant;         /* for fairness; 0: nobody's, like all such */
    int weight;              /* of the tenant; 0 stands for 1 */
    int64_t deadline_ns;     /* monotonic; 0: none. Earlier ones of a class go first; past it: INFER_DEADLINE */
    struct sched_seq *after; /* start when this one's prompt is computed (choices of one prompt), or NULL */
    const struct model_adapter *adapter; /* of the model this scheduler runs; borrowed until finish; NULL: none */
    const struct sched_pooling *pooling; /* borrowed for the call; NULL: it is a prompt. Its length may be ctx */
    const int32_t *known;    /* [known_count] what another engine drew of the answer already; copied; only guesses */
    int known_count;
    const struct sched_events *events;
    void *user;
};

/* An encoder's texts are whole steps of batch_rows at most, of one text if it is longer; kv_bytes means nothing then.
 * ctx is cut to what kv_bytes holds; ERR_LIMIT with both numbers when not even 64 tokens fit. */
enum err_code sched_new(const struct model *m, struct pool *pool, const struct sched_options *o,
                        struct sched **out, struct err *e);
void sched_free(struct sched *s); /* running sequences end with INFER_CANCELLED */
int sched_ctx(const struct sched *s);
const struct sched_options *sched_options(const struct sched *s); /* what it was made with */
/* Before the first sequence with an adapter, once: room for ranks up to this. */
void sched_allow_adapters(struct sched *s, int rank_max);
/* Rows of a step whose logits are wanted, at most: what the memory plan must know. */
int sched_logit_rows(int running_max, int draft_rows);

/* ERR_BUSY when the queue is full or the deadline cannot be met now, ERR_LIMIT when the request never fits or its
 * deadline could not be met even alone. */
enum err_code sched_add(struct sched *s, const struct sched_spec *spec, struct sched_seq **out, struct err *e);
void sched_cancel(struct sched *s, struct sched_seq *q);      /* finish(INFER_CANCELLED) is called */
void sched_pause(struct sched *s, struct sched_seq *q, bool paused); /* keeps its pages, takes no step */

/* What became of a sequence's guesses; valid in its events too. Both 0: there were none. */
struct sched_drafts {
    int accepted, rejected;
};
/* Nanoseconds times pages of KV memory it held, until the last step; shared pages count for each that holds them. */
int64_t sched_seq_page_ns(const struct sched_seq *q);
struct sched_drafts sched_seq_drafts(const struct sched_seq *q);

/* One step. Returns the rows computed; 0 when there is nothing to do. */
int sched_step(struct sched *s);
/* Of any thread: when the step under way began (monotonic ns; 0: none is), and what it was to take; 0: nobody knows. */
int64_t sched_step_since(const struct sched *s, double *expected_ms);

struct sched_stats {
    int running, waiting, kv_pages, kv_pages_used, kv_pages_idle;
    int64_t prefill_backlog;          /* prompt tokens that are still to be computed, of those that wait too */
    int64_t steps, rows, prompt_tokens, cached_tokens, completion_tokens, parked, step_ns;
    int64_t drafted, accepted;        /* guesses checked, and those that were drawn */
    struct steptime_model step_time;
};
void sched_stats(const struct sched *s, struct sched_stats *out);
struct kv_pool *sched_kv(struct sched *s);  /* its pages: for a spill */
void sched_forget_prefixes(struct sched *s); /* evicts idle pages */
#endif
