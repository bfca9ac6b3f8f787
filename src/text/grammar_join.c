/* grammar_join -- see grammar_join.h. Items are elements of the rules that gbnf.c also writes; a grammar that is taken
 * in keeps its tables, their numbers moved behind those that are there. */
#include "text/grammar_join.h"

#include "base/assert.h"
#include "base/mem.h"
#include "text/grammar_run.h"

#include <string.h>

enum { ITEMS_MAX = 1 << 20, CONTROL_FIRST = 0xF8 };

struct grammar_join {
    struct grammar *g;
    struct rx *x;
    struct g_element *item; /* [items] */
    uint32_t items, item_cap;
    uint32_t elements, element_cap, rule_cap;
    struct err e;
    bool failed;
};

/* ---- tokens */

void grammar_control(int id, struct buf *out)
{
    char b[GRAMMAR_CONTROL_BYTES];
    b[0] = (char)CONTROL_FIRST;
    for (int i = 0; i < 4; i++)
        b[1 + i] = (char)(0x80 | (id >> (18 - 6 * i) & 63));
    buf_append(out, b, sizeof b);
}

void grammar_token_bytes(const struct vocab *v, int id, struct buf *out)
{
    size_t before = out->len;
    vocab_token_bytes(v, id, false, out);
    if (out->len == before && vocab_kind(v, id) == VOCAB_CONTROL && !vocab_is_end(v, id))
        grammar_control(id, out);
}

/* ---- items */

struct grammar_join *grammar_join_new(void)
{
    struct grammar_join *j = MEM_NEW(struct grammar_join);
    j->g = grammar_alloc(G_BNF);
    j->x = rx_new();
    return j;
}

void grammar_join_free(struct grammar_join *j)
{
    if (!j)
        return;
    grammar_free(j->g);
    rx_free(j->x);
    mem_free(j->item);
    mem_free(j);
}

static grammar_item add(struct grammar_join *j, int kind, uint32_t to)
{
    ASSERT(j->items < ITEMS_MAX);
    if (j->items == j->item_cap) {
        j->item_cap = j->item_cap ? j->item_cap * 2 : 64;
        j->item = mem_grow(j->item, j->item_cap, sizeof *j->item);
    }
    j->item[j->items].kind = kind;
    j->item[j->items].to = to;
    return j->items++;
}

static uint32_t emit(struct grammar_join *j, int kind, uint32_t to)
{
    if (j->elements == j->element_cap) {
        j->element_cap = j->element_cap ? j->element_cap * 2 : 256;
        j->g->element = mem_grow(j->g->element, j->element_cap, sizeof *j->g->element);
    }
    j->g->element[j->elements].kind = kind;
    j->g->element[j->elements].to = to;
    return j->elements++;
}

static uint32_t rule_new(struct grammar_join *j)
{
    struct grammar *g = j->g;
    if (g->nrule == j->rule_cap) {
        j->rule_cap = j->rule_cap ? j->rule_cap * 2 : 64;
        g->rule = mem_grow(g->rule, j->rule_cap, sizeof *g->rule);
    }
    g->rule[g->nrule] = G_NONE;
    return g->nrule++;
}

static grammar_item regular(struct grammar_join *j, rx_id r)
{
    bool empty = false;
    struct rx_dfa *d = rx_failed(j->x) ? NULL : rx_dfa_new(j->x, r, &empty, &j->e);
    if (!d) {
        if (!j->failed && (empty || !j->e.text[0]))
            err_set(&j->e, ERR_UNSUPPORTED, "a part of the form needs an automaton that is empty or too large");
        j->failed = true;
        return add(j, GE_DFA, 0);
    }
    return add(j, GE_DFA, grammar_add_dfa(j->g, d));
}

grammar_item grammar_join_text(struct grammar_join *j, const char *bytes, size_t n)
{
    return regular(j, rx_literal(j->x, bytes, n));
}

grammar_item grammar_join_regex(struct grammar_join *j, const char *pattern)
{
    rx_id r = rx_parse(j->x, pattern, strlen(pattern), true, &j->e);
    j->failed |= r == RX_NONE;
    return regular(j, r);
}

grammar_item grammar_join_free_text(struct grammar_join *j, const struct buf *marks, size_t count, bool to_mark,
                                    const struct buf *also, const struct buf *not_first)
{
    struct rx *x = j->x;
    rx_id any = rx_any_char(x), mark = RX_EMPTY, space = RX_EMPTY, r;
    for (size_t i = 0; also && i + GRAMMAR_CONTROL_BYTES <= also->len; i += GRAMMAR_CONTROL_BYTES)
        any = rx_or(x, any, rx_literal(x, also->data + i, GRAMMAR_CONTROL_BYTES));
    for (size_t i = 0; i < count; i++)
        mark = rx_or(x, mark, rx_literal(x, buf_str(&marks[i]), marks[i].len));
    any = rx_star(x, any);
    r = to_mark ? rx_cat(x, any, mark) : any;
    if (count) { /* no mark, or none but the one at the end */
        rx_id tail = to_mark ? rx_cat(x, rx_byte_range(x, 0, 255), RX_ALL) : (rx_id)RX_ALL;
        r = rx_and(x, r, rx_not(x, rx_cat(x, rx_cat(x, RX_ALL, mark), tail)));
    }
    for (const char *p = " \n\t\r"; *p; p++)
        space = rx_or(x, space, rx_byte_range(x, (unsigned char)*p, (unsigned char)*p));
    if (not_first && not_first->len)
        r = rx_and(x, r, rx_not(x, rx_cat(x, rx_star(x, space),
                                          rx_cat(x, rx_literal(x, not_first->data, not_first->len), RX_ALL))));
    return regular(j, r);
}

/* ---- rules */

/* One more alternative of a rule; the rule's first when last is G_NONE. */
static uint32_t alternative(struct grammar_join *j, uint32_t rule, uint32_t last, const grammar_item *items, size_t n)
{
    uint32_t head = emit(j, GE_ALT, G_NONE);
    for (size_t i = 0; i < n; i++)
        emit(j, (int)j->item[items[i]].kind, j->item[items[i]].to);
    emit(j, GE_END, 0);
    if (last == G_NONE)
        j->g->rule[rule] = head;
    else
        j->g->element[last].to = head;
    return head;
}

grammar_item grammar_join_seq(struct grammar_join *j, const grammar_item *items, size_t n)
{
    uint32_t rule = rule_new(j);
    alternative(j, rule, G_NONE, items, n);
    return add(j, GE_RULE, rule);
}

grammar_item grammar_join_alt(struct grammar_join *j, const grammar_item *items, size_t n)
{
    uint32_t rule = rule_new(j), last = G_NONE;
    for (size_t i = 0; i < n; i++)
        last = alternative(j, rule, last, &items[i], 1);
    return add(j, GE_RULE, rule);
}

grammar_item grammar_join_opt(struct grammar_join *j, grammar_item item)
{
    uint32_t rule = rule_new(j);
    alternative(j, rule, alternative(j, rule, G_NONE, &item, 1), NULL, 0);
    return add(j, GE_RULE, rule);
}

grammar_item grammar_join_star(struct grammar_join *j, grammar_item item)
{
    uint32_t rule = rule_new(j);
    grammar_item again[] = { item, add(j, GE_RULE, rule) };
    alternative(j, rule, alternative(j, rule, G_NONE, again, 2), NULL, 0);
    return again[1];
}

/* ---- taking a grammar in */

struct offsets {
    uint32_t *dfa;
    uint32_t value, array, object;
};

static void move(uint32_t *v, uint32_t by)
{
    if (*v != G_NONE)
        *v += by;
}

static void move_array(struct g_array *a, uint32_t by)
{
    for (uint32_t i = 0; i < a->nprefix; i++) {
        move(&a->prefix[i], by);
        move(&a->hit_prefix[i], by);
        move(&a->miss_prefix[i], by);
    }
    move(&a->rest, by);
    move(&a->hit_rest, by);
    move(&a->miss_rest, by);
}

static void move_object(struct g_object *o, const struct offsets *by)
{
    for (uint32_t i = 0; i < o->names.count; i++)
        move(&o->value[i], by->value);
    for (uint32_t i = 0; i < o->ncls; i++) {
        o->cls[i].dfa = by->dfa[o->cls[i].dfa];
        move(&o->cls[i].value, by->value);
    }
    move(&o->rest, by->value);
}

static void move_value(struct g_value *v, const struct offsets *by)
{
    v->lex = v->lex == G_NONE ? G_NONE : by->dfa[v->lex];
    v->str = v->str == G_NONE ? G_NONE : by->dfa[v->str];
    for (uint32_t i = 0; i < v->narr; i++)
        v->arr[i] += by->array;
    for (uint32_t i = 0; i < v->nobj; i++)
        v->obj[i] += by->object;
}

#define APPEND(g, field, count, from, from_count) \
    do { \
        (g)->field = mem_grow((g)->field, (size_t)(g)->count + (from)->from_count + 1, sizeof *(g)->field); \
        if ((from)->from_count) \
            memcpy((g)->field + (g)->count, (from)->field, (from)->from_count * sizeof *(g)->field); \
        (g)->count += (from)->from_count; \
    } while (0)

static grammar_item take_json(struct grammar_join *j, struct grammar *part, const uint32_t *dfa)
{
    struct grammar *g = j->g;
    struct offsets by = { (uint32_t *)dfa, g->nvalue, g->narray, g->nobject };
    for (uint32_t i = 0; i < part->nvalue; i++)
        move_value(&part->value[i], &by);
    for (uint32_t i = 0; i < part->narray; i++)
        move_array(&part->array[i], by.value);
    for (uint32_t i = 0; i < part->nobject; i++)
        move_object(&part->object[i], &by);
    APPEND(g, value, nvalue, part, nvalue);
    APPEND(g, array, narray, part, narray);
    APPEND(g, object, nobject, part, nobject);
    return add(j, GE_VALUE, by.value + part->root);
}

static grammar_item take_rules(struct grammar_join *j, const struct grammar *part, const uint32_t *dfa)
{
    uint32_t rules = j->g->nrule, at = j->elements, n = 0;
    for (uint32_t i = 0; i < part->nrule; i++) {
        uint32_t rule = rule_new(j); /* it may move the table */
        j->g->rule[rule] = part->rule[i];
        move(&j->g->rule[rule], at);
    }
    /* the table ends with the last END of the last alternative of any rule */
    for (uint32_t i = 0; i < part->nrule; i++)
        for (uint32_t alt = part->rule[i]; alt != G_NONE; alt = part->element[alt].to) {
            uint32_t end = alt + 1;
            while (part->element[end].kind != GE_END)
                end++;
            n = end + 1 > n ? end + 1 : n;
        }
    for (uint32_t i = 0; i < n; i++) {
        struct g_element el = part->element[i];
        if (el.kind == GE_ALT)
            move(&el.to, at);
        else if (el.kind == GE_DFA)
            el.to = dfa[el.to];
        else if (el.kind == GE_RULE)
            el.to += rules;
        emit(j, (int)el.kind, el.to);
    }
    return add(j, GE_RULE, rules + part->root);
}

grammar_item grammar_join_grammar(struct grammar_join *j, struct grammar *part)
{
    uint32_t *dfa = mem_new(part->ndfa + 1, sizeof *dfa);
    grammar_item item;
    for (uint32_t i = 0; i < part->ndfa; i++) {
        dfa[i] = grammar_add_dfa(j->g, part->dfa[i]);
        part->dfa[i] = NULL;
    }
    part->ndfa = 0;
    if (part->kind == G_JSON)
        item = take_json(j, part, dfa);
    else if (part->kind == G_REGULAR)
        item = add(j, GE_DFA, dfa[part->root]);
    else
        item = take_rules(j, part, dfa);
    part->taken = j->g->taken;
    j->g->taken = part; /* its arena holds what the tables point to */
    mem_free(dfa);
    return item;
}

struct grammar *grammar_join_finish(struct grammar_join *j, grammar_item root, struct err *e)
{
    struct grammar *g = j->g;
    grammar_item whole = j->item[root].kind == GE_RULE ? root : grammar_join_seq(j, &root, 1);
    g->root = j->item[whole].to;
    if (j->failed) {
        if (e)
            *e = j->e;
        g = NULL;
    } else {
        j->g = NULL;
    }
    grammar_join_free(j);
    return g;
}

bool grammar_plain_text(const struct grammar *schema, struct grammar **out)
{
    const struct g_value *v = schema->kind == G_JSON ? &schema->value[schema->root] : NULL;
    if (!v || v->lex != G_NONE || v->narr || v->nobj || v->plain || v->str == G_NONE || v->smax != UINT32_MAX)
        return false;
    const struct rx_dfa *d = schema->dfa[v->str];
    *out = grammar_alloc(G_REGULAR);
    (*out)->root = grammar_add_dfa(*out, rx_dfa_copy(d));
    return true;
}
