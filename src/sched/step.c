/* step -- what goes into a step: who joins, who is parked, whose decodes and prompts get rows.
 *
 * order.h says who goes first, pace.h how many rows there are, draft.h which guesses are worth one. */
#include "sched/sched_impl.h"

enum { DECODE_ROWS_FREE = 8 }; /* so few rows of a step cost next to nothing: they never make way */

/* Who goes before whom as of now. */
static void arrange(struct sched *s)
{
    sched_list_sort(&s->running, order_own);
    order_number_begin(s->order);
    for (struct sched_seq *q = s->running.head; q; q = q->next)
        order_number(&q->seat);
    sched_list_sort(&s->running, order_keeps);
    sched_list_sort(&s->waiting, order_first);
}

static void park(struct sched *s, struct sched_seq *q)
{
    sched_list_remove(&s->running, q);
    seq_drop_pages(&q->seq);
    draft_reader_park(&q->reader);
    order_run(s->order, &q->seat, false);
    q->state = WAITING;
    q->rows = 0;
    q->skipped = false;
    sched_list_insert(&s->waiting, q, order_first); /* it keeps its arrival */
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

/* Rows of q, the last `guesses` of them guessed: those stand after its text already. */
static void plan_rows(struct sched *s, struct sched_seq *q, int rows, int guesses)
{
    struct seq *seq = &q->seq;
    struct model_run *run = &s->runs[s->run_count];
    for (int i = 0; i < rows; i++)
        s->tokens[s->rows + i] = seq->tokens[seq->computed + i];
    *run = (struct model_run){ .rows = rows, .pos_first = seq->computed, .pages = seq->page_at, .adapter = q->adapter };
    s->members[s->run_count++] = q;
    s->rows += rows;
    q->rows = rows - guesses;
    q->draft.rows = guesses;
    if (q->pooled)
        sched_pooled_plan(s, q, rows);
    if (q->pooled || seq->computed + q->rows < seq->count)
        return;
    struct drawing *d = &s->drawings[s->drawing_count++];
    *d = (struct drawing){ .q = q, .first = s->logit_count, .rows = 1 + guesses };
    for (int i = 0; i < d->rows; i++)
        s->logit_rows[s->logit_count++] = s->rows - d->rows + i;
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

static bool makes_way(const struct sched *s, const struct sched_seq *q)
{
    return s->prompt && s->prompt != q && order_yields(&q->seat, &s->prompt->seat);
}

/* How many of `rows` q may take. */
static int allowed_rows(const struct sched *s, const struct sched_seq *q, int rows)
{
    bool spared = q->seat.deadline_ns && sched_decodes(q); /* it was counted when the promises were made */
    if (s->hurry && !spared && order_own(s->hurry, &q->seat))
        return 0;
    return makes_way(s, q) && rows > s->way_rows ? s->way_rows : rows;
}

static void take_rows(struct sched *s, struct sched_seq *q, int rows, int guesses)
{
    if (makes_way(s, q))
        s->way_rows -= rows;
    plan_rows(s, q, rows, guesses);
}

/* A row for every sequence that decodes, and for guesses; those that make way take turns. Pages are given out before,
 * in the order in which they are kept. */
static void plan_decodes(struct sched *s)
{
    for (struct sched_seq *q = s->running.head, *next; q; q = next) {
        bool placed = !sched_decodes(q) || make_room(s, q, q->seq.count);
        next = q->next; /* after make_room: it may have parked what was next */
        if (!placed)
            park(s, q);
    }
    make_way(s);
    if (s->prompt)
        pace_keep(&s->pace, s->prompt->seq.computed, s->prompt->seq.count - s->prompt->seq.computed);
    int others = s->running.count; /* that may want logits of a row, prompts too */
    for (int skipped = 1; skipped >= 0; skipped--)
        for (struct sched_seq *q = s->running.head; q; q = q->next) {
            if (!sched_decodes(q) || q->rows || q->skipped != skipped)
                continue;
            others--;
            q->skipped = !allowed_rows(s, q, 1);
            if (q->skipped)
                continue;
            int room = s->o.batch_rows - s->rows, logits = s->logit_rows_max - s->logit_count;
            room = (room < logits ? room : logits) - others - 1;
            int guesses = sched_guess_plan(s, q, allowed_rows(s, q, room));
            take_rows(s, q, 1 + guesses, guesses);
            s->load.batch += q->draft.from_known ? 1 : 1 + guesses;
            s->load.context += q->seq.count;
        }
}

/* Prompts (and what was parked) in chunks, within what the pace allows. */
static void plan_prefills(struct sched *s)
{
    for (struct sched_seq *q; s->pace.rows > 0 && (q = next_prompt(s));) { /* each turn gives rows or parks */
        struct seq *seq = &q->seq;
        int rows = allowed_rows(s, q, seq->count - seq->computed);
        rows = rows ? pace_chunk(&s->pace, seq->computed, rows) : 0;
        if (!rows)
            return;
        if (make_room(s, q, seq->computed + rows)) {
            s->load.prefill += rows;
            s->load.sum_pc += rows * (seq->computed + rows / 2.0);
            take_rows(s, q, rows, 0);
        } else {
            s->prompt = s->prompt == q ? NULL : s->prompt;
            park(s, q);
        }
    }
}

/* Whether a prompt, running or waiting, would have its first token too late at the gentle pace. */
static bool prompts_hurry(const struct sched *s)
{
    int64_t now = sched_now_ns(s);
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

/* Waiting sequences join while there is place for them. One for which there are no pages holds back those behind it,
 * so that it gets its turn; one that has no right to a place does not: another tenant's may have. */
static void admit(struct sched *s)
{
    for (struct sched_seq *q = s->waiting.head, *next; q; q = next) {
        next = q->next;
        bool full = s->running.count >= s->o.running_max;
        if (q->after || q->paused || (full && !order_displaces(&q->seat, &s->running.tail->seat)))
            continue;
        if (!sched_pooled_needs_all(q))
            seq_adopt_prefix(&q->seq);
        if (!find_place(s, q)) {
            seq_drop_pages(&q->seq);
            return;
        }
        sched_list_remove(&s->waiting, q);
        q->state = RUNNING;
        order_run(s->order, &q->seat, true);
        sched_list_insert(&s->running, q, order_keeps);
        if (!q->started) {
            q->started = true;
            s->stats.prompt_tokens += q->seq.prompt;
            s->stats.cached_tokens += q->seq.cached_tokens;
            order_cached(&q->seat, q->seq.cached_tokens);
            q->events->start(q->user, q->seq.cached_tokens);
        }
    }
}

void sched_plan(struct sched *s)
{
    struct steptime_load owed = { .prefill = 0 };
    s->rows = s->run_count = s->drawing_count = s->logit_count = s->state_count = 0;
    s->load = owed;
    arrange(s);
    admit(s);
    s->hurry = s->deadlines ? sched_hurry(s, sched_now_ns(s)) : NULL;
    for (struct sched_seq *q = s->running.head; q; q = q->next) {
        q->rows = 0;
        owed.batch += sched_decodes(q);
        owed.context += sched_decodes(q) ? q->seq.count : 0;
    }
    const struct steptime_model *m = s->o.step_time ? s->o.step_time : steptime_fit(s->steptime);
    pace_begin(&s->pace, &s->goal, m, &owed, s->o.batch_rows, s->o.step_time || steptime_knows_prefill(s->steptime));
    if (s->o.draft_rows)
        sched_guess(s, (int)owed.batch);
    plan_decodes(s);
    int room = s->o.batch_rows - s->rows;
    room = s->deadlines && s->o.prefill_rows < room ? s->o.prefill_rows : room; /* no step may be much too long */
    s->pace.rows = s->pace.rows < room ? s->pace.rows : room;
    if (owed.batch > 0 && !prompts_hurry(s))
        pace_calm(&s->pace);
    plan_prefills(s);
}
