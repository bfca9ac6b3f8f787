/* grammar_mask -- which tokens may come next: the vocabulary as a tree, walked by the automaton.
 *
 * Inside a JSON string most tokens only continue the string. They are "safe": whole UTF-8, no quote, no
 * backslash, no control characters. For them a mask depends on the string's automaton alone: all of them
 * when any text goes, else a walk over the DFA's table whose result the cache keeps. Only the unsafe tokens,
 * a few thousand, are walked with the whole automaton. Elsewhere few bytes go and the walk ends soon. */
#include "text/grammar_run.h"

#include "base/assert.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE_SLOTS = 1024, CHARS_MAX = 32 };

/* Nodes in depth-first order; the subtree of node i is [i, skip). */
struct tree {
    struct tree_node {
        uint32_t skip, first, count; /* tokens that end here: order[first .. first+count) */
        uint8_t byte;
        uint16_t depth;              /* bytes from the root; a token is at most 65,535 long */
    } *node;
    uint32_t nodes, cap;
    uint32_t *order;
    uint32_t tokens, longest; /* longest: bytes of one */
};

struct grammar_trie {
    size_t count, words;
    struct tree all, safe, unsafe;
    uint32_t *upto[CHARS_MAX + 1]; /* safe tokens of at most that many characters */
    atomic_bool ready;             /* release when all of the above is there, acquire before it is read */
    grammar_trie_make *make;       /* until then; under the lock */
    const void *arg;
    pthread_mutex_t lock;
};

struct cached {
    uint32_t dfa, state;
    bool rule;        /* of a rule's terminal: over all tokens, else over the safe ones */
    uint32_t *bits;
    uint32_t *cross;  /* [crosses] a terminal's: nodes right behind a word that may be over, by their byte */
    uint32_t crosses, cross_cap;
    uint32_t of_byte[257]; /* cross[of_byte[b] .. of_byte[b + 1]) have byte b */
    uint64_t follow[4];    /* a bit for each byte that was asked for behind the word: cross has only those */
};
struct grammar_cache {
    const struct grammar_trie *t;
    struct cached slot[CACHE_SLOTS];
    uint32_t *at;     /* [longest token] states along a path */
};

/* ---- building */

struct token {
    const char *p;
    size_t n;
    uint32_t id;
};

static int by_bytes(const void *a, const void *b)
{
    const struct token *p = a, *q = b;
    int c = memcmp(p->p, q->p, p->n < q->n ? p->n : q->n);
    return c ? c : p->n < q->n ? -1 : p->n > q->n ? 1 : p->id < q->id ? -1 : p->id > q->id;
}

static uint32_t node_new(struct tree *t, uint8_t byte, size_t depth)
{
    if (t->nodes == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 1024;
        t->node = mem_grow(t->node, t->cap, sizeof *t->node);
    }
    t->node[t->nodes] = (struct tree_node){ .byte = byte, .depth = (uint16_t)depth, .first = t->tokens };
    return t->nodes++;
}

/* tok is sorted. open: the nodes of the current token's bytes. */
static void tree_build(struct tree *t, const struct token *tok, size_t n, size_t longest)
{
    uint32_t *open = mem_new(longest + 1, sizeof *open);
    size_t depth = 0;
    t->order = mem_new(n + 1, sizeof *t->order);
    t->longest = (uint32_t)longest;
    for (size_t i = 0; i < n; i++) {
        size_t common = 0;
        while (common < depth && common < tok[i].n && t->node[open[common]].byte == (uint8_t)tok[i].p[common])
            common++;
        while (depth > common)
            t->node[open[--depth]].skip = t->nodes;
        for (; depth < tok[i].n; depth++)
            open[depth] = node_new(t, (uint8_t)tok[i].p[depth], depth);
        struct tree_node *end = &t->node[open[depth - 1]];
        if (!end->count)
            end->first = t->tokens;
        end->count++;
        t->order[t->tokens++] = tok[i].id;
    }
    while (depth)
        t->node[open[--depth]].skip = t->nodes;
    if (t->nodes)
        t->node = mem_grow(t->node, t->nodes, sizeof *t->node); /* what doubling left over */
    mem_free(open);
}

static uint32_t chars_of(const char *p, size_t n)
{
    uint32_t k = 0;
    for (size_t i = 0; i < n; i++)
        k += ((unsigned char)p[i] & 0xC0) != 0x80;
    return k;
}

/* Whole characters, and nothing that means something in a JSON string. */
static bool is_safe(const struct rx_dfa *utf8, const char *p, size_t n)
{
    uint32_t s = chars_of(p, n) > CHARS_MAX ? RX_DEAD : 0; /* the very long are few: walked */
    for (size_t i = 0; i < n && s != RX_DEAD; i++) {
        unsigned c = (unsigned char)p[i];
        s = c < 0x20 || c == '"' || c == '\\' ? RX_DEAD : rx_dfa_step(utf8, s, c);
    }
    return s != RX_DEAD && utf8->accept[s];
}

struct grammar_trie *grammar_trie_new(const struct grammar_token *tokens, size_t count)
{
    struct grammar_trie *t = MEM_NEW(struct grammar_trie);
    struct grammar *g = grammar_alloc(G_JSON); /* for its UTF-8 automaton */
    struct token *all = mem_new(count + 1, sizeof *all), *safe = mem_new(count + 1, sizeof *safe);
    struct token *unsafe = mem_new(count + 1, sizeof *unsafe);
    size_t n = 0, nsafe = 0, nunsafe = 0, longest = 0;
    t->count = count;
    t->words = (count + 31) / 32;
    for (uint32_t i = 0; i <= CHARS_MAX; i++)
        t->upto[i] = mem_new(t->words + 1, sizeof(uint32_t));
    for (size_t i = 0; i < count; i++) {
        if (!tokens[i].bytes || !tokens[i].len || tokens[i].len > UINT16_MAX)
            continue;
        all[n++] = (struct token){ tokens[i].bytes, tokens[i].len, (uint32_t)i };
        longest = tokens[i].len > longest ? tokens[i].len : longest;
    }
    qsort(all, n, sizeof *all, by_bytes);
    for (size_t i = 0; i < n; i++) {
        if (!is_safe(g->dfa[0], all[i].p, all[i].n)) {
            unsafe[nunsafe++] = all[i];
            continue;
        }
        safe[nsafe++] = all[i];
        uint32_t chars = chars_of(all[i].p, all[i].n);
        for (uint32_t k = chars; k <= CHARS_MAX; k++)
            t->upto[k][all[i].id / 32] |= 1u << all[i].id % 32;
    }
    tree_build(&t->all, all, n, longest);
    tree_build(&t->safe, safe, nsafe, longest);
    tree_build(&t->unsafe, unsafe, nunsafe, longest);
    mem_free(all);
    mem_free(safe);
    mem_free(unsafe);
    grammar_free(g);
    t->ready = true;
    return t;
}

struct grammar_trie *grammar_trie_later(grammar_trie_make *make, const void *arg, size_t count)
{
    struct grammar_trie *t = MEM_NEW(struct grammar_trie);
    t->count = count;
    t->make = make;
    t->arg = arg;
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void grammar_trie_prepare(struct grammar_trie *t)
{
    if (atomic_load_explicit(&t->ready, memory_order_acquire))
        return;
    pthread_mutex_lock(&t->lock);
    if (!t->ready) {
        struct grammar_trie *made = t->make(t->arg);
        ASSERT(made->count == t->count);
        t->words = made->words;
        t->all = made->all;
        t->safe = made->safe;
        t->unsafe = made->unsafe;
        memcpy(t->upto, made->upto, sizeof t->upto);
        mem_free(made);
        atomic_store_explicit(&t->ready, true, memory_order_release);
    }
    pthread_mutex_unlock(&t->lock);
}

static void tree_release(struct tree *t)
{
    mem_free(t->node);
    mem_free(t->order);
}

void grammar_trie_free(struct grammar_trie *t)
{
    if (!t)
        return;
    if (t->make)
        pthread_mutex_destroy(&t->lock);
    for (uint32_t i = 0; i <= CHARS_MAX; i++)
        mem_free(t->upto[i]);
    tree_release(&t->all);
    tree_release(&t->safe);
    tree_release(&t->unsafe);
    mem_free(t);
}

size_t grammar_trie_tokens(const struct grammar_trie *t)
{
    return t->count;
}

struct grammar_cache *grammar_cache_new(const struct grammar *g, const struct grammar_trie *t)
{
    ASSERT(atomic_load_explicit(&t->ready, memory_order_acquire));
    struct grammar_cache *c = MEM_NEW(struct grammar_cache);
    c->t = t;
    c->at = mem_new(t->all.longest + 1u, sizeof *c->at);
    return c;
}

void grammar_cache_free(struct grammar_cache *c)
{
    if (!c)
        return;
    for (uint32_t i = 0; i < CACHE_SLOTS; i++) {
        mem_free(c->slot[i].bits);
        mem_free(c->slot[i].cross);
    }
    mem_free(c->at);
    mem_free(c);
}

/* ---- walking */

static void allow(const struct tree *t, const struct tree_node *n, uint32_t *bits)
{
    for (uint32_t i = 0; i < n->count; i++) {
        uint32_t id = t->order[n->first + i];
        bits[id / 32] |= 1u << id % 32;
    }
}

/* With the whole automaton, over nodes [from, to) of which none is above depth `base`: a set of configurations for each
 * byte of the path. */
static void walk(const struct grammar *g, const struct tree *t, uint32_t first, uint32_t end, size_t base,
                 const struct g_set *start, uint32_t *bits)
{
    struct g_set *level = NULL;
    size_t levels = 0;
    for (uint32_t i = first; i < end;) {
        const struct tree_node *n = &t->node[i];
        size_t depth = n->depth - base;
        if (depth >= levels) {
            size_t want = levels ? levels * 2 : 32;
            level = mem_grow(level, want, sizeof *level);
            memset(level + levels, 0, (want - levels) * sizeof *level);
            levels = want;
        }
        const struct g_set *from = depth ? &level[depth - 1] : start;
        struct g_set *to = &level[depth];
        g_set_clear(to);
        for (uint32_t k = 0; k < from->n; k++)
            g_step(g, &from->v[k], n->byte, to);
        if (to->n)
            allow(t, n, bits);
        i = to->n ? i + 1 : n->skip;
    }
    for (size_t k = 0; k < levels; k++)
        g_set_release(&level[k]);
    mem_free(level);
}

/* With one DFA over the safe tokens: a table look-up a byte. */
static void walk_dfa(const struct rx_dfa *d, uint32_t state, const struct tree *t, uint32_t *bits)
{
    uint32_t at[4 * CHARS_MAX]; /* safe tokens have no more bytes */
    for (uint32_t i = 0; i < t->nodes;) {
        const struct tree_node *n = &t->node[i];
        uint32_t s = rx_dfa_step(d, n->depth ? at[n->depth - 1] : state, n->byte);
        at[n->depth] = s;
        if (s != RX_DEAD)
            allow(t, n, bits);
        i = s != RX_DEAD ? i + 1 : n->skip;
    }
}

/* The same with room for `left` more characters, counting those that a word still needs. */
static void walk_counted(const struct rx_dfa *d, uint32_t state, uint32_t left, const struct tree *t, uint32_t *bits)
{
    uint32_t at[4 * CHARS_MAX], used[4 * CHARS_MAX];
    for (uint32_t i = 0; i < t->nodes;) {
        const struct tree_node *n = &t->node[i];
        uint32_t s = rx_dfa_step(d, n->depth ? at[n->depth - 1] : state, n->byte);
        at[n->depth] = s;
        used[n->depth] = (n->depth ? used[n->depth - 1] : 0) + ((n->byte & 0xC0) != 0x80);
        bool ok = s != RX_DEAD && used[n->depth] + d->dist[s] <= left;
        if (ok)
            allow(t, n, bits);
        i = ok ? i + 1 : n->skip;
    }
}

static void or_bits(uint32_t *to, const uint32_t *from, size_t words)
{
    for (size_t i = 0; i < words; i++)
        to[i] |= from[i];
}

/* Makes the slot that of (dfa, state). true: it was not, and its bits must be computed. */
static bool take_slot(struct cached *slot, uint32_t dfa, uint32_t state, bool rule, const struct grammar_trie *t)
{
    if (slot->bits && slot->dfa == dfa && slot->state == state && slot->rule == rule)
        return false;
    if (!slot->bits)
        slot->bits = mem_new(t->words + 1, sizeof *slot->bits);
    memset(slot->bits, 0, t->words * sizeof *slot->bits);
    slot->dfa = dfa;
    slot->state = state;
    slot->rule = rule;
    slot->crosses = 0;
    return true;
}

static void dfa_mask(const struct grammar *g, uint32_t dfa, uint32_t state, const struct grammar_trie *t,
                     struct grammar_cache *c, uint32_t *bits)
{
    struct cached *slot = c ? &c->slot[(dfa * 31 + state * 2654435761u) % CACHE_SLOTS] : NULL;
    if (!slot) {
        walk_dfa(g->dfa[dfa], state, &t->safe, bits);
        return;
    }
    if (take_slot(slot, dfa, state, false, t))
        walk_dfa(g->dfa[dfa], state, &t->safe, slot->bits);
    or_bits(bits, slot->bits, t->words);
}

/* ---- terminals of rules */

static void remember(struct cached *slot, uint32_t node)
{
    if (slot->crosses == slot->cross_cap) {
        slot->cross_cap = slot->cross_cap ? slot->cross_cap * 2 : 256;
        slot->cross = mem_grow(slot->cross, slot->cross_cap, sizeof *slot->cross);
    }
    slot->cross[slot->crosses++] = node;
}

static void sort_by_byte(struct cached *slot, const struct tree *t)
{
    uint32_t *sorted = mem_new(slot->crosses + 1, sizeof *sorted), at[257] = { 0 };
    for (uint32_t i = 0; i < slot->crosses; i++)
        at[t->node[slot->cross[i]].byte + 1]++;
    for (int b = 0; b < 256; b++)
        at[b + 1] += at[b];
    memcpy(slot->of_byte, at, sizeof at);
    for (uint32_t i = 0; i < slot->crosses; i++)
        sorted[at[t->node[slot->cross[i]].byte]++] = slot->cross[i];
    mem_free(slot->cross);
    slot->cross = sorted;
    slot->cross_cap = slot->crosses;
}

static bool has_byte(const uint64_t set[4], unsigned byte)
{
    return set[byte / 64] >> byte % 64 & 1;
}

/* Over all tokens: those within a word of the DFA, and the nodes behind a word that may end before its token does. */
static void walk_terminal(const struct rx_dfa *d, uint32_t state, const struct tree *t, uint32_t *at,
                          struct cached *slot)
{
    for (uint32_t i = 0; i < t->nodes;) {
        const struct tree_node *n = &t->node[i];
        uint32_t before = n->depth ? at[n->depth - 1] : state, s = rx_dfa_step(d, before, n->byte);
        if (n->depth && d->accept[before] && has_byte(slot->follow, n->byte))
            remember(slot, i);
        at[n->depth] = s;
        if (s != RX_DEAD)
            allow(t, n, slot->bits);
        i = s != RX_DEAD ? i + 1 : n->skip;
    }
    sort_by_byte(slot, t);
}

static void step_all(const struct grammar *g, const struct g_set *from, unsigned byte, struct g_set *to)
{
    g_set_clear(to);
    for (uint32_t i = 0; i < from->n; i++)
        g_step(g, &from->v[i], byte, to);
}

/* The bytes that may come behind a terminal. */
static void bytes_of(const struct grammar *g, const struct g_set *next, uint64_t set[4])
{
    struct g_set to = { 0 };
    for (unsigned b = 0; b < 256; b++) {
        step_all(g, next, b, &to);
        if (to.n)
            set[b / 64] |= (uint64_t)1 << b % 64;
    }
    g_set_release(&to);
}

static void terminal_mask(const struct grammar *g, const struct g_cfg *c, const struct grammar_trie *t,
                          struct grammar_cache *cache, uint32_t *bits)
{
    struct cached *slot = &cache->slot[(c->a * 31 + c->b * 2654435761u + 7) % CACHE_SLOTS];
    struct g_set next = { 0 }, to = { 0 };
    uint64_t follow[4] = { 0 };
    g_bnf_expand(g, c->n, c->f, &next, 0);
    bytes_of(g, &next, follow);
    bool other = slot->bits && (slot->dfa != c->a || slot->state != c->b || !slot->rule), more = other || !slot->bits;
    for (int i = 0; i < 4; i++)
        more |= (follow[i] & ~slot->follow[i]) != 0;
    if (more) {
        for (int i = 0; i < 4; i++)
            slot->follow[i] = follow[i] | (other ? 0 : slot->follow[i]);
        slot->rule = false; /* whatever it was, it is made again */
        take_slot(slot, c->a, c->b, true, t);
        walk_terminal(g->dfa[c->a], c->b, &t->all, cache->at, slot);
    }
    or_bits(bits, slot->bits, t->words);
    for (unsigned b = 0; b < 256; b++) {
        if (slot->of_byte[b] == slot->of_byte[b + 1] || !has_byte(follow, b))
            continue;
        step_all(g, &next, b, &to);
        for (uint32_t i = slot->of_byte[b]; i < slot->of_byte[b + 1]; i++) {
            const struct tree_node *n = &t->all.node[slot->cross[i]];
            allow(&t->all, n, bits);
            walk(g, &t->all, slot->cross[i] + 1, n->skip, n->depth + 1u, &to, bits);
        }
    }
    g_set_release(&next);
    g_set_release(&to);
}

/* The safe tokens a configuration inside a string allows, without a walk; false: it takes one. */
static bool text_mask(const struct grammar *g, const struct g_cfg *c, const struct grammar_trie *t,
                      struct grammar_cache *cache, uint32_t *bits)
{
    if (c->esc || (c->mode != GM_STR && c->mode != GM_INKEY))
        return false;
    if (c->mode == GM_INKEY) {
        const struct g_object *o = &g->object[c->f->spec];
        if (c->n != G_NONE) {
            dfa_mask(g, o->cls[c->n].dfa, c->b, t, cache, bits);
            return true;
        }
        if (o->rest == G_NONE || !g->value[o->rest].sat || c->b != 0 || o->max != UINT32_MAX)
            return false;
        or_bits(bits, t->upto[CHARS_MAX], t->words);
        return true;
    }
    const struct g_value *v = &g->value[c->a];
    uint32_t left = v->smax == UINT32_MAX ? UINT32_MAX : v->smax - c->n;
    if (!v->plain && left < CHARS_MAX + g->dfa[v->str]->dist_max) {
        walk_counted(g->dfa[v->str], c->b, left, &t->safe, bits);
        return true;
    }
    if (!v->plain) {
        dfa_mask(g, v->str, c->b, t, cache, bits);
        return true;
    }
    if (c->b != 0)
        return false; /* inside a character */
    or_bits(bits, t->upto[left > CHARS_MAX ? CHARS_MAX : left], t->words);
    return true;
}

void grammar_mask(const struct grammar_state *s, const struct grammar_trie *t, struct grammar_cache *c, uint32_t *bits)
{
    struct g_set hard = { 0 }, text = { 0 };
    memset(bits, 0, t->words * sizeof *bits);
    for (uint32_t i = 0; i < s->set.n; i++) {
        const struct g_cfg *cfg = &s->set.v[i];
        if (cfg->mode == GM_DONE)
            continue;
        if (cfg->mode == GM_TERMINAL && c) {
            terminal_mask(s->g, cfg, t, c, bits);
            continue;
        }
        if (cfg->mode == GM_LEX && s->g->kind == G_REGULAR)
            dfa_mask(s->g, cfg->a, cfg->b, t, c, bits);
        bool easy = (cfg->mode == GM_LEX && s->g->kind == G_REGULAR) || text_mask(s->g, cfg, t, c, bits);
        g_set_push(easy ? &text : &hard, *cfg);
    }
    if (text.n)
        walk(s->g, &t->unsafe, 0, t->unsafe.nodes, 0, &text, bits);
    if (hard.n)
        walk(s->g, &t->all, 0, t->all.nodes, 0, &hard, bits);
    g_set_release(&text);
    g_set_release(&hard);
}
