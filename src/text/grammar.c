/* grammar -- states, sets of configurations, names' trees, and the grammars that are one regular language. */
#include "text/grammar_run.h"

#include "base/assert.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { GRAMMAR_BYTES_MAX = 256 << 20 };

struct grammar *grammar_alloc(enum g_kind kind)
{
    struct grammar *g = MEM_NEW(struct grammar);
    struct rx *x = rx_new();
    bool empty;
    g->kind = kind;
    arena_init(&g->arena, GRAMMAR_BYTES_MAX);
    grammar_add_dfa(g, rx_dfa_new(x, rx_any_text(x), &empty, NULL)); /* DFA 0: UTF-8 */
    rx_free(x);
    return g;
}

void grammar_free(struct grammar *g)
{
    if (!g)
        return;
    for (uint32_t i = 0; i < g->ndfa; i++)
        rx_dfa_free(g->dfa[i]);
    mem_free(g->dfa);
    mem_free(g->value);
    mem_free(g->array);
    mem_free(g->object);
    mem_free(g->element);
    mem_free(g->rule);
    arena_release(&g->arena);
    for (struct grammar *t = g->taken, *next; t; t = next) {
        next = t->taken;
        t->taken = NULL;
        grammar_free(t);
    }
    mem_free(g);
}

static bool same_dfa(const struct rx_dfa *a, const struct rx_dfa *b)
{
    return a->states == b->states && a->classes == b->classes && !memcmp(a->class_of, b->class_of,
            sizeof a->class_of) &&
           !memcmp(a->next, b->next, (size_t)a->states * a->classes * sizeof *a->next) &&
           !memcmp(a->accept, b->accept, a->states);
}

uint32_t grammar_add_dfa(struct grammar *g, struct rx_dfa *d)
{
    for (uint32_t i = 0; i < g->ndfa; i++)
        if (same_dfa(g->dfa[i], d)) {
            rx_dfa_free(d);
            return i;
        }
    if (g->ndfa == g->dfa_cap) {
        g->dfa_cap = g->dfa_cap ? g->dfa_cap * 2 : 16;
        g->dfa = mem_grow(g->dfa, g->dfa_cap, sizeof *g->dfa);
    }
    g->dfa[g->ndfa] = d;
    return g->ndfa++;
}

/* ---- names */

struct name {
    char *p;
    uint32_t n;
};

static int by_bytes(const void *a, const void *b)
{
    const struct name *p = a, *q = b;
    int c = memcmp(p->p, q->p, p->n < q->n ? p->n : q->n);
    return c ? c : p->n < q->n ? -1 : p->n > q->n;
}

static uint32_t build_node(struct g_names *n, uint32_t lo, uint32_t hi, uint32_t depth, uint8_t byte)
{
    uint32_t id = n->nodes++, last = G_NONE;
    n->node[id] = (struct g_name_node){ lo, hi, G_NONE, G_NONE, G_NONE, byte };
    if (lo < hi && n->len[lo] == depth)
        n->node[id].terminal = lo++;
    while (lo < hi) {
        uint32_t k = lo + 1;
        while (k < hi && n->name[k][depth] == n->name[lo][depth])
            k++;
        uint32_t child = build_node(n, lo, k, depth + 1, (uint8_t)n->name[lo][depth]);
        if (last == G_NONE)
            n->node[id].child = child;
        else
            n->node[last].sibling = child;
        last = child;
        lo = k;
    }
    return id;
}

void g_names_build(struct grammar *g, struct g_names *n)
{
    struct name *v = mem_new(n->count + 1, sizeof *v);
    size_t bytes = 1;
    uint32_t k = 0;
    for (uint32_t i = 0; i < n->count; i++)
        v[i] = (struct name){ n->name[i], n->len[i] };
    qsort(v, n->count, sizeof *v, by_bytes);
    for (uint32_t i = 0; i < n->count; i++)
        if (!k || by_bytes(&v[k - 1], &v[i]))
            v[k++] = v[i];
    n->count = k;
    for (uint32_t i = 0; i < k; i++) {
        n->name[i] = v[i].p;
        n->len[i] = v[i].n;
        bytes += v[i].n;
    }
    mem_free(v);
    n->node = arena_alloc(&g->arena, bytes, sizeof *n->node);
    ASSERT(n->node); /* 24 bytes for each byte of the schema's names: far below the arena's limit */
    build_node(n, 0, k, 0, 0);
}

uint32_t g_names_child(const struct g_names *n, uint32_t node, unsigned byte)
{
    for (uint32_t c = n->node[node].child; c != G_NONE; c = n->node[c].sibling)
        if (n->node[c].byte == byte)
            return c;
    return G_NONE;
}

uint32_t g_names_find(const struct g_names *n, const char *p, size_t len)
{
    uint32_t at = 0;
    for (size_t i = 0; i < len && at != G_NONE; i++)
        at = g_names_child(n, at, (unsigned char)p[i]);
    ASSERT(at != G_NONE && n->node[at].terminal != G_NONE); /* asked only for names that were put in */
    return n->node[at].terminal;
}

/* ---- frames and sets */

struct g_frame *g_frame_ref(struct g_frame *f)
{
    if (f)
        f->refs++;
    return f;
}

void g_frame_drop(struct g_frame *f)
{
    while (f && --f->refs == 0) {
        struct g_frame *parent = f->parent;
        mem_free(f);
        f = parent;
    }
}

static bool same_frame(const struct g_frame *a, const struct g_frame *b)
{
    if (a == b)
        return true;
    return a && b && a->parent == b->parent && a->spec == b->spec && a->object == b->object && a->bnf == b->bnf &&
           a->count == b->count && a->hits == b->hits && a->nseen == b->nseen && a->nkeys == b->nkeys &&
           !memcmp(a->word, b->word, (a->nseen + a->nkeys) * sizeof *a->word);
}

static bool same_cfg(const struct g_cfg *a, const struct g_cfg *b)
{
    return a->mode == b->mode && a->esc == b->esc && a->space == b->space && a->a == b->a && a->b == b->b &&
            a->n == b->n &&
           a->code == b->code && a->hash == b->hash && same_frame(a->f, b->f);
}

/* Past G_CONFIGS_MAX readings the further ones are dropped: what remains is still only what the grammar allows. */
void g_set_push(struct g_set *s, struct g_cfg c)
{
    for (uint32_t i = 0; i < s->n; i++)
        if (same_cfg(&s->v[i], &c))
            return;
    if (s->n == s->cap) {
        if (s->cap >= G_CONFIGS_MAX)
            return;
        s->cap = s->cap ? s->cap * 2 : 4;
        s->v = mem_grow(s->v, s->cap, sizeof *s->v);
    }
    g_frame_ref(c.f);
    s->v[s->n++] = c;
}

void g_set_clear(struct g_set *s)
{
    for (uint32_t i = 0; i < s->n; i++)
        g_frame_drop(s->v[i].f);
    s->n = 0;
    s->work = 0;
}

void g_set_release(struct g_set *s)
{
    g_set_clear(s);
    mem_free(s->v);
    *s = (struct g_set){ 0 };
}

void g_set_copy(struct g_set *to, const struct g_set *from)
{
    g_set_clear(to);
    for (uint32_t i = 0; i < from->n; i++)
        g_set_push(to, from->v[i]);
}

/* ---- states */

struct grammar_state *grammar_start(const struct grammar *g)
{
    struct grammar_state *s = MEM_NEW(struct grammar_state);
    s->g = g;
    if (g->kind == G_JSON)
        g_set_push(&s->set, (struct g_cfg){ .mode = GM_VALUE, .a = g->root });
    else if (g->kind == G_REGULAR)
        g_set_push(&s->set, (struct g_cfg){ .mode = GM_LEX, .a = g->root });
    else
        for (uint32_t alt = g->rule[g->root]; alt != G_NONE; alt = g->element[alt].to)
            g_bnf_expand(g, alt + 1, NULL, &s->set, 0);
    return s;
}

struct grammar_state *grammar_state_clone(const struct grammar_state *s)
{
    struct grammar_state *n = MEM_NEW(struct grammar_state);
    n->g = s->g;
    g_set_copy(&n->set, &s->set);
    return n;
}

void grammar_state_copy(struct grammar_state *to, const struct grammar_state *from)
{
    ASSERT(to->g == from->g);
    g_set_copy(&to->set, &from->set);
}

void grammar_state_free(struct grammar_state *s)
{
    if (!s)
        return;
    g_set_release(&s->set);
    g_set_release(&s->next);
    g_set_release(&s->before);
    mem_free(s);
}

static bool advance(struct grammar_state *s, unsigned byte)
{
    g_set_clear(&s->next);
    for (uint32_t i = 0; i < s->set.n; i++)
        g_step(s->g, &s->set.v[i], byte, &s->next);
    if (!s->next.n)
        return false;
    struct g_set t = s->set;
    s->set = s->next;
    s->next = t;
    return true;
}

bool grammar_advance_bytes(struct grammar_state *s, const char *p, size_t n)
{
    if (n == 1)
        return advance(s, (unsigned char)*p);
    g_set_copy(&s->before, &s->set);
    size_t i = 0;
    while (i < n && advance(s, (unsigned char)p[i]))
        i++;
    if (i < n)
        g_set_copy(&s->set, &s->before);
    g_set_clear(&s->before); /* its frames are nobody's any more */
    return i == n;
}

bool grammar_can_end(const struct grammar_state *s)
{
    for (uint32_t i = 0; i < s->set.n; i++)
        if (g_cfg_can_end(s->g, &s->set.v[i]))
            return true;
    return false;
}

bool grammar_must_end(const struct grammar_state *s)
{
    if (!grammar_can_end(s))
        return false;
    for (uint32_t i = 0; i < s->set.n; i++) {
        const struct g_cfg *c = &s->set.v[i];
        if (c->mode == GM_DONE || (c->mode == GM_AFTER && !c->f))
            continue;
        if (c->mode != GM_LEX)
            return false;
        for (unsigned b = 0; b < 256; b++)
            if (rx_dfa_step(s->g->dfa[c->a], c->b, b) != RX_DEAD)
                return false;
    }
    return true;
}

/* ---- one regular language */

static struct grammar *regular(struct rx *x, rx_id r, struct err *e)
{
    struct grammar *g = grammar_alloc(G_REGULAR);
    bool empty = false;
    struct rx_dfa *d = rx_failed(x) ? NULL : rx_dfa_new(x, r, &empty, e);
    rx_free(x);
    if (d) {
        g->root = grammar_add_dfa(g, d);
        return g;
    }
    grammar_free(g);
    if (empty)
        err_set(e, ERR_UNSUPPORTED, "the pattern matches no text at all");
    return NULL;
}

struct grammar *grammar_from_regex(const char *p, size_t n, struct err *e)
{
    struct rx *x = rx_new();
    rx_id r = rx_parse(x, p, n, true, e);
    if (r)
        return regular(x, r, e);
    rx_free(x);
    return NULL;
}

struct grammar *grammar_from_choices(const char *const *words, const size_t *lengths, size_t count, struct err *e)
{
    struct rx *x = rx_new();
    return regular(x, rx_words(x, words, lengths, count), e);
}
