/* sched -- see sched.h: the life of a sequence, and what follows the forward pass. */
#include "sched/sched_impl.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

enum { CTX_MIN = 64 };

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
    bool texts = !model_facts(m)->causal;
    struct sched_options sized = *o;
    size_t pages = texts ? sched_text_pages(m, &sized) : o->kv_bytes / page_bytes;
    if (pages * KERN_PAGE_TOKENS < CTX_MIN)
        return err_set(e, ERR_LIMIT, "%zu bytes of KV memory hold %zu tokens; give at least %zu (--kv-memory)",
                       o->kv_bytes, pages * KERN_PAGE_TOKENS, page_bytes * CTX_MIN / KERN_PAGE_TOKENS);
    size_t useful = (size_t)(model_ctx(m) + KERN_PAGE_TOKENS - 1) / KERN_PAGE_TOKENS * (size_t)o->running_max;
    if (pages > useful && !texts)
        pages = useful; /* more could never be held at once; the rest would only remember prefixes */
    struct sched *s = MEM_NEW(struct sched);
    s->model = m;
    s->pool = pool;
    s->text_rows = texts ? o->batch_rows : 0;
    s->o = *(o = &sized);
    s->ctx = texts || model_ctx(m) < (int)pages * KERN_PAGE_TOKENS ? model_ctx(m) : (int)pages * KERN_PAGE_TOKENS;
    s->kv = kv_pool_new(page_bytes, (int)pages);
    kv_exclude_from_dumps(s->kv);
    s->logit_rows_max = texts ? 0 : sched_logit_rows(o->running_max, o->draft_rows);
    s->state_rows = mem_new((size_t)o->batch_rows, sizeof *s->state_rows);
    s->segments = texts ? mem_new((size_t)o->batch_rows, sizeof *s->segments) : NULL;
    s->work = model_work_new(m, pool, o->batch_rows, s->logit_rows_max);
    if (o->rest)
        model_work_set_rest(s->work, o->rest);
    s->tokens = mem_new((size_t)o->batch_rows, sizeof *s->tokens);
    s->runs = mem_new((size_t)o->running_max, sizeof *s->runs);
    s->members = mem_new((size_t)o->running_max, sizeof *s->members);
    s->drawings = mem_new((size_t)o->running_max, sizeof *s->drawings);
    s->logit_rows = mem_new((size_t)s->logit_rows_max, sizeof *s->logit_rows);
    s->drawn = mem_new((size_t)s->logit_rows_max, sizeof *s->drawn);
    s->spelling = (struct form_tokens){ o->vocab, o->trie, model_facts(m)->vocab, o->end_tokens, o->end_count };
    s->goal = (struct pace_goal){ o->itl_ms, o->ttft_ms, o->prefill_rows };
    s->steptime = steptime_new();
    if (o->draft_model && o->draft_rows)
        s->draft_model = draft_model_new(o->draft_model, pool, o->draft_kv_bytes);
    s->order = order_new(o->running_max + o->waiting_max);
    s->scratch = mem_new((size_t)pool_threads(pool), sizeof *s->scratch);
    for (int i = 0; i < pool_threads(pool); i++)
        s->scratch[i] = sample_scratch_new(model_facts(m)->vocab);
    *out = s;
    return ERR_OK;
}

/* Takes q off its list, tells its owner, frees it. Those that waited for it need not any more. */
void sched_finish(struct sched *s, struct sched_seq *q, enum infer_finish why)
{
    sched_list_remove(list_of(s, q), q);
    for (struct sched_seq *w = s->waiting.head; w; w = w->next)
        if (w->after == q)
            w->after = NULL;
    seq_release(&q->seq);
    form_free(q->form);
    sched_pooled_free(q->pooled);
    s->deadlines -= q->seat.deadline_ns != 0;
    order_leave(s->order, &q->seat);
    q->events->finish(q->user, why);
    draft_release(&q->draft);
    draft_reader_release(&q->reader);
    mem_free(q);
}

void sched_free(struct sched *s)
{
    if (!s)
        return;
    while (s->running.head)
        sched_finish(s, s->running.head, INFER_CANCELLED);
    while (s->waiting.head)
        sched_finish(s, s->waiting.head, INFER_CANCELLED);
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
    mem_free(s->state_rows);
    mem_free(s->segments);
    steptime_free(s->steptime);
    draft_model_free(s->draft_model);
    order_free(s->order);
    mem_free(s);
}

struct kv_pool *sched_kv(struct sched *s)
{
    return s->kv;
}

void sched_allow_adapters(struct sched *s, int rank_max)
{
    model_work_allow_adapters(s->work, rank_max);
}

/* What an adapter computes is no beginning of what others compute; its id is this process's, so nothing outlives it. */
static uint64_t space_of(const struct sched_spec *spec)
{
    if (!spec->adapter)
        return spec->space;
    return (spec->space ^ model_adapter_facts(spec->adapter)->id * 0x9E3779B97F4A7C15u) | KV_SPACE_PRIVATE;
}

const struct sched_options *sched_options(const struct sched *s)
{
    return &s->o;
}

int sched_ctx(const struct sched *s)
{
    return s->ctx;
}

/* Guesses take the rows that idle places leave; with every place taken they rarely pay. */
int sched_logit_rows(int running_max, int draft_rows)
{
    draft_rows = draft_rows < DRAFT_MAX ? DRAFT_MAX : draft_rows; /* those of an answer that goes on here */
    return running_max > draft_rows + 1 ? running_max : draft_rows + 1;
}

struct sched_drafts sched_seq_drafts(const struct sched_seq *q)
{
    return (struct sched_drafts){ q->draft.accepted, q->draft.rejected };
}

int64_t sched_seq_page_ns(const struct sched_seq *q)
{
    return q->page_ns;
}

int64_t sched_now_ns(const struct sched *s)
{
    return s->o.now_ns ? s->o.now_ns() : clock_mono_ns();
}

enum err_code sched_add(struct sched *s, const struct sched_spec *spec, struct sched_seq **out, struct err *e)
{
    if (s->waiting.count >= s->o.waiting_max)
        return err_set(e, ERR_BUSY, "%d requests are waiting already; try again later", s->waiting.count);
    if (spec->pooling && spec->prompt_count > s->ctx)
        return err_set(e, ERR_LIMIT, "the text has %d tokens; the context holds %d", spec->prompt_count, s->ctx);
    if (spec->prompt_count < 1 || (!spec->pooling && spec->prompt_count >= s->ctx))
        return err_set(e, ERR_LIMIT, "the prompt has %d tokens; the context holds %d and one must be left to answer",
                       spec->prompt_count, s->ctx);
    if (spec->deadline_ns && sched_deadline_fits(s, spec, sched_now_ns(s), e))
        return e ? e->code : ERR_BUSY;
    struct sched_seq *q = MEM_NEW(struct sched_seq);
    int room = spec->pooling ? 0 : s->ctx - spec->prompt_count;
    int want = spec->params->max_tokens;
    seq_init(&q->seq, s->kv, space_of(spec), spec->prompt, spec->prompt_count,
             spec->prompt_count + (want > 0 && want < room ? want : room));
    q->params = *spec->params;
    q->adapter = spec->adapter;
    q->seed = spec->seed;
    order_enter(s->order, &q->seat, &(struct order_claim){ spec->tenant, spec->weight, spec->priority,
                                                           spec->deadline_ns });
    s->deadlines += spec->deadline_ns != 0;
    q->after = spec->after && spec->after->seq.computed < spec->after->seq.prompt ? spec->after : NULL;
    q->events = spec->events;
    q->user = spec->user;
    q->state = WAITING;
    q->arrived_ns = sched_now_ns(s);
    if (spec->params->grammar || spec->params->thought)
        q->form = form_new(&s->spelling, spec->params->grammar, spec->params->thought);
    if (s->o.draft_rows)
        draft_init(&q->draft, q->seq.token_max);
    if (!spec->pooling)
        draft_know(&q->draft, spec->known, spec->known_count);
    if (spec->pooling)
        q->pooled = sched_pooled_new(s, spec->pooling, spec->prompt_count);
    sched_list_insert(&s->waiting, q, order_first);
    *out = q;
    return ERR_OK;
}

void sched_cancel(struct sched *s, struct sched_seq *q)
{
    sched_finish(s, q, INFER_CANCELLED);
}

void sched_pause(struct sched *s, struct sched_seq *q, bool paused)
{
    q->paused = paused;
}

/* ---- after the forward pass */

static bool is_end(const struct sched *s, int32_t id)
{
    for (int i = 0; i < s->o.end_count; i++)
        if (s->o.end_tokens[i] == id)
            return true;
    return false;
}

struct sample_input sched_sample(const struct sched *s, const struct sched_seq *q)
{
    return (struct sample_input){
        .vocab = model_facts(s->model)->vocab,
        .history = q->seq.tokens,
        .prompt_count = q->seq.prompt,
        .params = &q->params,
        .seed = q->seed,
        .end_tokens = s->o.end_tokens,
        .end_count = s->o.end_count,
    };
}

/* The token due, then one for each guess that was right: the very tokens that steps of one row would draw, for a draw
 * is a function of (logits, text before it, seed, position) and right guesses are that text. */
static void draw(const struct sched *s, struct drawing *d, struct sample_scratch *scratch)
{
    struct sched_seq *q = d->q;
    int vocab = model_facts(s->model)->vocab;
    struct sample_input in = sched_sample(s, q);
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
    int known, count = d->count < 1 + DRAFT_MAX ? d->count : 1 + DRAFT_MAX;
    for (int i = 0; i < d->count; i++)
        draft_follow_known(&q->draft, s->drawn[d->first + i].id);
    if (!s->o.draft_rows || draft_known(&q->draft, &known))
        return;
    for (int i = 0; i < count; i++)
        ids[i] = s->drawn[d->first + i].id;
    draft_learn(&q->draft, ids, count);
    if (q->form && !d->failed && !form_must_end(q->form))
        forced->count = form_forced(q->form, forced->ids, DRAFT_MAX);
}

static void draw_all(struct team *t, void *arg)
{
    struct sched *s = arg;
    for (int i; (i = team_next(t, s->drawing_count)) >= 0;) {
        draw(s, &s->drawings[i], s->scratch[t->rank]);
        look_ahead(s, &s->drawings[i]);
    }
}

/* false: the sequence is over. last: nothing was drawn after t in this step. */
static bool deliver_token(struct sched *s, struct sched_seq *q, const struct infer_token *t, bool last, bool failed)
{
    bool end = is_end(s, t->id) && !q->params.ignore_eos;
    if (end || (last && failed)) {
        sched_finish(s, q, end ? INFER_STOP : INFER_FAILED);
        return false;
    }
    seq_append(&q->seq, t->id);
    order_drawn(s->order, &q->seat, 1);
    s->stats.completion_tokens++;
    bool stop = q->events->token(q->user, t);
    if (stop || (last && q->form && form_must_end(q->form)))
        sched_finish(s, q, INFER_STOP);
    else if (q->seq.count == q->seq.token_max)
        sched_finish(s, q, INFER_LENGTH);
    else
        return true;
    return false;
}

static void deliver(struct sched *s, const struct drawing *d)
{
    struct sched_seq *q = d->q;
    bool counted = !q->draft.from_known; /* else it is no merit of guessing */
    q->draft.rejected += counted ? d->rows - 1 : 0;
    s->stats.drafted += counted ? d->rows - 1 : 0;
    for (int i = 0; i < d->count; i++) {
        bool last = i == d->count - 1;
        if (i) /* this one's row is of the true text: it counts as computed */
            seq_computed(&q->seq, q->seq.computed + 1);
        q->draft.accepted += counted && !last;
        q->draft.rejected -= counted && !last;
        s->stats.accepted += counted && !last;
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
        order_computed(s->order, &q->seat, q->seq.computed, q->seq.prompt);
        for (struct sched_seq *w = s->waiting.head; w && q->seq.computed >= q->seq.prompt; w = w->next)
            if (w->after == q)
                w->after = NULL;
    }
}

/* Ends what is past its deadline. */
static void expire(struct sched *s, int64_t now)
{
    struct list *lists[] = { &s->running, &s->waiting };
    for (size_t i = 0; i < MEM_COUNT(lists) && s->deadlines; i++)
        for (struct sched_seq *q = lists[i]->head, *next; q; q = next) {
            next = q->next;
            if (q->seat.deadline_ns && q->seat.deadline_ns <= now)
                sched_finish(s, q, INFER_DEADLINE);
        }
}

/* What each held since the last step ended: pages it took in a step count from that step's end. */
static void count_pages(struct sched *s, int64_t now)
{
    for (struct sched_seq *q = s->running.head; q && s->ended_ns; q = q->next)
        q->page_ns += q->seq.page_count * (now - s->ended_ns);
    s->ended_ns = now;
}

/* For who watches from outside. */
static void note_begin(struct sched *s, int64_t started)
{
    bool known = !s->text_rows && (!(s->load.prefill > 0) || steptime_knows_prefill(s->steptime));
    double ms = known ? steptime_ms(steptime_last(s->steptime), &s->load) : 0;
    atomic_store_explicit(&s->expected_us, (int64_t)(ms * 1e3), memory_order_relaxed);
    atomic_store_explicit(&s->began_ns, started, memory_order_relaxed);
}

int64_t sched_step_since(const struct sched *s, double *expected_ms)
{
    *expected_ms = (double)atomic_load_explicit(&s->expected_us, memory_order_relaxed) / 1e3;
    return atomic_load_explicit(&s->began_ns, memory_order_relaxed);
}

int sched_step(struct sched *s)
{
    int64_t started = sched_now_ns(s);
    expire(s, started);
    if (s->text_rows)
        sched_plan_texts(s);
    else
        sched_plan(s);
    if (!s->rows) {
        s->ended_ns = s->running.count ? s->ended_ns : 0;
        return 0;
    }
    s->ended_ns = s->ended_ns ? s->ended_ns : started;
    note_begin(s, started);
    struct model_batch batch = {
        .rows = s->rows,
        .tokens = s->tokens,
        .runs = s->runs,
        .run_count = s->run_count,
        .logit_rows = s->logit_rows,
        .logit_count = s->logit_count,
        .state_rows = s->state_rows,
        .state_count = s->state_count,
        .segments = s->segments,
    };
    s->logits = model_forward(s->model, s->work, &batch);
    count_pages(s, sched_now_ns(s));
    if (!s->text_rows)
        count_computed(s);
    sched_pool_all(s);
    if (s->drawing_count)
        pool_run(s->pool, draw_all, s);
    for (int i = 0; i < s->drawing_count; i++)
        deliver(s, &s->drawings[i]);
    int64_t took = sched_now_ns(s) - started;
    steptime_learn(s->steptime, &s->load, (double)(took - s->guess_ns) / 1e6);
    s->stats.steps++;
    s->stats.rows += s->rows;
    s->stats.step_ns += took;
    atomic_store_explicit(&s->began_ns, 0, memory_order_relaxed);
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
    for (int l = 0; l < 2; l++)
        for (const struct sched_seq *q = l ? s->waiting.head : s->running.head; q; q = q->next)
            if (q->seq.computed < q->seq.prompt)
                out->prefill_backlog += q->seq.prompt - q->seq.computed;
}

void sched_forget_prefixes(struct sched *s)
{
    kv_tree_forget_idle(s->kv);
}
