/* draft -- see draft.h. */
#include "sched/draft.h"

#include "base/mem.h"

#include <string.h>

enum { SLOTS_MAX = 1 << 16, ASK_AGAIN = 256 };
static const int run_of[2] = { 4, 2 };                        /* tokens looked for: by `long`, by `short` */
static const float hopes[DRAFT_SOURCES] = { 0.9f, 0.7f, 0.6f, 0.3f, 0.6f }; /* before there is a record */
#define MEMORY 0.92f /* of a record, a trial: it is of about the last dozen */
#define SURE 0.98f   /* nothing is surer than this */

static void hope(struct draft *d, enum draft_source source)
{
    d->record[source].right = 2 * hopes[source];
    d->record[source].all = 2;
}

void draft_init(struct draft *d, int token_max)
{
    *d = (struct draft){ .slots = 64 };
    while (d->slots < (uint32_t)token_max && d->slots < SLOTS_MAX)
        d->slots *= 2;
    for (int i = 0; i < 2; i++)
        d->places[i] = mem_new(d->slots, sizeof *d->places[i]);
    for (int i = 0; i < DRAFT_SOURCES; i++)
        hope(d, (enum draft_source)i);
}

void draft_release(struct draft *d)
{
    mem_free(d->places[0]);
    mem_free(d->places[1]);
    mem_free(d->known);
    *d = (struct draft){ 0 };
}

/* ---- what is known */

void draft_know(struct draft *d, const int32_t *ids, int count)
{
    d->known = count > 0 ? mem_dup(ids, (size_t)count * sizeof *ids) : NULL;
    d->known_count = d->known ? count : 0;
    d->known_at = 0;
}

const int32_t *draft_known(const struct draft *d, int *count)
{
    *count = d->known_count - d->known_at;
    return *count ? d->known + d->known_at : NULL;
}

void draft_follow_known(struct draft *d, int32_t drawn)
{
    if (d->known_at < d->known_count && d->known[d->known_at] == drawn)
        d->known_at++;
    else
        d->known_at = d->known_count;
}

/* ---- looking up */

static uint32_t slot_of(const struct draft *d, const int32_t *last, int run)
{
    uint64_t h = 0;
    for (int i = 0; i < run; i++)
        h = (h ^ (uint32_t)last[-i]) * 0x9E3779B97F4A7C15u;
    return (uint32_t)(h >> 40) & (d->slots - 1);
}

/* Every run of tokens that has a follower leads to it; the latest one wins. */
static void index_tokens(struct draft *d, const struct seq *s)
{
    for (int at = d->indexed > 1 ? d->indexed : 1; at < s->count; at++)
        for (int i = 0; i < 2; i++)
            if (at >= run_of[i])
                d->places[i][slot_of(d, s->tokens + at - 1, run_of[i])] = at;
    d->indexed = s->count;
}

static void guess_from_text(struct draft *d, const struct seq *s, int i, struct draft_guess *g)
{
    int run = run_of[i];
    if (s->count <= run)
        return;
    const int32_t *last = s->tokens + s->count - run;
    int at = d->places[i][slot_of(d, s->tokens + s->count - 1, run)];
    if (at < run || memcmp(s->tokens + at - run, last, (size_t)run * sizeof *last) != 0)
        return; /* another run's place */
    while (g->count < DRAFT_MAX) { /* a guess that reaches the text's end goes on into itself */
        int from = at + g->count;
        g->ids[g->count] = from < s->count ? s->tokens[from] : g->ids[from - s->count];
        g->count++;
    }
}

/* The pages of the tree that continue this text, one after the other. */
static void guess_from_tree(const struct seq *s, struct draft_guess *g)
{
    int page = s->shared ? s->pages[s->shared - 1] : KV_NONE;
    int known = s->count - s->shared * KERN_PAGE_TOKENS; /* tokens after that page */
    const int32_t *last = s->tokens + s->shared * KERN_PAGE_TOKENS;
    const int32_t *next;
    while (g->count < DRAFT_MAX && page != KV_NONE) {
        page = kv_tree_next(s->kv, page, last, known, &next);
        for (int i = known; page != KV_NONE && i < KERN_PAGE_TOKENS && g->count < DRAFT_MAX; i++)
            g->ids[g->count++] = next[i];
        known = 0;
    }
}

void draft_look_up(struct draft *d, const struct seq *s)
{
    for (int i = DRAFT_TREE; i <= DRAFT_SHORT; i++)
        d->guesses[i].count = 0;
    index_tokens(d, s); /* the text's own end has no follower yet, so it does not find itself */
    guess_from_text(d, s, 0, &d->guesses[DRAFT_LONG]);
    guess_from_text(d, s, 1, &d->guesses[DRAFT_SHORT]);
    if (s->count - s->shared * KERN_PAGE_TOKENS <= KERN_PAGE_TOKENS)
        guess_from_tree(s, &d->guesses[DRAFT_TREE]);
}

/* ---- records */

float draft_chance(const struct draft *d, enum draft_source source)
{
    float p = d->record[source].right / d->record[source].all;
    return p < SURE ? p : SURE;
}

const struct draft_guess *draft_best(const struct draft *d, enum draft_source *source)
{
    const struct draft_guess *best = NULL;
    for (int i = 0; i < DRAFT_SOURCES; i++) {
        if (!d->guesses[i].count || (best && draft_chance(d, (enum draft_source)i) <= draft_chance(d, *source)))
            continue;
        best = &d->guesses[i];
        *source = (enum draft_source)i;
    }
    return best;
}

void draft_learn(struct draft *d, const int32_t *drawn, int count)
{
    d->unasked = d->guesses[DRAFT_MODEL].count ? 0 : d->unasked + count;
    if (d->unasked >= ASK_AGAIN) { /* its guesses cost time, so none are made while its record is bad */
        hope(d, DRAFT_MODEL);
        d->unasked = 0;
    }
    for (int i = 0; i < DRAFT_SOURCES; i++) {
        struct draft_guess *g = &d->guesses[i];
        bool right = true;
        for (int k = 0; right && k < g->count && k < count; k++) {
            right = g->ids[k] == drawn[k];
            d->record[i].all = d->record[i].all * MEMORY + 1;
            d->record[i].right = d->record[i].right * MEMORY + (right ? 1 : 0);
        }
        g->count = 0;
    }
}
