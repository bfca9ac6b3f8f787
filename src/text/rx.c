/* rx -- the algebra: nodes, simplification, derivatives. The DFA is in rx_dfa.c. */
#include "text/rx.h"
#include "text/rx_impl.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- nodes */

static uint64_t mix(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9E3779B97F4A7C15u;
    return h ^ h >> 29;
}

static uint64_t node_hash(const struct rx *x, const struct rx_node *n)
{
    bool kids = n->kind == RX_OR_NODE || n->kind == RX_AND_NODE;
    uint64_t h = mix(n->kind, kids ? 0 : n->a);
    h = mix(mix(mix(h, n->b), n->min), n->max);
    if (kids)
        for (uint32_t i = 0; i < n->b; i++)
            h = mix(h, x->kids[n->a + i]);
    return h;
}

static bool same(const struct rx *x, const struct rx_node *a, const struct rx_node *b)
{
    if (a->kind != b->kind || a->b != b->b || a->min != b->min || a->max != b->max)
        return false;
    if (a->kind == RX_OR_NODE || a->kind == RX_AND_NODE)
        return !memcmp(x->kids + a->a, x->kids + b->a, a->b * sizeof *x->kids);
    return a->a == b->a;
}

static void rehash(struct rx *x)
{
    mem_free(x->slot);
    x->slots = x->slots ? x->slots * 2 : 1 << 12;
    x->slot = mem_new(x->slots, sizeof *x->slot);
    for (uint32_t i = 1; i < x->count; i++) {
        uint64_t s = x->hash[i] & (x->slots - 1);
        while (x->slot[s])
            s = (s + 1) & (x->slots - 1);
        x->slot[s] = i;
    }
}

/* The node equal to n, made if new. kids_used: how many trailing kids belong to it (dropped if it is old). */
static rx_id intern(struct rx *x, struct rx_node n, uint32_t kids_used)
{
    uint64_t h = node_hash(x, &n);
    if (x->count * 2 >= x->slots)
        rehash(x);
    uint64_t s = h & (x->slots - 1);
    for (; x->slot[s]; s = (s + 1) & (x->slots - 1))
        if (x->hash[x->slot[s]] == h && same(x, &x->node[x->slot[s]], &n)) {
            x->kid_count -= kids_used;
            return x->slot[s];
        }
    if (x->count >= RX_NODES_MAX) {
        x->failed = true;
        return RX_EMPTY;
    }
    if (x->count == x->cap) {
        x->cap = x->cap ? x->cap * 2 : 1 << 10;
        x->node = mem_grow(x->node, x->cap, sizeof *x->node);
        x->hash = mem_grow(x->hash, x->cap, sizeof *x->hash);
    }
    x->hash[x->count] = h;
    x->node[x->count] = n;
    x->slot[s] = x->count;
    return x->count++;
}

static void kid_push(struct rx *x, rx_id k)
{
    if (x->kid_count == x->kid_cap) {
        x->kid_cap = x->kid_cap ? x->kid_cap * 2 : 1 << 10;
        x->kids = mem_grow(x->kids, x->kid_cap, sizeof *x->kids);
    }
    x->kids[x->kid_count++] = k;
}

struct rx *rx_new(void)
{
    struct rx *x = MEM_NEW(struct rx);
    rehash(x);
    x->count = 1; /* id 0 is RX_NONE */
    x->cap = 1 << 10;
    x->node = mem_grow(NULL, x->cap, sizeof *x->node);
    x->hash = mem_grow(NULL, x->cap, sizeof *x->hash);
    memset(&x->node[0], 0, sizeof x->node[0]);
    x->hash[0] = 0;
    rx_id empty = intern(x, (struct rx_node){ .kind = RX_OR_NODE }, 0);
    rx_id eps = intern(x, (struct rx_node){ .kind = RX_EPS_NODE, .nullable = true }, 0);
    rx_id all = intern(x, (struct rx_node){ .kind = RX_NOT_NODE, .a = RX_EMPTY, .nullable = true }, 0);
    (void)empty, (void)eps, (void)all; /* RX_EMPTY, RX_EPS, RX_ALL by construction */
    return x;
}

void rx_free(struct rx *x)
{
    if (!x)
        return;
    mem_free(x->node);
    mem_free(x->hash);
    mem_free(x->slot);
    mem_free(x->kids);
    mem_free(x->set);
    mem_free(x);
}

bool rx_failed(const struct rx *x)
{
    return x->failed;
}

bool rx_nullable(const struct rx *x, rx_id a)
{
    return x->node[a].nullable;
}

/* ---- sets of bytes */

rx_id rx_set(struct rx *x, const struct rx_bytes *set)
{
    bool any = false;
    for (int i = 0; i < 4; i++)
        any |= set->w[i] != 0;
    if (!any)
        return RX_EMPTY;
    uint32_t k = 0;
    while (k < x->set_count && memcmp(&x->set[k], set, sizeof *set))
        k++;
    if (k == x->set_count) {
        if (x->set_count == x->set_cap) {
            x->set_cap = x->set_cap ? x->set_cap * 2 : 32;
            x->set = mem_grow(x->set, x->set_cap, sizeof *x->set);
        }
        x->set[x->set_count++] = *set;
    }
    return intern(x, (struct rx_node){ .kind = RX_SET_NODE, .a = k }, 0);
}

rx_id rx_byte_range(struct rx *x, unsigned lo, unsigned hi)
{
    struct rx_bytes s = { { 0 } };
    for (unsigned c = lo; c <= hi && c < 256; c++)
        s.w[c / 64] |= (uint64_t)1 << c % 64;
    return rx_set(x, &s);
}

static bool set_has(const struct rx *x, uint32_t set, unsigned byte)
{
    return x->set[set].w[byte / 64] >> byte % 64 & 1;
}

/* ---- operators */

rx_id rx_cat(struct rx *x, rx_id a, rx_id b)
{
    if (a == RX_EMPTY || b == RX_EMPTY)
        return RX_EMPTY;
    if (a == RX_EPS)
        return b;
    if (b == RX_EPS)
        return a;
    if (x->node[a].kind == RX_CAT_NODE) { /* to the right, so that equal languages more often are equal nodes */
        rx_id head = x->node[a].a, tail = x->node[a].b;
        return rx_cat(x, head, rx_cat(x, tail, b));
    }
    return intern(x, (struct rx_node){ .kind = RX_CAT_NODE, .a = a, .b = b,
                                       .nullable = rx_nullable(x, a) && rx_nullable(x, b) }, 0);
}

static int by_id(const void *a, const void *b)
{
    rx_id p = *(const rx_id *)a, q = *(const rx_id *)b;
    return p < q ? -1 : p > q;
}

/* OR or AND of ids[0..n): flattened, sorted, without doubles. ids is scratch of the caller, may be changed. */
static rx_id combine(struct rx *x, enum rx_kind kind, rx_id *ids, size_t n)
{
    bool is_or = kind == RX_OR_NODE;
    rx_id zero = is_or ? RX_ALL : RX_EMPTY, one = is_or ? RX_EMPTY : RX_ALL;
    size_t k = 0;
    qsort(ids, n, sizeof *ids, by_id);
    for (size_t i = 0; i < n; i++) {
        if (ids[i] == zero)
            return zero;
        if (ids[i] != one && (!k || ids[k - 1] != ids[i]))
            ids[k++] = ids[i];
    }
    for (size_t i = 0; i < k; i++) /* a and not a */
        if (x->node[ids[i]].kind == RX_NOT_NODE && bsearch(&x->node[ids[i]].a, ids, k, sizeof *ids, by_id))
            return zero;
    if (!k)
        return one;
    if (k == 1)
        return ids[0];
    bool nullable = !is_or;
    struct rx_node node = { .kind = kind, .a = x->kid_count, .b = (uint32_t)k };
    for (size_t i = 0; i < k; i++) {
        nullable = is_or ? nullable || rx_nullable(x, ids[i]) : nullable && rx_nullable(x, ids[i]);
        kid_push(x, ids[i]);
    }
    node.nullable = nullable;
    return intern(x, node, (uint32_t)k);
}

static rx_id combine2(struct rx *x, enum rx_kind kind, rx_id a, rx_id b)
{
    const struct rx_node *p = &x->node[a], *q = &x->node[b];
    size_t pn = p->kind == kind && a != RX_EMPTY ? p->b : 1, qn = q->kind == kind && b != RX_EMPTY ? q->b : 1, n = 0;
    rx_id *ids = mem_new(pn + qn, sizeof *ids);
    for (size_t i = 0; i < pn; i++)
        ids[n++] = p->kind == kind && a != RX_EMPTY ? x->kids[p->a + i] : a;
    for (size_t i = 0; i < qn; i++)
        ids[n++] = q->kind == kind && b != RX_EMPTY ? x->kids[q->a + i] : b;
    rx_id r = combine(x, kind, ids, n);
    mem_free(ids);
    return r;
}

rx_id rx_or(struct rx *x, rx_id a, rx_id b)
{
    if (a == b || b == RX_EMPTY)
        return a;
    if (a == RX_EMPTY)
        return b;
    const struct rx_node *p = &x->node[a], *q = &x->node[b];
    if (p->kind == RX_SET_NODE && q->kind == RX_SET_NODE) {
        struct rx_bytes s = x->set[p->a];
        for (int i = 0; i < 4; i++)
            s.w[i] |= x->set[q->a].w[i];
        return rx_set(x, &s);
    }
    return combine2(x, RX_OR_NODE, a, b);
}

rx_id rx_and(struct rx *x, rx_id a, rx_id b)
{
    if (a == b)
        return a;
    return combine2(x, RX_AND_NODE, a, b);
}

rx_id rx_not(struct rx *x, rx_id a)
{
    if (x->node[a].kind == RX_NOT_NODE)
        return x->node[a].a;
    return intern(x, (struct rx_node){ .kind = RX_NOT_NODE, .a = a, .nullable = !rx_nullable(x, a) }, 0);
}

rx_id rx_repeat(struct rx *x, rx_id a, uint32_t min, uint32_t max)
{
    if (max == 0 || a == RX_EPS || (a == RX_EMPTY && min == 0))
        return RX_EPS;
    if (a == RX_EMPTY)
        return RX_EMPTY;
    if (min == 1 && max == 1)
        return a;
    if (rx_nullable(x, a))
        min = 0;
    return intern(x, (struct rx_node){ .kind = RX_REPEAT_NODE, .a = a, .min = min, .max = max,
            .nullable = min == 0 }, 0);
}

rx_id rx_star(struct rx *x, rx_id a)
{
    return rx_repeat(x, a, 0, UINT32_MAX);
}

rx_id rx_opt(struct rx *x, rx_id a)
{
    return rx_or(x, a, RX_EPS);
}

rx_id rx_literal(struct rx *x, const char *p, size_t n)
{
    rx_id r = RX_EPS;
    for (size_t i = n; i-- > 0;)
        r = rx_cat(x, rx_byte_range(x, (unsigned char)p[i], (unsigned char)p[i]), r);
    return r;
}

/* ---- words, sharing what they begin with */

struct word {
    const char *p;
    size_t n;
};

static int by_word(const void *a, const void *b)
{
    const struct word *p = a, *q = b;
    int c = memcmp(p->p, q->p, p->n < q->n ? p->n : q->n);
    return c ? c : p->n < q->n ? -1 : p->n > q->n;
}

static rx_id words_from(struct rx *x, const struct word *w, size_t count, size_t at)
{
    while (count && w->n == at) /* sorted: the words that end here come first */
        return rx_or(x, RX_EPS, words_from(x, w + 1, count - 1, at));
    if (count == 1)
        return rx_literal(x, w->p + at, w->n - at);
    rx_id r = RX_EMPTY;
    for (size_t i = 0; i < count;) {
        size_t k = i + 1;
        while (k < count && w[k].p[at] == w[i].p[at])
            k++;
        unsigned c = (unsigned char)w[i].p[at];
        r = rx_or(x, r, rx_cat(x, rx_byte_range(x, c, c), words_from(x, w + i, k - i, at + 1)));
        i = k;
    }
    return r;
}

rx_id rx_words(struct rx *x, const char *const *words, const size_t *lengths, size_t count)
{
    struct word *w = mem_new(count + 1, sizeof *w);
    size_t k = 0;
    for (size_t i = 0; i < count; i++)
        w[i] = (struct word){ words[i], lengths[i] };
    qsort(w, count, sizeof *w, by_word);
    for (size_t i = 0; i < count; i++)
        if (!k || by_word(&w[k - 1], &w[i]))
            w[k++] = w[i];
    rx_id r = words_from(x, w, k, 0);
    mem_free(w);
    return r;
}

/* ---- UTF-8 */

/* The characters lo..hi of one length: bytes lo[0..n) to hi[0..n), each of them a prefix-closed range. */
static rx_id utf8_range(struct rx *x, const uint8_t *lo, const uint8_t *hi, int n)
{
    if (n == 1)
        return rx_byte_range(x, lo[0], hi[0]);
    if (lo[0] == hi[0])
        return rx_cat(x, rx_byte_range(x, lo[0], lo[0]), utf8_range(x, lo + 1, hi + 1, n - 1));
    static const uint8_t low[3] = { 0x80, 0x80, 0x80 }, high[3] = { 0xBF, 0xBF, 0xBF };
    bool lo_full = !memcmp(lo + 1, low, (size_t)n - 1), hi_full = !memcmp(hi + 1, high, (size_t)n - 1);
    unsigned from = lo[0] + (lo_full ? 0u : 1u), to = hi[0] - (hi_full ? 0u : 1u);
    rx_id r = RX_EMPTY;
    if (!lo_full)
        r = rx_cat(x, rx_byte_range(x, lo[0], lo[0]), utf8_range(x, lo + 1, high, n - 1));
    if (from <= to)
        r = rx_or(x, r, rx_cat(x, rx_byte_range(x, from, to), utf8_range(x, low, high, n - 1)));
    if (!hi_full)
        r = rx_or(x, r, rx_cat(x, rx_byte_range(x, hi[0], hi[0]), utf8_range(x, low, hi + 1, n - 1)));
    return r;
}

static int encode(uint32_t c, uint8_t *out)
{
    if (c < 0x80)
        return out[0] = (uint8_t)c, 1;
    if (c < 0x800)
        return out[0] = (uint8_t)(0xC0 | c >> 6), out[1] = (uint8_t)(0x80 | (c & 63)), 2;
    if (c < 0x10000)
        return out[0] = (uint8_t)(0xE0 | c >> 12), out[1] = (uint8_t)(0x80 | (c >> 6 & 63)),
               out[2] = (uint8_t)(0x80 | (c & 63)), 3;
    return out[0] = (uint8_t)(0xF0 | c >> 18), out[1] = (uint8_t)(0x80 | (c >> 12 & 63)),
           out[2] = (uint8_t)(0x80 | (c >> 6 & 63)), out[3] = (uint8_t)(0x80 | (c & 63)), 4;
}

rx_id rx_code_points(struct rx *x, uint32_t lo, uint32_t hi)
{
    static const uint32_t pieces[][2] = { { 0, 0x7F }, { 0x80, 0x7FF }, { 0x800, 0xD7FF }, { 0xE000, 0xFFFF },
                                          { 0x10000, 0x10FFFF } };
    rx_id r = RX_EMPTY;
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        uint32_t from = lo > pieces[i][0] ? lo : pieces[i][0], to = hi < pieces[i][1] ? hi : pieces[i][1];
        uint8_t a[4], b[4];
        if (from > to)
            continue;
        int n = encode(from, a);
        encode(to, b);
        r = rx_or(x, r, utf8_range(x, a, b, n));
    }
    return r;
}

rx_id rx_any_char(struct rx *x)
{
    if (!x->any_char)
        x->any_char = rx_code_points(x, 0, 0x10FFFF);
    return x->any_char;
}

rx_id rx_any_text(struct rx *x)
{
    return rx_star(x, rx_any_char(x));
}

/* ---- derivatives: what may follow after the byte */

static rx_id derive_kids(struct rx *x, rx_id a, unsigned byte)
{
    uint32_t n = x->node[a].b, first = x->node[a].a;
    enum rx_kind kind = x->node[a].kind;
    rx_id small[32], *ids = n > 32 ? mem_new(n, sizeof *ids) : small, r = RX_EMPTY;
    size_t k = 0;
    bool nested = false;
    for (uint32_t i = 0; i < n; i++) {
        rx_id d = rx_derive(x, x->kids[first + i], byte);
        nested |= x->node[d].kind == kind && d != RX_EMPTY;
        ids[k++] = d;
    }
    if (!nested) {
        r = combine(x, kind, ids, k);
    } else {
        r = kind == RX_OR_NODE ? RX_EMPTY : RX_ALL;
        for (size_t i = 0; i < k; i++)
            r = combine2(x, kind, r, ids[i]);
    }
    if (ids != small)
        mem_free(ids);
    return r;
}

rx_id rx_derive(struct rx *x, rx_id a, unsigned byte)
{
    struct rx_node n = x->node[a];
    if (x->failed || (x->work += 1 + n.b * (n.kind <= RX_AND_NODE)) > RX_WORK_MAX) {
        x->failed = true;
        return RX_EMPTY;
    }
    switch (n.kind) {
    case RX_EPS_NODE: return RX_EMPTY;
    case RX_SET_NODE: return set_has(x, n.a, byte) ? RX_EPS : RX_EMPTY;
    case RX_CAT_NODE: {
        rx_id head = rx_cat(x, rx_derive(x, n.a, byte), n.b);
        return rx_nullable(x, n.a) ? rx_or(x, head, rx_derive(x, n.b, byte)) : head;
    }
    case RX_REPEAT_NODE: {
        rx_id d = rx_derive(x, n.a, byte);
        if (d == RX_EMPTY)
            return d;
        return rx_cat(x, d, rx_repeat(x, n.a, n.min ? n.min - 1 : 0, n.max == UINT32_MAX ? n.max : n.max - 1));
    }
    case RX_NOT_NODE: return rx_not(x, rx_derive(x, n.a, byte));
    default: return derive_kids(x, a, byte);
    }
}

/* ---- the end marker */

/* a without words that hold RX_END; only for the parts of patterns, which have no NOT. */
static rx_id without_end(struct rx *x, rx_id a)
{
    struct rx_node n = x->node[a];
    struct rx_bytes s;
    rx_id r;
    switch (n.kind) {
    case RX_SET_NODE:
        s = x->set[n.a];
        s.w[RX_END / 64] &= ~((uint64_t)1 << RX_END % 64);
        return rx_set(x, &s);
    case RX_CAT_NODE: return rx_cat(x, without_end(x, n.a), without_end(x, n.b));
    case RX_REPEAT_NODE: return rx_repeat(x, without_end(x, n.a), n.min, n.max);
    case RX_OR_NODE:
        r = RX_EMPTY;
        for (uint32_t i = 0; i < n.b; i++)
            r = rx_or(x, r, without_end(x, x->kids[n.a + i]));
        return r;
    default: return a;
    }
}

rx_id rx_before_end(struct rx *x, rx_id a)
{
    struct rx_node n = x->node[a];
    rx_id r;
    switch (n.kind) {
    case RX_EPS_NODE: return RX_EMPTY;
    case RX_SET_NODE: return set_has(x, n.a, RX_END) ? RX_EPS : RX_EMPTY;
    case RX_CAT_NODE:
        r = rx_cat(x, without_end(x, n.a), rx_before_end(x, n.b));
        return rx_nullable(x, n.b) ? rx_or(x, r, rx_before_end(x, n.a)) : r;
    case RX_REPEAT_NODE:
        r = rx_repeat(x, without_end(x, n.a), n.min ? n.min - 1 : 0, n.max == UINT32_MAX ? n.max : n.max - 1);
        return rx_cat(x, r, rx_before_end(x, n.a));
    case RX_NOT_NODE: return rx_not(x, rx_before_end(x, n.a));
    default:
        r = n.kind == RX_OR_NODE ? RX_EMPTY : RX_ALL;
        for (uint32_t i = 0; i < n.b; i++) {
            rx_id k = rx_before_end(x, x->kids[n.a + i]);
            r = n.kind == RX_OR_NODE ? rx_or(x, r, k) : rx_and(x, r, k);
        }
        return r;
    }
}
