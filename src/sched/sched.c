/* sched -- see sched.h. Lists are doubly linked through the sequences, so every move is O(1). */
#include "sched/sched.h"

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "infer/sample.h"
#include "infer/seq.h"

enum { CTX_MIN = 64 };

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
    const struct sched_events *events;
    void *user;
};

/* A sequence's place in the grammar its text must follow. */
struct form {
    struct grammar_state *state;
    struct grammar_cache *cache;
    uint32_t *allowed;        /* [(vocab + 31) / 32] */
    struct buf bytes;         /* of the last token */
};

struct list {
    struct sched_seq *head, *tail; /* WAITING: order_first; RUNNING: order_keeps; as of the last arrange() */
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
    int32_t *logit_rows;          /* [running_max] */
    struct sched_seq **drawing;   /* [running_max] the sequence of each logit row */
    struct infer_token *drawn;    /* [running_max] */
    struct sample_scratch **scratch; /* [threads] */
    int rows, run_count, draw_count;
    const struct sched_seq *prompt; /* others make way for it, NULL when there is none */
    int way_rows;                   /* what they may still take */
    const float *logits;
    struct sched_stats stats;
};

/* ---- lists */

typedef bool before_fn(const struct order_seat *a, const struct order_seat *b);

/* From the tail: a new sequence is nearly always the last. */
static void list_insert(struct list *l, struct sched_seq *q, before_fn *before)
{
    struct sched_seq *p = l->tail;
    while (p && before(&q->seat, &p->seat))
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

/* Merges two chains that are linked by next alone; stable. */
static struct sched_seq *merge(struct sched_seq *a, struct sched_seq *b, before_fn *before)
{
    struct sched_seq *head = NULL, **end = &head;
    while (a && b) {
        struct sched_seq **from = before(&b->seat, &a->seat) ? &b : &a;
        *end = *from;
        end = &(*end)->next;
        *from = (*from)->next;
    }
    *end = a ? a : b;
    return head;
}

/* A merge sort from the bottom up: runs[i] holds a chain of 2^i sequences or none. */
static void list_sort(struct list *l, before_fn *before)
{
    struct sched_seq *runs[32] = { NULL }, *all = NULL;
    for (struct sched_seq *q = l->head, *next; q; q = next) {
        next = q->next;
        q->next = NULL;
        int i = 0;
        for (; runs[i]; i++) { /* ends: a list has fewer than 2^31 */
            q = merge(runs[i], q, before);
            runs[i] = NULL;
        }
        runs[i] = q;
    }
    for (int i = 0; i < 32; i++)
        all = runs[i] ? merge(runs[i], all, before) : all;
    l->head = all;
    l->tail = NULL;
    for (struct sched_seq *q = all; q; q = q->next) {
        q->prev = l->tail;
        l->tail = q;
    }
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
    s->order = order_new(o->running_max + o->waiting_max);
    s->work = model_work_new(m, pool, o->batch_rows, o->running_max);
    s->tokens = mem_new((size_t)o->batch_rows, sizeof *s->tokens);
    s->runs = mem_new((size_t)o->running_max, sizeof *s->runs);
    s->members = mem_new((size_t)o->running_max, sizeof *s->members);
    s->logit_rows = mem_new((size_t)o->running_max, sizeof *s->logit_rows);
    s->drawing = mem_new((size_t)o->running_max, sizeof *s->drawing);
    s->drawn = mem_new((size_t)o->running_max, sizeof *s->drawn);
    s->scratch = mem_new((size_t)pool_threads(pool), sizeof *s->scratch);
    for (int i = 0; i < pool_threads(pool); i++)
        s->scratch[i] = sample_scratch_new(model_facts(m)->vocab);
    *out = s;
    return ERR_OK;
}

/* ---- what the text must look like */

static struct form *form_new(const struct sched *s, const struct grammar *g)
{
    ASSERT(s->o.trie && s->o.vocab);
    struct form *f = MEM_NEW(struct form);
    f->state = grammar_start(g);
    f->cache = grammar_cache_new(g, s->o.trie);
    f->allowed = mem_new(((size_t)model_facts(s->model)->vocab + 31) / 32, sizeof *f->allowed);
    return f;
}

static void form_free(struct form *f)
{
    if (!f)
        return;
    grammar_cache_free(f->cache);
    grammar_state_free(f->state);
    mem_free(f->allowed);
    buf_release(&f->bytes);
    mem_free(f);
}

/* The tokens that may come next: the grammar's, and the end tokens where the text may end. */
static void form_mask(const struct sched *s, struct form *f)
{
    grammar_mask(f->state, s->o.trie, f->cache, f->allowed);
    for (int i = 0; grammar_can_end(f->state) && i < s->o.end_count; i++)
        f->allowed[s->o.end_tokens[i] >> 5] |= 1u << (s->o.end_tokens[i] & 31);
}

/* Follows a drawn token. false: it was not allowed, which only a vocabulary that cannot spell the text allows. */
static bool form_follow(const struct sched *s, struct form *f, int32_t token)
{
    buf_clear(&f->bytes);
    vocab_token_bytes(s->o.vocab, token, false, &f->bytes);
    return f->bytes.len && grammar_advance_bytes(f->state, f->bytes.data, f->bytes.len);
}

/* Takes q off its list, tells its owner, frees it. Those that waited for it need not any more. */
static void finish(struct sched *s, struct sched_seq *q, enum infer_finish why)
{
    list_remove(list_of(s, q), q);
    for (struct sched_seq *w = s->waiting.head; w; w = w->next)
        if (w->after == q)
            w->after = NULL;
    s->deadlines -= q->seat.deadline_ns != 0;
    order_leave(s->order, &q->seat);
    seq_release(&q->seq);
    form_free(q->form);
    q->events->finish(q->user, why);
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
    order_free(s->order);
    mem_free(s->tokens);
    mem_free(s->runs);
    mem_free(s->members);
    mem_free(s->logit_rows);
    mem_free(s->drawing);
    mem_free(s->drawn);
    mem_free(s->scratch);
    mem_free(s);
}

int sched_ctx(const struct sched *s)
{
    return s->ctx;
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
    order_enter(s->order, &q->seat, &(struct order_claim){ spec->tenant, spec->weight, spec->priority,
                                                           spec->deadline_ns });
    s->deadlines += spec->deadline_ns != 0;
    q->after = spec->after && spec->after->seq.computed < spec->after->seq.prompt ? spec->after : NULL;
    q->events = spec->events;
    q->user = spec->user;
    q->state = WAITING;
    if (spec->params->grammar)
        q->form = form_new(s, spec->params->grammar);
    list_insert(&s->waiting, q, order_first);
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

enum { DECODE_ROWS_FREE = 8 }; /* so few rows of a step cost next to nothing: they never make way */

/* Who goes before whom as of now. */
static void arrange(struct sched *s)
{
    list_sort(&s->running, order_own);
    order_number_begin(s->order);
    for (struct sched_seq *q = s->running.head; q; q = q->next)
        order_number(&q->seat);
    list_sort(&s->running, order_keeps);
    list_sort(&s->waiting, order_first);
}

static void park(struct sched *s, struct sched_seq *q)
{
    list_remove(&s->running, q);
    seq_drop_pages(&q->seq);
    order_run(s->order, &q->seat, false);
    q->state = WAITING;
    q->rows = 0;
    q->skipped = false;
    list_insert(&s->waiting, q, order_first); /* it keeps its arrival */
    s->stats.parked++;
}

/* Pages for q up to end, parking for them those that are last to keep theirs. false: q itself is the last, or what
 * comes after it is already in this step. */
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

static void plan_rows(struct sched *s, struct sched_seq *q, int rows)
{
    struct seq *seq = &q->seq;
    struct model_run *run = &s->runs[s->run_count];
    for (int i = 0; i < rows; i++)
        s->tokens[s->rows + i] = seq->tokens[seq->computed + i];
    *run = (struct model_run){ .rows = rows, .pos_first = seq->computed, .pages = seq->page_at };
    s->members[s->run_count++] = q;
    s->rows += rows;
    q->rows = rows;
    if (seq->computed + rows == seq->count) {
        s->logit_rows[s->draw_count] = s->rows - 1;
        s->drawing[s->draw_count++] = q;
    }
}

/* A decoding sequence has one token to compute. */
static bool decodes(const struct sched_seq *q)
{
    return q->seq.count - q->seq.computed == 1 && !q->paused;
}

/* The running sequence whose prompt (or what was parked of it) is computed next, or NULL. */
static struct sched_seq *next_prompt(const struct sched *s)
{
    struct sched_seq *first = NULL;
    for (struct sched_seq *q = s->running.head; q; q = q->next)
        if (!q->rows && !q->paused && q->seq.count - q->seq.computed > 1 &&
            (!first || order_first(&q->seat, &first->seat)))
            first = q;
    return first;
}

/* While a prompt of a tenant that had less than its part is computed, those that had more take no more rows than it
 * does, decodes and prompts together: its step lasts at most twice as long as it needs. */
static void make_way(struct sched *s)
{
    s->prompt = next_prompt(s);
    s->way_rows = s->prompt ? s->prompt->seq.count - s->prompt->seq.computed : 0;
    s->way_rows = s->way_rows < DECODE_ROWS_FREE ? DECODE_ROWS_FREE : s->way_rows;
}

/* How many of `rows` q may take. */
static int allowed_rows(const struct sched *s, const struct sched_seq *q, int rows)
{
    bool yields = s->prompt && s->prompt != q && order_yields(&q->seat, &s->prompt->seat);
    return yields && rows > s->way_rows ? s->way_rows : rows;
}

static void take_rows(struct sched *s, struct sched_seq *q, int rows)
{
    if (s->prompt && s->prompt != q && order_yields(&q->seat, &s->prompt->seat))
        s->way_rows -= rows;
    plan_rows(s, q, rows);
}

/* A row for every sequence that decodes; those that make way take turns. Pages are given out before, in the order
 * in which they are kept. */
static void plan_decodes(struct sched *s)
{
    for (struct sched_seq *q = s->running.head, *next; q; q = next) {
        bool placed = !decodes(q) || make_room(s, q, q->seq.count);
        next = q->next; /* after make_room: it may have parked what was next */
        if (!placed)
            park(s, q);
    }
    make_way(s);
    for (int skipped = 1; skipped >= 0; skipped--)
        for (struct sched_seq *q = s->running.head; q; q = q->next) {
            if (!decodes(q) || q->rows || q->skipped != skipped)
                continue;
            q->skipped = !allowed_rows(s, q, 1);
            if (!q->skipped)
                take_rows(s, q, 1);
        }
}

/* Prompts in chunks within what is left of the budget. */
static void plan_prefills(struct sched *s, int budget)
{
    for (struct sched_seq *q; budget > 0 && (q = next_prompt(s));) { /* each turn gives rows or parks */
        int rows = q->seq.count - q->seq.computed;
        rows = allowed_rows(s, q, rows < budget ? rows : budget);
        if (!rows)
            return;
        if (make_room(s, q, q->seq.computed + rows)) {
            take_rows(s, q, rows);
            budget -= rows;
        } else {
            s->prompt = s->prompt == q ? NULL : s->prompt;
            park(s, q);
        }
    }
}

/* A place for q, and pages for all its tokens and one more page for each that runs already: admitting what would be
 * parked at once helps nobody. Takes them from those q displaces if that suffices. With nothing running it fits. */
static bool find_place(struct sched *s, struct sched_seq *q)
{
    int places = s->o.running_max - s->running.count, victims = 0;
    int pages = kv_pages_free(s->kv) + kv_pages_idle(s->kv) - seq_pages_missing(&q->seq, q->seq.count) -
                s->running.count;
    for (struct sched_seq *v = s->running.tail; v && (places < 1 || pages < 0); v = v->prev, victims++) {
        if (!order_displaces(&q->seat, &v->seat))
            return false;
        places++;
        pages += v->seq.page_count + 1;
    }
    while (victims-- > 0)
        park(s, s->running.tail);
    return true;
}

/* Waiting sequences join while there is place for them. One that finds none holds back those behind it. */
static void admit(struct sched *s)
{
    for (struct sched_seq *q = s->waiting.head, *next; q; q = next) {
        next = q->next;
        if (q->after || q->paused)
            continue;
        seq_adopt_prefix(&q->seq);
        if (!find_place(s, q)) {
            seq_drop_pages(&q->seq);
            return;
        }
        list_remove(&s->waiting, q);
        q->state = RUNNING;
        order_run(s->order, &q->seat, true);
        list_insert(&s->running, q, order_keeps);
        if (!q->started) {
            q->started = true;
            s->stats.prompt_tokens += q->seq.prompt;
            s->stats.cached_tokens += q->seq.cached_tokens;
            order_cached(&q->seat, q->seq.cached_tokens);
            q->events->start(q->user, q->seq.cached_tokens);
        }
    }
}

static void plan(struct sched *s)
{
    s->rows = s->run_count = s->draw_count = 0;
    for (struct sched_seq *q = s->running.head; q; q = q->next)
        q->rows = 0;
    arrange(s);
    admit(s);
    plan_decodes(s);
    int budget = s->rows && s->o.prefill_rows < s->o.batch_rows - s->rows ? s->o.prefill_rows
                                                                          : s->o.batch_rows - s->rows;
    plan_prefills(s, budget);
}

/* Ends what is past its deadline. */
static void expire(struct sched *s)
{
    if (!s->deadlines)
        return;
    int64_t now = s->o.now_ns ? s->o.now_ns() : clock_mono_ns();
    struct list *lists[] = { &s->running, &s->waiting };
    for (size_t i = 0; i < MEM_COUNT(lists); i++)
        for (struct sched_seq *q = lists[i]->head, *next; q; q = next) {
            next = q->next;
            if (q->seat.deadline_ns && q->seat.deadline_ns <= now)
                finish(s, q, INFER_DEADLINE);
        }
}

/* ---- after the forward pass */

static void sample_rows(struct team *t, void *arg)
{
    struct sched *s = arg;
    int vocab = model_facts(s->model)->vocab;
    for (int i; (i = team_next(t, s->draw_count)) >= 0;) {
        const struct sched_seq *q = s->drawing[i];
        struct sample_input in = {
            .logits = s->logits + (size_t)i * (size_t)vocab,
            .vocab = vocab,
            .history = q->seq.tokens,
            .prompt_count = q->seq.prompt,
            .history_count = q->seq.count,
            .params = &q->params,
            .seed = q->seed,
            .end_tokens = s->o.end_tokens,
            .end_count = s->o.end_count,
        };
        if (q->form) {
            form_mask(s, q->form);
            in.allowed = q->form->allowed;
        }
        sample_token(&in, s->scratch[t->rank], &s->drawn[i]);
    }
}

static bool is_end(const struct sched *s, int32_t id)
{
    for (int i = 0; i < s->o.end_count; i++)
        if (s->o.end_tokens[i] == id)
            return true;
    return false;
}

static void deliver(struct sched *s, struct sched_seq *q, const struct infer_token *t)
{
    if (is_end(s, t->id) && !q->params.ignore_eos) {
        finish(s, q, INFER_STOP);
        return;
    }
    if (q->form && !form_follow(s, q->form, t->id)) {
        finish(s, q, INFER_FAILED);
        return;
    }
    seq_append(&q->seq, t->id);
    order_drawn(s->order, &q->seat, 1);
    s->stats.completion_tokens++;
    bool stop = q->events->token(q->user, t);
    if (stop || (q->form && grammar_must_end(q->form->state)))
        finish(s, q, INFER_STOP);
    else if (q->seq.count == q->seq.token_max)
        finish(s, q, INFER_LENGTH);
}

int sched_step(struct sched *s)
{
    int64_t started = clock_mono_ns();
    expire(s);
    plan(s);
    if (!s->rows)
        return 0;
    struct model_batch batch = {
        .rows = s->rows,
        .tokens = s->tokens,
        .runs = s->runs,
        .run_count = s->run_count,
        .logit_rows = s->logit_rows,
        .logit_count = s->draw_count,
    };
    s->logits = model_forward(s->model, s->work, &batch);
    for (int i = 0; i < s->run_count; i++) {
        struct sched_seq *q = s->members[i];
        seq_computed(&q->seq, q->seq.computed + q->rows);
        order_computed(s->order, &q->seat, q->seq.computed, q->seq.prompt);
        for (struct sched_seq *w = s->waiting.head; w && q->seq.computed >= q->seq.prompt; w = w->next)
            if (w->after == q)
                w->after = NULL;
    }
    if (s->draw_count)
        pool_run(s->pool, sample_rows, s);
    for (int i = 0; i < s->draw_count; i++)
        deliver(s, s->drawing[i], &s->drawn[i]);
    s->stats.steps++;
    s->stats.rows += s->rows;
    s->stats.step_ns += clock_mono_ns() - started;
    return s->rows;
}

void sched_stats(const struct sched *s, struct sched_stats *out)
{
    *out = s->stats;
    out->running = s->running.count;
    out->waiting = s->waiting.count;
    out->kv_pages = kv_pages(s->kv);
    out->kv_pages_idle = kv_pages_idle(s->kv);
    out->kv_pages_used = out->kv_pages - kv_pages_free(s->kv) - out->kv_pages_idle;
}

void sched_forget_prefixes(struct sched *s)
{
    kv_tree_forget_idle(s->kv);
}
