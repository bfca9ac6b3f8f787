/* sched -- see sched.h. Lists are doubly linked through the sequences, so every move is O(1). */
#include "sched/sched.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "infer/sample.h"
#include "infer/seq.h"
#include "sched/draft.h"
#include "sched/form.h"

#include <string.h>

enum { CTX_MIN = 64 };

enum state { WAITING, RUNNING };

struct sched_seq {
    struct seq seq;
    struct infer_params params; /* its bias list is borrowed */
    uint64_t seed;
    int priority;
    uint64_t arrival;         /* smaller is older */
    struct sched_seq *after;  /* NULL once that one's prompt is computed */
    struct sched_seq *prev, *next;
    enum state state;
    bool started, paused, failed;
    int rows;                 /* in the step being made */
    struct form *form;        /* what the text must look like, or NULL */
    struct draft draft;
    int64_t arrived_ns;
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
    struct sched_seq *head, *tail; /* WAITING: the order of admission; RUNNING: oldest arrival first */
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
    uint64_t arrivals;
    /* the step being made; sized once */
    int32_t *tokens;              /* [batch_rows] */
    struct model_run *runs;       /* [running_max] */
    struct sched_seq **members;   /* [running_max] the sequence of each run */
    struct drawing *drawings;     /* [running_max] */
    int32_t *logit_rows;          /* [logit_rows_max] */
    struct infer_token *drawn;    /* [logit_rows_max] */
    struct sample_scratch **scratch; /* [threads] */
    int rows, run_count, drawing_count, logit_count, logit_rows_max;
    struct steptime_load load;
    struct pace_goal goal;
    struct pace pace;
    struct form_tokens spelling;
    struct steptime *steptime;
    const float *logits;
    struct sched_stats stats;
};

/* ---- lists */

static bool goes_before(const struct sched_seq *a, const struct sched_seq *b)
{
    return a->priority != b->priority ? a->priority > b->priority : a->arrival < b->arrival;
}

/* From the tail: new sequences are the youngest, so this is one comparison nearly always. */
static void list_insert(struct list *l, struct sched_seq *q)
{
    struct sched_seq *p = l->tail;
    while (p && goes_before(q, p))
        p = p->prev;
    q->prev = p;
    q->next = p ? p->next : l->head;
    *(p ? &p->next : &l->head) = q;
    *(q->next ? &q->next->prev : &l->tail) = q;
    l->count++;
}

static void list_remove(struct list *l, struct sched_seq *q)
{
    *(q->prev ? &q->prev->next : &l->head) = q->next;
    *(q->next ? &q->next->prev : &l->tail) = q->prev;
    q->prev = q->next = NULL;
    l->count--;
}

static struct list *list_of(struct sched *s, const struct sched_seq *q)
{
    return q->state == RUNNING ? &s->running : &s->waiting;
}

/* ---- life */

enum err_code sched_new(const struct model *m, struct pool *pool, const struct sched_options *o,
                        struct sched **out, struct err *e)
{
    ASSERT(o->batch_rows >= o->running_max && o->prefill_rows >= 1 && o->running_max >= 1);
    size_t page_bytes = model_kv_page_bytes(m);
    size_t pages = o->kv_bytes / page_bytes;
    if (pages * KERN_PAGE_TOKENS < CTX_MIN)
        return err_set(e, ERR_LIMIT, "%zu bytes of KV memory hold %zu tokens; give at least %zu (--kv-memory)",
                       o->kv_bytes, pages * KERN_PAGE_TOKENS, page_bytes * CTX_MIN / KERN_PAGE_TOKENS);
    size_t useful = (size_t)(model_ctx(m) + KERN_PAGE_TOKENS - 1) / KERN_PAGE_TOKENS * (size_t)o->running_max;
    if (pages > useful)
        pages = useful; /* more could never be held at once; the rest would only remember prefixes */
    struct sched *s = MEM_NEW(struct sched);
    s->model = m;
    s->pool = pool;
    s->o = *o;
    s->ctx = model_ctx(m) < (int)pages * KERN_PAGE_TOKENS ? model_ctx(m) : (int)pages * KERN_PAGE_TOKENS;
    s->kv = kv_pool_new(page_bytes, (int)pages);
    kv_exclude_from_dumps(s->kv);
    s->logit_rows_max = sched_logit_rows(o->running_max, o->draft_rows);
    s->work = model_work_new(m, pool, o->batch_rows, s->logit_rows_max);
    s->tokens = mem_new((size_t)o->batch_rows, sizeof *s->tokens);
    s->runs = mem_new((size_t)o->running_max, sizeof *s->runs);
    s->members = mem_new((size_t)o->running_max, sizeof *s->members);
    s->drawings = mem_new((size_t)o->running_max, sizeof *s->drawings);
    s->logit_rows = mem_new((size_t)s->logit_rows_max, sizeof *s->logit_rows);
    s->drawn = mem_new((size_t)s->logit_rows_max, sizeof *s->drawn);
    s->spelling = (struct form_tokens){ o->vocab, o->trie, model_facts(m)->vocab, o->end_tokens, o->end_count };
    s->goal = (struct pace_goal){ o->itl_ms, o->ttft_ms, o->prefill_rows };
    s->steptime = steptime_new();
    s->scratch = mem_new((size_t)pool_threads(pool), sizeof *s->scratch);
    for (int i = 0; i < pool_threads(pool); i++)
        s->scratch[i] = sample_scratch_new(model_facts(m)->vocab);
    *out = s;
    return ERR_OK;
}

/* Takes q off its list, tells its owner, frees it. Those that waited for it need not any more. */
static void finish(struct sched *s, struct sched_seq *q, enum infer_finish why)
{
    list_remove(list_of(s, q), q);
    for (struct sched_seq *w = s->waiting.head; w; w = w->next)
        if (w->after == q)
            w->after = NULL;
    seq_release(&q->seq);
    form_free(q->form);
    q->events->finish(q->user, why);
    draft_release(&q->draft);
    mem_free(q);
}

void sched_free(struct sched *s)
{
    if (!s)
        return;
    while (s->running.head)
        finish(s, s->running.head, INFER_CANCELLED);
    while (s->waiting.head)
        finish(s, s->waiting.head, INFER_CANCELLED);
    for (int i = 0; i < pool_threads(s->pool); i++)
        sample_scratch_free(s->scratch[i]);
    model_work_free(s->work);
    kv_pool_free(s->kv);
    mem_free(s->tokens);
    mem_free(s->runs);
    mem_free(s->members);
    mem_free(s->logit_rows);
    mem_free(s->drawings);
    mem_free(s->drawn);
    mem_free(s->scratch);
    steptime_free(s->steptime);
    mem_free(s);
}

int sched_ctx(const struct sched *s)
{
    return s->ctx;
}

/* Guesses take the rows that idle places leave; with every place taken they rarely pay. */
int sched_logit_rows(int running_max, int draft_rows)
{
    return running_max > draft_rows + 1 ? running_max : draft_rows + 1;
}

struct sched_drafts sched_seq_drafts(const struct sched_seq *q)
{
    return (struct sched_drafts){ q->draft.accepted, q->draft.rejected };
}

static int64_t now_ns(const struct sched *s)
{
    return s->o.now_ns ? s->o.now_ns() : clock_mono_ns();
}

enum err_code sched_add(struct sched *s, const struct sched_spec *spec, struct sched_seq **out, struct err *e)
{
    if (s->waiting.count >= s->o.waiting_max)
        return err_set(e, ERR_BUSY, "%d requests are waiting already; try again later", s->waiting.count);
    if (spec->prompt_count < 1 || spec->prompt_count >= s->ctx)
        return err_set(e, ERR_LIMIT, "the prompt has %d tokens; the context holds %d and one must be left to answer",
                       spec->prompt_count, s->ctx);
    struct sched_seq *q = MEM_NEW(struct sched_seq);
    int room = s->ctx - spec->prompt_count;
    int want = spec->params->max_tokens;
    seq_init(&q->seq, s->kv, spec->space, spec->prompt, spec->prompt_count,
             spec->prompt_count + (want > 0 && want < room ? want : room));
    q->params = *spec->params;
    q->seed = spec->seed;
    q->priority = spec->priority;
    q->arrival = s->arrivals++;
    q->after = spec->after && spec->after->seq.computed < spec->after->seq.prompt ? spec->after : NULL;
    q->events = spec->events;
    q->user = spec->user;
    q->state = WAITING;
    q->arrived_ns = now_ns(s);
    if (spec->params->grammar || spec->params->thought)
        q->form = form_new(&s->spelling, spec->params->grammar, spec->params->thought);
    if (s->o.draft_rows)
        draft_init(&q->draft, q->seq.token_max);
    list_insert(&s->waiting, q);
    *out = q;
    return ERR_OK;
}

void sched_cancel(struct sched *s, struct sched_seq *q)
{
    finish(s, q, INFER_CANCELLED);
}

void sched_pause(struct sched *s, struct sched_seq *q, bool paused)
{
    q->paused = paused;
}

/* ---- planning a step */

static void park(struct sched *s, struct sched_seq *q)
{
    list_remove(&s->running, q);
    seq_drop_pages(&q->seq);
    q->state = WAITING;
    q->rows = 0;
    list_insert(&s->waiting, q); /* it keeps its arrival, so it is the first of its priority again */
    s->stats.parked++;
}

/* Pages for q up to end, parking younger sequences for them. false: q itself is the youngest, or what is
 * younger is already in this step. */
static bool make_room(struct sched *s, struct sched_seq *q, int end)
{
    while (!seq_reserve(&q->seq, end)) {
        struct sched_seq *victim = s->running.tail;
        if (victim == q || victim->rows)
            return false;
        park(s, victim);
    }
    return true;
}

/* Rows of q, the last `guesses` of them guessed: those stand after its text already. */
static void plan_rows(struct sched *s, struct sched_seq *q, int rows, int guesses)
{
    struct seq *seq = &q->seq;
    struct model_run *run = &s->runs[s->run_count];
    for (int i = 0; i < rows; i++)
        s->tokens[s->rows + i] = seq->tokens[seq->computed + i];
    *run = (struct model_run){ .rows = rows, .pos_first = seq->computed, .pages = seq->page_at };
    s->members[s->run_count++] = q;
    s->rows += rows;
    q->rows = rows - guesses;
    q->draft.rows = guesses;
    if (seq->computed + q->rows < seq->count)
        return;
    struct drawing *d = &s->drawings[s->drawing_count++];
    *d = (struct drawing){ .q = q, .first = s->logit_count, .rows = 1 + guesses };
    for (int i = 0; i < d->rows; i++)
        s->logit_rows[s->logit_count++] = s->rows - d->rows + i;
}

static bool decodes(const struct sched_seq *q)
{
    return q->seq.count - q->seq.computed == 1 && !q->paused;
}

/* Lays the guesses that pay after q's text, within `room` rows and the pages it has or may have without parking. */
static int plan_guesses(struct sched *s, struct sched_seq *q, int room)
{
    struct seq *seq = &q->seq;
    const struct draft_guess *g;
    int most = seq->token_max - seq->count - 1, n = 0; /* the last token is drawn in any case */
    draft_look_up(&q->draft, seq);
    g = draft_best(&q->draft, &q->draft.source);
    most = most < s->o.draft_rows ? most : s->o.draft_rows;
    most = most < room ? most : room;
    if (!g || most <= 0)
        return 0;
    double each = (double)draft_chance(&q->draft, q->draft.source), chance = each;
    for (; n < most && n < g->count && (s->o.draft_always || pace_guess(&s->pace, chance)); chance *= each)
        n++;
    while (n && !seq_reserve(seq, seq->count + n))
        n--;
    memcpy(seq->tokens + seq->count, g->ids, (size_t)n * sizeof *g->ids);
    return n;
}

/* A decoding sequence has one token to compute. Oldest first, so that parking hits the youngest. */
static void plan_decodes(struct sched *s)
{
    int others = s->running.count; /* that may want logits of a row, prompts too */
    for (struct sched_seq *q = s->running.head, *next; q; q = next) {
        struct seq *seq = &q->seq;
        bool owed = decodes(q);
        bool placed = owed && make_room(s, q, seq->count);
        next = q->next; /* after make_room: it may have parked what was next */
        if (placed) {
            int room = s->o.batch_rows - s->rows, logits = s->logit_rows_max - s->logit_count;
            room = (room < logits ? room : logits) - others;
            int guesses = s->o.draft_rows ? plan_guesses(s, q, room) : 0;
            plan_rows(s, q, 1 + guesses, guesses);
            s->load.batch += 1 + guesses;
            s->load.context += seq->count;
        } else if (owed) {
            park(s, q);
        }
        others--;
    }
}

/* Prompts (and what was parked) in chunks, oldest first, within what the pace allows. */
static void plan_prefills(struct sched *s)
{
    for (struct sched_seq *q = s->running.head, *next; q && s->pace.rows > 0; q = next) {
        struct seq *seq = &q->seq;
        int rows = seq->count - seq->computed;
        bool wants = !q->rows && !q->paused && rows > 0;
        rows = wants ? pace_chunk(&s->pace, seq->computed, rows) : 0;
        bool placed = rows && make_room(s, q, seq->computed + rows);
        next = q->next;
        if (placed) {
            s->load.prefill += rows;
            s->load.sum_pc += rows * (seq->computed + rows / 2.0);
            plan_rows(s, q, rows, 0);
        } else if (rows) {
            park(s, q);
        }
    }
}

/* Whether a prompt, running or waiting, would have its first token too late at the gentle pace. */
static bool prompts_hurry(const struct sched *s)
{
    int64_t now = now_ns(s);
    double rows = 0;
    bool late = false, any = false;
    for (int l = 0; l < 2; l++)
        for (const struct sched_seq *q = l ? s->waiting.head : s->running.head; q && !late; q = q->next) {
            bool prompt = q->seq.computed < q->seq.prompt && !q->paused;
            if (!prompt)
                continue;
            rows += q->seq.count - q->seq.computed;
            any = true;
            late = pace_late(&s->pace, rows, (double)(now - q->arrived_ns) / 1e6);
        }
    return late || !any;
}

/* Waiting sequences join while there are places, and pages for all their tokens and one more page for each that
 * runs already: admitting what would be parked at once helps nobody. The first always fits when nothing runs. */
static void admit(struct sched *s)
{
    for (struct sched_seq *q = s->waiting.head, *next; q && s->running.count < s->o.running_max; q = next) {
        next = q->next;
        if (q->after || q->paused)
            continue;
        seq_adopt_prefix(&q->seq);
        int available = kv_pages_free(s->kv) + kv_pages_idle(s->kv);
        int held_back = s->running.count;
        if (s->running.count && seq_pages_missing(&q->seq, q->seq.count) + held_back > available) {
            seq_drop_pages(&q->seq);
            return; /* those behind it wait as well: first come, first served within a priority */
        }
        list_remove(&s->waiting, q);
        q->state = RUNNING;
        list_insert(&s->running, q);
        if (!q->started) {
            q->started = true;
            s->stats.prompt_tokens += q->seq.prompt;
            s->stats.cached_tokens += q->seq.cached_tokens;
            q->events->start(q->user, q->seq.cached_tokens);
        }
    }
}

static void plan(struct sched *s)
{
    struct steptime_load owed = { .prefill = 0 };
    s->rows = s->run_count = s->drawing_count = s->logit_count = 0;
    s->load = owed;
    admit(s);
    for (struct sched_seq *q = s->running.head; q; q = q->next) {
        q->rows = 0;
        owed.batch += decodes(q);
        owed.context += decodes(q) ? q->seq.count : 0;
    }
    const struct steptime_model *m = s->o.step_time ? s->o.step_time : steptime_fit(s->steptime);
    pace_begin(&s->pace, &s->goal, m, &owed, s->o.batch_rows, s->o.step_time || steptime_knows_prefill(s->steptime));
    plan_decodes(s);
    int room = s->o.batch_rows - s->rows;
    s->pace.rows = s->pace.rows < room ? s->pace.rows : room;
    if (owed.batch > 0 && !prompts_hurry(s))
        pace_calm(&s->pace);
    plan_prefills(s);
}

/* ---- after the forward pass */

static bool is_end(const struct sched *s, int32_t id)
{
    for (int i = 0; i < s->o.end_count; i++)
        if (s->o.end_tokens[i] == id)
            return true;
    return false;
}

/* The token due, then one for each guess that was right: the very tokens that steps of one row would draw, for a draw
 * is a function of (logits, text before it, seed, position) and right guesses are that text. */
static void draw(const struct sched *s, struct drawing *d, struct sample_scratch *scratch)
{
    struct sched_seq *q = d->q;
    int vocab = model_facts(s->model)->vocab;
    struct sample_input in = {
        .vocab = vocab,
        .history = q->seq.tokens,
        .prompt_count = q->seq.prompt,
        .params = &q->params,
        .seed = q->seed,
        .end_tokens = s->o.end_tokens,
        .end_count = s->o.end_count,
    };
    for (bool more = true; more;) {
        struct infer_token *t = &s->drawn[d->first + d->count];
        in.logits = s->logits + (size_t)(d->first + d->count) * (size_t)vocab;
        in.history_count = q->seq.count + d->count;
        in.allowed = q->form ? form_mask(q->form) : NULL;
        sample_token(&in, scratch, t);
        d->count++;
        more = d->count < d->rows && q->seq.tokens[q->seq.count + d->count - 1] == t->id;
        if (is_end(s, t->id) && !q->params.ignore_eos)
            return;
        d->failed = q->form && !form_follow(q->form, t->id);
        more = more && !d->failed && !(q->form && form_must_end(q->form));
    }
}

/* What was drawn teaches the drafts; the form says what must come next. */
static void look_ahead(const struct sched *s, const struct drawing *d)
{
    struct sched_seq *q = d->q;
    struct draft_guess *forced = &q->draft.guesses[DRAFT_FORCED];
    int32_t ids[1 + DRAFT_MAX];
    for (int i = 0; i < d->count; i++)
        ids[i] = s->drawn[d->first + i].id;
    draft_learn(&q->draft, ids, d->count);
    if (q->form && !d->failed && !form_must_end(q->form))
        forced->count = form_forced(q->form, forced->ids, DRAFT_MAX);
}

static void draw_all(struct team *t, void *arg)
{
    struct sched *s = arg;
    for (int i; (i = team_next(t, s->drawing_count)) >= 0;) {
        draw(s, &s->drawings[i], s->scratch[t->rank]);
        if (s->o.draft_rows)
            look_ahead(s, &s->drawings[i]);
    }
}

/* false: the sequence is over. last: nothing was drawn after t in this step. */
static bool deliver_token(struct sched *s, struct sched_seq *q, const struct infer_token *t, bool last, bool failed)
{
    bool end = is_end(s, t->id) && !q->params.ignore_eos;
    if (end || (last && failed)) {
        finish(s, q, end ? INFER_STOP : INFER_FAILED);
        return false;
    }
    seq_append(&q->seq, t->id);
    s->stats.completion_tokens++;
    bool stop = q->events->token(q->user, t);
    if (stop || (last && q->form && form_must_end(q->form)))
        finish(s, q, INFER_STOP);
    else if (q->seq.count == q->seq.token_max)
        finish(s, q, INFER_LENGTH);
    else
        return true;
    return false;
}

static void deliver(struct sched *s, const struct drawing *d)
{
    struct sched_seq *q = d->q;
    q->draft.rejected += d->rows - 1;
    s->stats.drafted += d->rows - 1;
    for (int i = 0; i < d->count; i++) {
        bool last = i == d->count - 1;
        if (i) /* this one's row is of the true text: it counts as computed */
            seq_computed(&q->seq, q->seq.computed + 1);
        q->draft.accepted += !last;
        q->draft.rejected -= !last;
        s->stats.accepted += !last;
        if (!deliver_token(s, q, &s->drawn[d->first + i], last, d->failed))
            return;
    }
}

/* Rows that are of the true text for sure; whoever waited for a prompt need not any more. */
static void count_computed(struct sched *s)
{
    for (int i = 0; i < s->run_count; i++) {
        struct sched_seq *q = s->members[i];
        seq_computed(&q->seq, q->seq.computed + q->rows);
        for (struct sched_seq *w = s->waiting.head; w && q->seq.computed >= q->seq.prompt; w = w->next)
            if (w->after == q)
                w->after = NULL;
    }
}

int sched_step(struct sched *s)
{
    int64_t started = now_ns(s);
    plan(s);
    if (!s->rows)
        return 0;
    struct model_batch batch = {
        .rows = s->rows,
        .tokens = s->tokens,
        .runs = s->runs,
        .run_count = s->run_count,
        .logit_rows = s->logit_rows,
        .logit_count = s->logit_count,
    };
    s->logits = model_forward(s->model, s->work, &batch);
    count_computed(s);
    if (s->drawing_count)
        pool_run(s->pool, draw_all, s);
    for (int i = 0; i < s->drawing_count; i++)
        deliver(s, &s->drawings[i]);
    int64_t took = now_ns(s) - started;
    steptime_learn(s->steptime, &s->load, (double)took / 1e6);
    s->stats.steps++;
    s->stats.rows += s->rows;
    s->stats.step_ns += took;
    return s->rows;
}

void sched_stats(const struct sched *s, struct sched_stats *out)
{
    *out = s->stats;
    out->running = s->running.count;
    out->step_time = s->o.step_time ? *s->o.step_time : *steptime_last(s->steptime);
    out->waiting = s->waiting.count;
    out->kv_pages = kv_pages(s->kv);
    out->kv_pages_idle = kv_pages_idle(s->kv);
    out->kv_pages_used = out->kv_pages - kv_pages_free(s->kv) - out->kv_pages_idle;
}

void sched_forget_prefixes(struct sched *s)
{
    kv_tree_forget_idle(s->kv);
}
