/* sched_impl -- what the files of sched/ share: a sequence, the lists, the step being made. Nobody else includes this.
 *
 * Reading order: sched.c (life; after the forward pass), step.c (what goes into a step), order.c (who goes first),
 * deadline.c (what can be met), pooled.c (texts to vectors), pace.c and steptime.c (how much goes in), guess.c, draft.c
 * and draft_model.c (guesses), form.c (grammars). */
#ifndef SCHED_SCHED_IMPL_H
#define SCHED_SCHED_IMPL_H
#include "infer/sample.h"
#include "infer/seq.h"
#include "sched/draft_model.h"
#include "sched/form.h"
#include "sched/sched.h"

#include <stdatomic.h>

enum state { WAITING, RUNNING };

struct sched_seq {
    struct seq seq;
    struct infer_params params; /* its bias list is borrowed */
    uint64_t seed;
    struct order_seat seat;
    struct sched_seq *after;  /* NULL once that one's prompt is computed */
    struct sched_seq *prev, *next;
    enum state state;
    bool started, paused, failed;
    bool skipped;             /* it made way in the last step */
    int rows;                 /* in the step being made */
    struct form *form;        /* what the text must look like, or NULL */
    struct draft draft;
    struct draft_reader reader; /* the small model's part of it */
    const struct model_adapter *adapter; /* or NULL */
    struct pooled *pooled;    /* NULL: it generates */
    int64_t arrived_ns;
    int64_t page_ns;          /* pages held, integrated over time */
    const struct sched_events *events;
    void *user;
};

/* What is drawn for a sequence in a step: the token that is due and, while guesses turn out right, those after it. */
struct drawing {
    struct sched_seq *q;
    int first, rows;          /* its logits */
    int count;                /* of them drawn from */
    bool failed;              /* the last one has no place in the form */
};

struct list {
    struct sched_seq *head, *tail; /* WAITING: order_first; RUNNING: order_keeps; as of the last plan */
    int count;
};

struct sched {
    const struct model *model;
    struct pool *pool;
    struct sched_options o;
    int ctx;
    struct kv_pool *kv;
    struct model_work *work;
    struct list waiting, running;
    struct order *order;
    int deadlines;                /* sequences that have one */
    /* the step being made; sized once */
    int32_t *tokens;              /* [batch_rows] */
    struct model_run *runs;       /* [running_max] */
    struct sched_seq **members;   /* [running_max] the sequence of each run */
    struct drawing *drawings;     /* [running_max] */
    int32_t *logit_rows;          /* [logit_rows_max] */
    struct infer_token *drawn;    /* [logit_rows_max] */
    struct sample_scratch **scratch; /* [threads] */
    int rows, run_count, drawing_count, logit_count, logit_rows_max;
    int32_t *state_rows;          /* [batch_rows] whose hidden state is wanted: of pooled texts */
    uint8_t *segments;            /* [batch_rows] encoders: which of two texts a row is of; else NULL */
    int state_count, text_rows;   /* text_rows: of encoders, past which no further text joins a step */
    struct steptime_load load;
    struct pace_goal goal;
    struct pace pace;
    struct form_tokens spelling;
    struct steptime *steptime;
    struct draft_model *draft_model; /* NULL: none guesses */
    int64_t guess_ns;             /* what its guesses for this step took */
    const struct sched_seq *prompt;  /* others make way for it, NULL when there is none */
    int way_rows;                    /* what they may still take */
    const struct order_seat *hurry;  /* its deadline is near: what comes after it makes way; or NULL */
    int64_t ended_ns;                /* the last step; 0: none yet */
    const float *logits;
    struct sched_stats stats;
    _Atomic int64_t began_ns;     /* the step under way, 0: none, */
    _Atomic int64_t expected_us;  /* and its time; for sched_step_since: no order between the two is needed */
};

/* list.c. Doubly linked through the sequences: every move is O(1), an insertion nearly always. */
typedef bool sched_before_fn(const struct order_seat *a, const struct order_seat *b);
void sched_list_insert(struct list *l, struct sched_seq *q, sched_before_fn *before);
void sched_list_remove(struct list *l, struct sched_seq *q);
void sched_list_sort(struct list *l, sched_before_fn *before);

/* pooled.c: a text on its way to a vector. */
struct pooled *sched_pooled_new(const struct sched *s, const struct sched_pooling *p, int rows);
void sched_pooled_free(struct pooled *p);
bool sched_pooled_needs_all(const struct sched_seq *q); /* cached rows would be missing in its vector */
/* Which of q's rows, the last of the step so far, it wants. */
void sched_pooled_plan(struct sched *s, struct sched_seq *q, int rows);
void sched_pool_all(struct sched *s);   /* after the forward pass: takes states, ends what is whole */
/* The plan of an encoder's step: whole texts. */
void sched_plan_texts(struct sched *s);
/* Fills the sizes of an encoder's scheduler into o: pages for a step. */
size_t sched_text_pages(const struct model *m, struct sched_options *o);

/* step.c: fills tokens, runs, drawings of the next step. */
void sched_plan(struct sched *s);
/* guess.c: guesses for all that decode; then, for one of them, the guesses that pay laid after its text, within `room`
 * rows and the pages it has or may have without parking: how many. */
void sched_guess(struct sched *s, int decoding);
int sched_guess_plan(struct sched *s, struct sched_seq *q, int room);
/* deadline.c: the sequence that goes last of those whose deadline is near, or NULL. */
const struct order_seat *sched_hurry(const struct sched *s, int64_t now_ns);
/* Whether this and every deadline that was promised before can be met: ERR_BUSY now, ERR_LIMIT never. */
enum err_code sched_deadline_fits(const struct sched *s, const struct sched_spec *spec, int64_t now_ns, struct err *e);
int64_t sched_now_ns(const struct sched *s);
/* A decoding sequence has one token to compute. */
static inline bool sched_decodes(const struct sched_seq *q)
{
    return q->seq.count - q->seq.computed == 1 && !q->paused;
}
/* sched.c: how q's tokens are drawn; logits, the length of the text before them and what is allowed are to be set. */
struct sample_input sched_sample(const struct sched *s, const struct sched_seq *q);
/* sched.c: takes q off its list, tells its owner, frees it. */
void sched_finish(struct sched *s, struct sched_seq *q, enum infer_finish why);
#endif
