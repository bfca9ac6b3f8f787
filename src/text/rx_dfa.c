/* rx_dfa -- the DFA of an expression: every derivative a state, then what cannot end well is cut off. */
#include "text/rx_impl.h"

#include "base/mem.h"

#include <string.h>

struct build {
    struct rx *x;
    uint32_t classes;
    uint8_t class_of[256], sample[256]; /* byte -> class, class -> one of its bytes */
    rx_id *state;
    uint32_t states, cap, states_max;
    uint32_t *next;
    uint32_t *of;                       /* hash: node -> state + 1 */
    uint32_t slots;
};

/* Marks the sets below a. seen: one byte for each node. */
static void collect_sets(const struct rx *x, rx_id a, uint8_t *seen, uint8_t *used, rx_id *stack)
{
    size_t top = 0;
    stack[top++] = a;
    seen[a] = 1;
    while (top) {
        const struct rx_node *n = &x->node[stack[--top]];
        bool kids = n->kind == RX_OR_NODE || n->kind == RX_AND_NODE;
        uint32_t count = kids ? n->b : n->kind == RX_CAT_NODE ? 2 : n->kind == RX_SET_NODE || n->kind == RX_EPS_NODE
                ? 0 : 1;
        if (n->kind == RX_SET_NODE)
            used[n->a] = 1;
        for (uint32_t i = 0; i < count; i++) {
            rx_id k = kids ? x->kids[n->a + i] : i ? n->b : n->a;
            if (!seen[k]) {
                seen[k] = 1;
                stack[top++] = k;
            }
        }
    }
}

/* Bytes that no set below a tells apart share a class. */
static void find_classes(struct build *b, rx_id a)
{
    const struct rx *x = b->x;
    uint8_t *seen = mem_new(x->count + 1, 1), *used = mem_new(x->set_count + 1, 1);
    rx_id *stack = mem_new(x->count + 1, sizeof *stack);
    collect_sets(x, a, seen, used, stack);
    memset(b->class_of, 0, sizeof b->class_of);
    b->classes = 1;
    for (uint32_t s = 0; s < x->set_count; s++) {
        if (!used[s])
            continue;
        int split[256];
        for (int i = 0; i < 256; i++)
            split[i] = -1;
        uint32_t first[256];
        uint8_t in_first[256];
        uint32_t classes = b->classes;
        memset(first, 0xFF, sizeof first);
        for (unsigned c = 0; c < 256; c++) { /* the first byte of a class keeps its number, others may leave */
            uint32_t k = b->class_of[c];
            uint8_t in = x->set[s].w[c / 64] >> c % 64 & 1;
            if (first[k] == UINT32_MAX) {
                first[k] = c;
                in_first[k] = in;
            } else if (in != in_first[k]) {
                if (split[k] < 0)
                    split[k] = (int)classes++;
                b->class_of[c] = (uint8_t)split[k];
            }
        }
        b->classes = classes;
    }
    for (unsigned c = 256; c-- > 0;)
        b->sample[b->class_of[c]] = (uint8_t)c;
    mem_free(seen);
    mem_free(used);
    mem_free(stack);
}

static void rehash(struct build *b)
{
    mem_free(b->of);
    b->slots = b->slots ? b->slots * 2 : 256;
    b->of = mem_new(b->slots, sizeof *b->of);
    for (uint32_t i = 0; i < b->states; i++) {
        uint32_t s = b->state[i] * 2654435761u & (b->slots - 1);
        while (b->of[s])
            s = (s + 1) & (b->slots - 1);
        b->of[s] = i + 1;
    }
}

/* The state of node a, made if new; RX_DEAD for the empty language or too many states. */
static uint32_t state_of(struct build *b, rx_id a)
{
    if (a == RX_EMPTY)
        return RX_DEAD;
    uint32_t s = a * 2654435761u & (b->slots - 1);
    for (; b->of[s]; s = (s + 1) & (b->slots - 1))
        if (b->state[b->of[s] - 1] == a)
            return b->of[s] - 1;
    if (b->states >= b->states_max) {
        b->x->failed = true;
        return RX_DEAD;
    }
    if (b->states == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 64;
        b->state = mem_grow(b->state, b->cap, sizeof *b->state);
        b->next = mem_grow(b->next, (size_t)b->cap * b->classes, sizeof *b->next);
    }
    b->state[b->states++] = a;
    b->of[s] = b->states;
    if (b->states * 2 > b->slots)
        rehash(b);
    return b->states - 1;
}

static void explore(struct build *b, rx_id a)
{
    find_classes(b, a);
    rehash(b);
    state_of(b, a);
    for (uint32_t i = 0; i < b->states && !b->x->failed; i++)
        for (uint32_t c = 0; c < b->classes; c++) {
            uint32_t to = state_of(b, rx_derive(b->x, b->state[i], b->sample[c]));
            b->next[(size_t)i * b->classes + c] = to;
        }
}

/* live[s]: an accepting state can be reached. Backwards over reversed edges, worklist in order. */
static uint8_t *find_live(const struct build *b)
{
    size_t edges = (size_t)b->states * b->classes;
    uint32_t *head = mem_new(b->states + 2, sizeof *head), *from = mem_new(edges + 1, sizeof *from);
    uint32_t *queue = mem_new(b->states + 1, sizeof *queue), n = 0;
    uint8_t *live = mem_new(b->states + 1, 1);
    for (size_t i = 0; i < edges; i++)
        if (b->next[i] != RX_DEAD)
            head[b->next[i] + 1]++;
    for (uint32_t i = 0; i < b->states; i++)
        head[i + 1] += head[i];
    uint32_t *fill = mem_dup(head, (b->states + 2) * sizeof *head);
    for (size_t i = 0; i < edges; i++)
        if (b->next[i] != RX_DEAD)
            from[fill[b->next[i]]++] = (uint32_t)(i / b->classes);
    for (uint32_t i = 0; i < b->states; i++)
        if (rx_nullable(b->x, b->state[i])) {
            live[i] = 1;
            queue[n++] = i;
        }
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t i = head[queue[k]]; i < head[queue[k] + 1]; i++)
            if (!live[from[i]]) {
                live[from[i]] = 1;
                queue[n++] = from[i];
            }
    mem_free(head);
    mem_free(from);
    mem_free(queue);
    mem_free(fill);
    return live;
}

/* A state is infinite when a cycle can be reached: peel states all of whose successors are peeled. */
static void find_infinite(struct rx_dfa *d)
{
    memset(d->infinite, 1, d->states);
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = d->states; i-- > 0;) {
            if (!d->infinite[i])
                continue;
            bool finite = true;
            for (uint32_t c = 0; c < d->classes && finite; c++) {
                uint32_t to = d->next[(size_t)i * d->classes + c];
                finite = to == RX_DEAD || (to != i && !d->infinite[to]);
            }
            if (finite) {
                d->infinite[i] = 0;
                changed = true;
            }
        }
    }
}

/* dist[s]: relaxed until it stands; the states are in breadth-first order, so backwards settles quickly. */
static void find_dist(struct rx_dfa *d)
{
    uint8_t starts[256] = { 0 }; /* classes whose bytes begin a character */
    for (unsigned b = 0; b < 256; b++)
        starts[d->class_of[b]] |= (b & 0xC0) != 0x80;
    for (uint32_t s = 0; s < d->states; s++)
        d->dist[s] = d->accept[s] ? 0 : UINT32_MAX;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t s = d->states; s-- > 0;)
            for (uint32_t c = 0; c < d->classes; c++) {
                uint32_t to = d->next[(size_t)s * d->classes + c];
                if (to == RX_DEAD || d->dist[to] == UINT32_MAX || d->dist[to] + starts[c] >= d->dist[s])
                    continue;
                d->dist[s] = d->dist[to] + starts[c];
                changed = true;
            }
    }
    for (uint32_t s = 0; s < d->states; s++)
        d->dist_max = d->dist[s] > d->dist_max ? d->dist[s] : d->dist_max;
}

static struct rx_dfa *pack(const struct build *b, const uint8_t *live)
{
    uint32_t *number = mem_new(b->states + 1, sizeof *number), n = 0;
    for (uint32_t i = 0; i < b->states; i++)
        number[i] = live[i] ? n++ : RX_DEAD;
    struct rx_dfa *d = MEM_NEW(struct rx_dfa);
    d->states = n;
    d->classes = b->classes;
    memcpy(d->class_of, b->class_of, sizeof d->class_of);
    d->next = mem_new((size_t)n * b->classes, sizeof *d->next);
    d->accept = mem_new(n, 1);
    d->infinite = mem_new(n, 1);
    for (uint32_t i = 0; i < b->states; i++) {
        if (!live[i])
            continue;
        for (uint32_t c = 0; c < b->classes; c++) {
            uint32_t to = b->next[(size_t)i * b->classes + c];
            d->next[(size_t)number[i] * b->classes + c] = to == RX_DEAD ? RX_DEAD : number[to];
        }
        d->accept[number[i]] = rx_nullable(b->x, b->state[i]);
    }
    mem_free(number);
    d->dist = mem_new(n, sizeof *d->dist);
    find_infinite(d);
    find_dist(d);
    return d;
}

static void release(struct build *b)
{
    mem_free(b->state);
    mem_free(b->next);
    mem_free(b->of);
}

struct rx_dfa *rx_dfa_new(struct rx *x, rx_id a, bool *empty, struct err *e)
{
    struct build b = { .x = x, .states_max = RX_STATES_MAX };
    struct rx_dfa *d = NULL;
    *empty = a == RX_EMPTY && !x->failed;
    if (*empty)
        return NULL;
    explore(&b, a);
    if (x->failed) {
        err_set(e, ERR_UNSUPPORTED, "the pattern needs more work or states than we spend on one");
    } else {
        uint8_t *live = find_live(&b);
        *empty = !live[0];
        d = live[0] ? pack(&b, live) : NULL;
        mem_free(live);
    }
    release(&b);
    return d;
}

void rx_dfa_free(struct rx_dfa *d)
{
    if (!d)
        return;
    mem_free(d->next);
    mem_free(d->accept);
    mem_free(d->infinite);
    mem_free(d->dist);
    mem_free(d);
}

struct rx_dfa *rx_dfa_copy(const struct rx_dfa *d)
{
    struct rx_dfa *n = mem_dup(d, sizeof *d);
    n->next = mem_dup(d->next, (size_t)d->states * d->classes * sizeof *d->next);
    n->accept = mem_dup(d->accept, d->states * sizeof *d->accept);
    n->infinite = mem_dup(d->infinite, d->states * sizeof *d->infinite);
    n->dist = mem_dup(d->dist, d->states * sizeof *d->dist);
    return n;
}

int rx_disjoint(struct rx *x, rx_id a, rx_id p)
{
    struct build b = { .x = x, .states_max = 4000 };
    rx_id both = rx_and(x, a, p);
    int r = 1;
    if (x->failed)
        return -1;
    if (both != RX_EMPTY) {
        find_classes(&b, both);
        rehash(&b);
        state_of(&b, both);
        for (uint32_t i = 0; r == 1 && i < b.states; i++) {
            if (rx_nullable(x, b.state[i])) {
                r = 0;
                break;
            }
            for (uint32_t c = 0; c < b.classes && !x->failed; c++)
                state_of(&b, rx_derive(x, b.state[i], b.sample[c]));
            if (x->failed) {
                r = -1;
                x->failed = b.states < b.states_max; /* only this question was too large */
            }
        }
    }
    release(&b);
    return r;
}
