/* gbnf -- grammars in llama.cpp's notation (docs: grammars/README.md there), and walking their rules.
 *
 * Rules that do not reach themselves are regular languages: they melt into expressions, and a whole grammar
 * without recursion is one DFA. Recursive rules become alternatives of elements; runs of regular items
 * between two rule calls are one DFA. Left recursion is refused. */
#include "text/grammar_run.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { RULES_MAX = 5000, NODES_MAX = 200000, NEST_MAX = 100, REPEAT_MAX = 2000, EXPAND_DEPTH_MAX = 300,
        EXPAND_WORK_MAX = 20000 };

enum kind { B_RX, B_REF, B_SEQ, B_ALT, B_REPEAT };
struct bnode {
    enum kind kind;
    uint32_t a, b;     /* SEQ, ALT: operands (b may be G_NONE); REF: rule in a; REPEAT: of a */
    uint32_t min, max;
    rx_id rx;
};
struct brule {
    const char *name;
    size_t len;
    uint32_t body;     /* node, or G_NONE while only referred to */
    uint8_t mark;      /* 0 new, 1 being visited, 2 done */
    bool recursive, nullable, productive;
    rx_id rx;
    uint32_t number;   /* in the grammar, when recursive */
};
struct gbnf {
    struct rx *x;
    const char *p, *end;
    struct err *e;
    bool failed;
    int depth;
    struct bnode *node;
    uint32_t nodes, cap;
    struct brule *rule;
    uint32_t rules, rule_cap;
    struct grammar *g;
    uint32_t elements_cap, rules_out_cap, elements;
};

static uint32_t fail(struct gbnf *b, const char *what)
{
    if (!b->failed)
        err_set(b->e, ERR_UNSUPPORTED, "the grammar %s", what);
    b->failed = true;
    b->p = b->end;
    return 0;
}

static uint32_t node_new(struct gbnf *b, struct bnode n)
{
    if (b->nodes >= NODES_MAX)
        return fail(b, "is too large");
    if (b->nodes == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 256;
        b->node = mem_grow(b->node, b->cap, sizeof *b->node);
    }
    b->node[b->nodes] = n;
    return b->nodes++;
}

/* ---- reading */

static void skip_space(struct gbnf *b, bool newlines)
{
    while (b->p < b->end) {
        if (*b->p == '#')
            while (b->p < b->end && *b->p != '\n')
                b->p++;
        else if (*b->p == ' ' || *b->p == '\t' || *b->p == '\r' || (newlines && *b->p == '\n'))
            b->p++;
        else
            break;
    }
}

static bool name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static uint32_t rule_named(struct gbnf *b, const char *p, size_t n)
{
    for (uint32_t i = 0; i < b->rules; i++)
        if (b->rule[i].len == n && !memcmp(b->rule[i].name, p, n))
            return i;
    if (b->rules >= RULES_MAX)
        return fail(b, "has too many rules");
    if (b->rules == b->rule_cap) {
        b->rule_cap = b->rule_cap ? b->rule_cap * 2 : 32;
        b->rule = mem_grow(b->rule, b->rule_cap, sizeof *b->rule);
    }
    b->rule[b->rules] = (struct brule){ .name = p, .len = n, .body = G_NONE };
    return b->rules++;
}

static uint32_t utf8(struct gbnf *b)
{
    unsigned char c = (unsigned char)*b->p++;
    int more = c < 0x80 ? 0 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : 3;
    uint32_t v = more ? c & (0x3Fu >> more) : c;
    while (more-- && b->p < b->end)
        v = v << 6 | ((unsigned char)*b->p++ & 0x3F);
    return v;
}

static uint32_t character(struct gbnf *b)
{
    if (*b->p != '\\')
        return utf8(b);
    if (++b->p == b->end)
        return fail(b, "ends in a backslash");
    char c = *b->p++;
    int digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    uint32_t v = 0;
    for (int i = 0; i < digits; i++) {
        char d = b->p < b->end ? *b->p++ : 0;
        int k = d >= '0' && d <= '9' ? d - '0' : (d | 32) >= 'a' && (d | 32) <= 'f' ? (d | 32) - 'a' + 10 : -1;
        if (k < 0)
            return fail(b, "has an incomplete escape");
        v = v << 4 | (uint32_t)k;
    }
    return digits ? v : c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : (unsigned char)c;
}

static rx_id read_literal(struct gbnf *b)
{
    rx_id r = RX_EPS;
    for (b->p++; b->p < b->end && *b->p != '"';) {
        uint32_t c = character(b);
        r = rx_cat(b->x, r, rx_code_points(b->x, c, c));
    }
    if (b->p == b->end)
        return fail(b, "has a literal without its closing quote"), RX_EMPTY;
    b->p++;
    return r;
}

static rx_id read_class(struct gbnf *b)
{
    rx_id r = RX_EMPTY;
    bool negated = ++b->p < b->end && *b->p == '^';
    b->p += negated;
    while (b->p < b->end && *b->p != ']') {
        uint32_t lo = character(b), hi = lo;
        if (b->end - b->p >= 2 && *b->p == '-' && b->p[1] != ']') {
            b->p++;
            hi = character(b);
        }
        r = rx_or(b->x, r, rx_code_points(b->x, lo, hi));
    }
    if (b->p == b->end)
        return fail(b, "has a [ without ]"), RX_EMPTY;
    b->p++;
    return negated ? rx_and(b->x, rx_any_char(b->x), rx_not(b->x, r)) : r;
}

static uint32_t read_alternatives(struct gbnf *b, bool nested);

static uint32_t read_item(struct gbnf *b, bool nested)
{
    struct bnode n = { .kind = B_RX };
    const char *start = b->p;
    if (*b->p == '"') {
        n.rx = read_literal(b);
    } else if (*b->p == '[') {
        n.rx = read_class(b);
    } else if (*b->p == '.') {
        b->p++;
        n.rx = rx_any_char(b->x);
    } else if (*b->p == '(') {
        b->p++;
        uint32_t a = read_alternatives(b, true);
        if (b->p == b->end || *b->p != ')')
            return fail(b, "has a ( without )");
        b->p++;
        return a;
    } else if (name_char(*b->p)) {
        while (b->p < b->end && name_char(*b->p))
            b->p++;
        n.kind = B_REF;
        n.a = rule_named(b, start, (size_t)(b->p - start));
    } else {
        return fail(b, "has a character that begins no item");
    }
    return node_new(b, n);
}

static bool read_count(struct gbnf *b, uint32_t *out)
{
    const char *start = b->p;
    uint32_t v = 0;
    while (b->p < b->end && *b->p >= '0' && *b->p <= '9')
        v = v > REPEAT_MAX ? v : v * 10 + (uint32_t)(*b->p++ - '0');
    *out = v;
    return b->p > start;
}

static uint32_t read_repeated(struct gbnf *b, bool nested)
{
    uint32_t a = read_item(b, nested);
    for (;;) {
        struct bnode n = { .kind = B_REPEAT, .a = a, .max = UINT32_MAX };
        skip_space(b, nested);
        if (b->failed || b->p == b->end || !strchr("*+?{", *b->p) || !*b->p)
            return a;
        char c = *b->p++;
        n.min = c == '+';
        if (c == '?')
            n.max = 1;
        if (c == '{') {
            if (!read_count(b, &n.min))
                return fail(b, "has a { without a number");
            n.max = n.min;
            if (b->p < b->end && *b->p == ',') {
                b->p++;
                if (!read_count(b, &n.max))
                    n.max = UINT32_MAX;
            }
            if (b->p == b->end || *b->p++ != '}' || n.max < n.min || n.min > REPEAT_MAX)
                return fail(b, "has a repetition that is wrong or too large");
        }
        a = node_new(b, n);
    }
}

/* A new rule begins here: a name, then ::= */
static bool at_rule(const struct gbnf *b)
{
    const char *p = b->p;
    while (p < b->end && name_char(*p))
        p++;
    if (p == b->p)
        return false;
    while (p < b->end && (*p == ' ' || *p == '\t'))
        p++;
    return b->end - p >= 3 && !memcmp(p, "::=", 3);
}

static uint32_t read_sequence(struct gbnf *b, bool nested)
{
    uint32_t seq = node_new(b, (struct bnode){ .kind = B_RX, .rx = RX_EPS });
    for (;;) {
        skip_space(b, nested);
        if (b->failed || b->p == b->end || *b->p == '|' || *b->p == ')' || *b->p == '\n' || (nested && at_rule(b)))
            return seq;
        uint32_t item = read_repeated(b, nested);
        seq = node_new(b, (struct bnode){ .kind = B_SEQ, .a = seq, .b = item });
    }
}

static uint32_t read_alternatives(struct gbnf *b, bool nested)
{
    if (++b->depth > NEST_MAX)
        return fail(b, "is nested too deep");
    uint32_t a = read_sequence(b, nested);
    for (;;) {
        const char *back = b->p;
        skip_space(b, true); /* a | may begin the next line */
        if (b->failed || b->p == b->end || *b->p != '|') {
            if (!nested)
                b->p = b->failed ? b->end : back;
            break;
        }
        b->p++;
        skip_space(b, true);
        uint32_t next = read_sequence(b, nested);
        a = node_new(b, (struct bnode){ .kind = B_ALT, .a = a, .b = next });
    }
    b->depth--;
    return a;
}

static void read_rules(struct gbnf *b)
{
    for (skip_space(b, true); b->p < b->end; skip_space(b, true)) {
        const char *start = b->p;
        if (!at_rule(b)) {
            fail(b, "has text that is no rule (name ::= ...)");
            return;
        }
        while (name_char(*b->p))
            b->p++;
        uint32_t r = rule_named(b, start, (size_t)(b->p - start));
        skip_space(b, false);
        b->p += 3;
        skip_space(b, true);
        uint32_t body = read_alternatives(b, false);
        if (!b->failed && b->rule[r].body != G_NONE)
            fail(b, "defines a rule twice");
        if (!b->failed)
            b->rule[r].body = body;
    }
}

/* ---- which rules are regular */

/* Visits the rules below node n; sets recursive for those on a cycle that is open now. */
static void find_recursion(struct gbnf *b, uint32_t n, int depth)
{
    const struct bnode *k = &b->node[n];
    if (b->failed || depth > 5000) {
        fail(b, "is nested too deep");
        return;
    }
    if (k->kind == B_REF) {
        struct brule *r = &b->rule[k->a];
        if (r->mark == 1)
            r->recursive = true;
        if (r->mark || r->body == G_NONE)
            return;
        r->mark = 1;
        find_recursion(b, r->body, depth + 1);
        b->rule[k->a].mark = 2;
        return;
    }
    if (k->kind != B_RX)
        find_recursion(b, k->a, depth + 1);
    if (k->kind == B_SEQ || k->kind == B_ALT)
        find_recursion(b, k->b, depth + 1);
}

/* The expression of a node without recursive rules below, or RX_NONE. */
static rx_id regular(struct gbnf *b, uint32_t n)
{
    const struct bnode k = b->node[n];
    rx_id p, q;
    switch (k.kind) {
    case B_RX: return k.rx;
    case B_REF: return b->rule[k.a].rx;
    case B_REPEAT:
        p = regular(b, k.a);
        return p ? rx_repeat(b->x, p, k.min, k.max) : RX_NONE;
    default:
        p = regular(b, k.a);
        q = p ? regular(b, k.b) : RX_NONE;
        return !q ? RX_NONE : k.kind == B_SEQ ? rx_cat(b->x, p, q) : rx_or(b->x, p, q);
    }
}

static void melt(struct gbnf *b)
{
    bool changed = true;
    while (changed && !b->failed) {
        changed = false;
        for (uint32_t i = 0; i < b->rules; i++) {
            struct brule *r = &b->rule[i];
            if (!r->rx && !r->recursive && (r->rx = regular(b, r->body)) != RX_NONE)
                changed = true;
        }
    }
}

static bool nullable(const struct gbnf *b, uint32_t n)
{
    const struct bnode *k = &b->node[n];
    switch (k->kind) {
    case B_RX: return rx_nullable(b->x, k->rx);
    case B_REF: return b->rule[k->a].rx ? rx_nullable(b->x, b->rule[k->a].rx) : b->rule[k->a].nullable;
    case B_REPEAT: return k->min == 0 || nullable(b, k->a);
    case B_SEQ: return nullable(b, k->a) && nullable(b, k->b);
    default: return nullable(b, k->a) || nullable(b, k->b);
    }
}

static bool productive(const struct gbnf *b, uint32_t n)
{
    const struct bnode *k = &b->node[n];
    switch (k->kind) {
    case B_RX: return k->rx != RX_EMPTY;
    case B_REF: return b->rule[k->a].rx ? b->rule[k->a].rx != RX_EMPTY : b->rule[k->a].productive;
    case B_REPEAT: return k->min == 0 || productive(b, k->a);
    case B_SEQ: return productive(b, k->a) && productive(b, k->b);
    default: return productive(b, k->a) || productive(b, k->b);
    }
}

/* Whether node n can begin with a call of `rule` (0 not yet known rules are marked as they are entered). */
static bool begins_with(struct gbnf *b, uint32_t n, uint32_t rule)
{
    const struct bnode k = b->node[n];
    switch (k.kind) {
    case B_RX: return false;
    case B_REF:
        if (b->rule[k.a].rx)
            return false;
        if (k.a == rule)
            return true;
        if (b->rule[k.a].mark == 3)
            return false;
        b->rule[k.a].mark = 3;
        return begins_with(b, b->rule[k.a].body, rule);
    case B_REPEAT: return begins_with(b, k.a, rule);
    case B_SEQ: return begins_with(b, k.a, rule) || (nullable(b, k.a) && begins_with(b, k.b, rule));
    default: return begins_with(b, k.a, rule) || begins_with(b, k.b, rule);
    }
}

static void check(struct gbnf *b)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = 0; i < b->rules; i++) {
            struct brule *r = &b->rule[i];
            if (r->rx)
                continue;
            bool n = nullable(b, r->body), p = productive(b, r->body);
            changed |= n != r->nullable || p != r->productive;
            r->nullable = n;
            r->productive = p;
        }
    }
    for (uint32_t i = 0; i < b->rules && !b->failed; i++) {
        if (b->rule[i].rx)
            continue;
        if (!b->rule[i].productive)
            fail(b, "has a recursive rule that never ends");
        for (uint32_t k = 0; k < b->rules; k++)
            b->rule[k].mark = 2;
        if (!b->failed && begins_with(b, b->rule[i].body, i))
            fail(b, "is left-recursive (a rule begins with itself)");
    }
}

/* ---- writing elements */

static uint32_t emit(struct gbnf *b, struct g_element el)
{
    if (b->elements == b->elements_cap) {
        b->elements_cap = b->elements_cap ? b->elements_cap * 2 : 256;
        b->g->element = mem_grow(b->g->element, b->elements_cap, sizeof *b->g->element);
    }
    if (b->elements > NODES_MAX)
        return fail(b, "is too large");
    b->g->element[b->elements] = el;
    return b->elements++;
}

static uint32_t rule_new(struct gbnf *b)
{
    struct grammar *g = b->g;
    if (g->nrule == b->rules_out_cap) {
        b->rules_out_cap = b->rules_out_cap ? b->rules_out_cap * 2 : 64;
        g->rule = mem_grow(g->rule, b->rules_out_cap, sizeof *g->rule);
    }
    g->rule[g->nrule] = G_NONE;
    return g->nrule++;
}

static void write_rule(struct gbnf *b, uint32_t rule, const uint32_t *nodes, size_t count);

/* The elements of node n, appended to list. Alternatives and repetitions of recursive parts become rules. */
static size_t flatten(struct gbnf *b, uint32_t n, struct g_element *list, size_t at, size_t max)
{
    const struct bnode k = b->node[n];
    rx_id r = regular(b, n);
    bool empty;
    if (b->failed || at + 2 > max)
        return fail(b, "has a sequence that is too long");
    if (r == RX_EPS)
        return at;
    if (r) {
        struct rx_dfa *d = rx_dfa_new(b->x, r, &empty, b->e);
        if (!d)
            return fail(b, empty ? "has a part that matches nothing" : "needs an automaton that is too large");
        list[at] = (struct g_element){ GE_DFA, grammar_add_dfa(b->g, d) };
        return at + 1;
    }
    if (k.kind == B_SEQ)
        return flatten(b, k.b, list, flatten(b, k.a, list, at, max), max);
    if (k.kind == B_REF) {
        list[at] = (struct g_element){ GE_RULE, b->rule[k.a].number };
        return at + 1;
    }
    uint32_t rule = rule_new(b), eps = node_new(b, (struct bnode){ .kind = B_RX, .rx = RX_EPS }), pair[2];
    list[at] = (struct g_element){ GE_RULE, rule };
    if (k.kind == B_ALT) {
        pair[0] = k.a;
        pair[1] = k.b;
        write_rule(b, rule, pair, 2);
        return at + 1;
    }
    if (k.min) { /* x{m,n} is x x{m-1,n-1} */
        uint32_t rest = node_new(b, (struct bnode){ .kind = B_REPEAT, .a = k.a, .min = k.min - 1,
                                                    .max = k.max == UINT32_MAX ? k.max : k.max - 1 });
        pair[0] = node_new(b, (struct bnode){ .kind = B_SEQ, .a = k.a, .b = k.min == 1 && k.max == 1 ? eps : rest });
        write_rule(b, rule, pair, 1);
        return at + 1;
    }
    if (k.max == UINT32_MAX) { /* x* is a rule: x rule | nothing */
        struct g_element body[64];
        size_t len = flatten(b, k.a, body, 0, 60);
        uint32_t head = emit(b, (struct g_element){ GE_ALT, G_NONE });
        for (size_t i = 0; i < len; i++)
            emit(b, body[i]);
        emit(b, (struct g_element){ GE_RULE, rule });
        emit(b, (struct g_element){ GE_END, 0 });
        uint32_t none = emit(b, (struct g_element){ GE_ALT, G_NONE });
        emit(b, (struct g_element){ GE_END, 0 });
        b->g->element[head].to = none;
        b->g->rule[rule] = head;
        return at + 1;
    }
    if (k.max > 200)
        return fail(b, "repeats a recursive part more than 200 times");
    uint32_t rest = node_new(b, (struct bnode){ .kind = B_REPEAT, .a = k.a, .min = 0, .max = k.max - 1 });
    pair[0] = node_new(b, (struct bnode){ .kind = B_SEQ, .a = k.a, .b = k.max == 1 ? eps : rest });
    pair[1] = eps;
    write_rule(b, rule, pair, 2);
    return at + 1;
}

/* The rule's alternatives; ALT nodes at the top are opened. */
static void write_rule(struct gbnf *b, uint32_t rule, const uint32_t *nodes, size_t count)
{
    enum { PARTS_MAX = 400 };
    uint32_t stack[PARTS_MAX], last = G_NONE;
    size_t top = 0;
    if (++b->depth > NEST_MAX * 10) {
        fail(b, "is nested too deep");
        return;
    }
    while (count)
        stack[top++] = nodes[--count];
    while (top && !b->failed) {
        uint32_t n = stack[--top];
        struct g_element list[PARTS_MAX];
        if (b->node[n].kind == B_ALT && !regular(b, n)) {
            if (top + 2 > PARTS_MAX) {
                fail(b, "has too many alternatives in one rule");
                return;
            }
            stack[top++] = b->node[n].b;
            stack[top++] = b->node[n].a;
            continue;
        }
        size_t len = flatten(b, n, list, 0, PARTS_MAX);
        uint32_t head = emit(b, (struct g_element){ GE_ALT, G_NONE });
        for (size_t i = 0; i < len && !b->failed; i++)
            emit(b, list[i]);
        emit(b, (struct g_element){ GE_END, 0 });
        if (last == G_NONE)
            b->g->rule[rule] = head;
        else
            b->g->element[last].to = head;
        last = head;
    }
    b->depth--;
}

static void write_all(struct gbnf *b, uint32_t root)
{
    b->depth = 0;
    for (uint32_t i = 0; i < b->rules; i++)
        if (!b->rule[i].rx)
            b->rule[i].number = rule_new(b);
    for (uint32_t i = 0; i < b->rules && !b->failed; i++)
        if (!b->rule[i].rx)
            write_rule(b, b->rule[i].number, &b->rule[i].body, 1);
    b->g->root = b->rule[root].number;
}

struct grammar *grammar_from_gbnf(const char *p, size_t n, struct err *e)
{
    struct err own;
    struct gbnf b = { .x = rx_new(), .p = p, .end = p + n, .e = e ? e : &own };
    read_rules(&b);
    uint32_t root = rule_named(&b, "root", 4);
    for (uint32_t i = 0; i < b.rules && !b.failed; i++)
        if (b.rule[i].body == G_NONE)
            fail(&b, i == root ? "has no rule named root" : "refers to a rule it does not define");
    for (uint32_t i = 0; i < b.rules && !b.failed; i++)
        if (!b.rule[i].mark) {
            b.rule[i].mark = 1;
            find_recursion(&b, b.rule[i].body, 0);
            b.rule[i].mark = 2;
        }
    if (!b.failed)
        melt(&b);
    if (!b.failed)
        check(&b);
    if (!b.failed && b.rule[root].rx) {
        b.g = grammar_alloc(G_REGULAR);
        bool empty = false;
        struct rx_dfa *d = rx_dfa_new(b.x, b.rule[root].rx, &empty, b.e);
        if (d)
            b.g->root = grammar_add_dfa(b.g, d);
        else if (empty)
            fail(&b, "matches no text at all");
        b.failed |= !d;
    } else if (!b.failed) {
        b.g = grammar_alloc(G_BNF);
        write_all(&b, root);
    }
    if (b.failed) {
        grammar_free(b.g);
        b.g = NULL;
    }
    rx_free(b.x);
    mem_free(b.node);
    mem_free(b.rule);
    return b.g;
}

/* ---- walking: the terminals that may come at an element */

void g_bnf_expand(const struct grammar *g, uint32_t element, struct g_frame *f, struct g_set *out, int depth)
{
    const struct g_element *el = &g->element[element];
    if (depth > EXPAND_DEPTH_MAX || out->work++ > EXPAND_WORK_MAX)
        return;
    if (el->kind == GE_DFA) {
        g_set_push(out, (struct g_cfg){ .f = f, .mode = GM_TERMINAL, .a = el->to, .n = element + 1 });
        if (g->dfa[el->to]->accept[0])
            g_bnf_expand(g, element + 1, f, out, depth + 1);
    } else if (el->kind == GE_RULE) {
        struct g_frame *inner = g_frame_ref(f);
        if (g->element[element + 1].kind != GE_END) { /* nothing to come back to: the caller's frame will do */
            inner = mem_new(1, sizeof *inner); /* the reference just taken becomes its parent's */
            inner->parent = f;
            inner->refs = 1;
            inner->spec = element + 1;
            inner->bnf = true;
        }
        for (uint32_t alt = g->rule[el->to]; alt != G_NONE; alt = g->element[alt].to)
            g_bnf_expand(g, alt + 1, inner, out, depth + 1);
        g_frame_drop(inner);
    } else if (el->kind == GE_VALUE) {
        struct g_frame *back = mem_new(1, sizeof *back); /* where to go on when the value is complete */
        back->parent = g_frame_ref(f);
        back->refs = 1;
        back->spec = element + 1;
        back->bnf = true;
        g_set_push(out, (struct g_cfg){ .f = back, .mode = GM_VALUE, .a = el->to, .space = G_WHITESPACE_MAX });
        g_frame_drop(back);
    } else if (!f) {
        g_set_push(out, (struct g_cfg){ .mode = GM_DONE });
    } else {
        g_bnf_expand(g, f->spec, f->parent, out, depth + 1);
    }
}
