/* guess -- which guesses of next tokens a step checks (draft.h): made for every sequence that decodes, given rows where
 * pace.h says that they pay. */
#include "sched/sched_impl.h"

#include <string.h>

/* Rows of guesses q has use for: the last token it may have is drawn in any case. */
static int most_rows(const struct sched *s, const struct sched_seq *q, int room)
{
    int most = q->seq.token_max - q->seq.count - 1;
    most = most < s->o.draft_rows ? most : s->o.draft_rows;
    return most < room ? most : room;
}

static void ask_model(struct sched *s, struct draft_wish *wishes, int count)
{
    struct draft_price price = { s->pace.worth, s->pace.rate, s->pace.left_ms };
    if (s->o.draft_always)
        price.worth = price.worth_ms = 0;
    int64_t start = sched_now_ns(s);
    draft_model_guess(s->draft_model, wishes, count, &price);
    s->guess_ns = sched_now_ns(s) - start;
    s->pace.left_ms -= (double)s->guess_ns / 1e6;
}

/* The small model is asked where its record is the best, and only while few decode. */
static bool worth_asking(const struct sched *s, const struct sched_seq *q, int decoding)
{
    enum draft_source source;
    if (!s->draft_model || decoding > DRAFT_STREAMS_MAX)
        return false;
    return !draft_best(&q->draft, &source) || draft_chance(&q->draft, source) < draft_chance(&q->draft, DRAFT_MODEL);
}

void sched_guess(struct sched *s, int decoding)
{
    struct draft_wish wishes[DRAFT_STREAMS_MAX];
    int n = 0, room = (s->logit_rows_max - s->running.count) / (decoding ? decoding : 1);
    s->guess_ns = 0;
    for (struct sched_seq *q = s->running.head; q; q = q->next) {
        int known;
        if (!sched_decodes(q) || q->pooled || draft_known(&q->draft, &known))
            continue;
        draft_look_up(&q->draft, &q->seq);
        if (worth_asking(s, q, decoding))
            wishes[n++] = (struct draft_wish){ .reader = &q->reader, .text = &q->seq, .sample = sched_sample(s, q),
                                               .out = &q->draft.guesses[DRAFT_MODEL],
                                               .chance = (double)draft_chance(&q->draft, DRAFT_MODEL),
                                               .most = most_rows(s, q, room) };
    }
    if (n)
        ask_model(s, wishes, n);
}

/* `n` guesses go after q's text, as many as there are pages for. */
static int lay(struct seq *seq, const int32_t *ids, int n)
{
    while (n > 0 && !seq_reserve(seq, seq->count + n))
        n--;
    if (n > 0)
        memcpy(seq->tokens + seq->count, ids, (size_t)n * sizeof *ids);
    return n > 0 ? n : 0;
}

/* What was drawn before elsewhere is computed like a prompt: as much at once as others can wait for. */
static int plan_known(struct sched *s, struct sched_seq *q, int room)
{
    int n = 0, last = q->seq.token_max - q->seq.count - 1;
    const int32_t *ids = draft_known(&q->draft, &n);
    n = n < last ? n : last;
    n = n < room ? n : room;
    if (!ids || n <= 0)
        return 0;
    bool alone = s->running.count == 1;
    n = lay(&q->seq, ids, alone ? n : pace_chunk(&s->pace, q->seq.computed, n));
    s->load.prefill += n;
    s->load.sum_pc += n * (q->seq.count + n / 2.0);
    q->draft.from_known = n > 0;
    return n;
}

int sched_guess_plan(struct sched *s, struct sched_seq *q, int room)
{
    struct seq *seq = &q->seq;
    int n = 0;
    q->draft.from_known = false;
    if (draft_known(&q->draft, &n) || !s->o.draft_rows)
        return plan_known(s, q, room);
    int most = most_rows(s, q, room);
    n = 0;
    const struct draft_guess *g = draft_best(&q->draft, &q->draft.source);
    if (!g || most <= 0)
        return 0;
    double each = (double)draft_chance(&q->draft, q->draft.source), chance = each;
    for (; n < most && n < g->count && (s->o.draft_always || pace_guess(&s->pace, chance)); chance *= each)
        n++;
    return lay(seq, g->ids, n);
}
