/* grammar_step -- one configuration, one byte: JSON as the value graph allows it.
 *
 *   VALUE --"{"--> KEY1 --'"'--> INKEY --'"'--> COLON --":"--> VALUE ...
 *     |                            KEY <--","-- AFTER <-- (value complete)
 *     +--"["--> ITEM1 --> VALUE         +--'"'--> STR --'"'--> AFTER
 *     +--digit, t, f, n--> LEX --(any other byte)--> AFTER
 */
#include "text/grammar_run.h"

#include "base/mem.h"

#include <string.h>

static bool sat(const struct grammar *g, uint32_t v)
{
    return v != G_NONE && g->value[v].sat;
}

static void value_done(const struct grammar *g, struct g_frame *f, struct g_set *out)
{
    if (f && f->bnf) /* a value within a rule */
        g_bnf_expand(g, f->spec, f->parent, out, 0);
    else
        g_set_push(out, (struct g_cfg){ .f = f, .mode = GM_AFTER });
}

/* A number or word has come to state s. Within a rule nothing tells that it is over: both readings go on. */
static void lex_at(const struct grammar *g, struct g_cfg c, uint32_t s, struct g_set *out)
{
    c.mode = GM_LEX;
    c.b = s;
    if (c.f && c.f->bnf && g->dfa[c.a]->accept[s])
        value_done(g, c.f, out);
    g_set_push(out, c);
}

/* ---- frames */

static struct g_frame *frame_new(struct g_frame *parent, bool object, uint32_t spec, uint32_t names)
{
    uint32_t words = (names + 63) / 64;
    struct g_frame *f = mem_new(1, sizeof *f + words * sizeof *f->word);
    f->parent = g_frame_ref(parent);
    f->refs = 1;
    f->spec = spec;
    f->object = object;
    f->nseen = words;
    return f;
}

/* A copy of f with one member more; the name is marked, or the key's hash kept. */
static struct g_frame *frame_with(const struct g_frame *f, uint32_t name, uint32_t hits, const uint64_t *key)
{
    uint32_t keys = f->nkeys + (key != NULL);
    struct g_frame *n = mem_new(1, sizeof *n + (f->nseen + keys) * sizeof *n->word);
    memcpy(n, f, sizeof *n + (f->nseen + f->nkeys) * sizeof *n->word);
    g_frame_ref(n->parent);
    n->refs = 1;
    n->count++;
    n->hits = hits;
    n->nkeys = keys;
    if (name != G_NONE)
        n->word[name / 64] |= (uint64_t)1 << name % 64;
    if (key)
        n->word[f->nseen + f->nkeys] = *key;
    return n;
}

static bool seen(const struct g_frame *f, uint32_t name)
{
    return f->word[name / 64] >> name % 64 & 1;
}

/* ---- objects: which keys may come */

enum { PENDING_WORDS_MAX = 320 }; /* names of an object: 20,000 */

/* Names that must still come (with candidate chosen, if not G_NONE), or UINT32_MAX when one of them cannot. */
static uint32_t pending(const struct grammar *g, const struct g_object *o, const struct g_frame *f, uint32_t candidate)
{
    uint64_t want[PENDING_WORDS_MAX];
    uint32_t count = 0;
    bool changed = true;
    memset(want, 0, (size_t)f->nseen * sizeof *want);
    for (uint32_t i = 0; i < o->names.count; i++)
        if (o->required[i])
            want[i / 64] |= (uint64_t)1 << i % 64;
    while (changed) {
        changed = false;
        for (uint32_t i = 0; i < o->names.count; i++) {
            bool here = seen(f, i) || i == candidate || (want[i / 64] >> i % 64 & 1);
            for (uint32_t k = 0; here && o->needs[i] && k < o->needs[i][0]; k++) {
                uint32_t t = o->needs[i][k + 1];
                changed |= !(want[t / 64] >> t % 64 & 1);
                want[t / 64] |= (uint64_t)1 << t % 64;
            }
        }
    }
    for (uint32_t i = 0; i < o->names.count; i++)
        if ((want[i / 64] >> i % 64 & 1) && !seen(f, i) && i != candidate) {
            if (!sat(g, o->value[i]))
                return UINT32_MAX;
            count++;
        }
    return count;
}

static uint32_t bits_of(uint32_t v)
{
    return (uint32_t)__builtin_popcount(v);
}

/* One key more (which is `hit`), with room for those that must still come. */
static bool fits(const struct g_object *o, const struct g_frame *f, uint32_t still, uint8_t hit)
{
    return still != UINT32_MAX && (uint64_t)f->count + 1 + still + bits_of(o->want & ~(f->hits | hit)) <= o->max;
}

static bool name_free(const struct grammar *g, const struct g_object *o, const struct g_frame *f, uint32_t i)
{
    return !seen(f, i) && sat(g, o->value[i]) && (o->simple || fits(o, f, pending(g, o, f, i), o->hit[i]));
}

static bool names_free(const struct grammar *g, const struct g_object *o, const struct g_frame *f, uint32_t node)
{
    for (uint32_t i = o->names.node[node].lo; i < o->names.node[node].hi; i++)
        if (name_free(g, o, f, i))
            return true;
    return false;
}

static bool other_free(const struct grammar *g, const struct g_object *o, const struct g_frame *f, uint32_t value,
                       uint8_t hit)
{
    return sat(g, value) && (o->simple || fits(o, f, pending(g, o, f, G_NONE), hit));
}

static bool rest_free(const struct grammar *g, const struct g_object *o, const struct g_frame *f)
{
    return other_free(g, o, f, o->rest, o->rest_hit);
}

static bool class_free(const struct grammar *g, const struct g_object *o, const struct g_frame *f, uint32_t i)
{
    return other_free(g, o, f, o->cls[i].value, o->cls[i].hit);
}

static bool any_key(const struct grammar *g, const struct g_object *o, const struct g_frame *f)
{
    if (rest_free(g, o, f) || (o->names.count && names_free(g, o, f, 0)))
        return true;
    for (uint32_t i = 0; i < o->ncls; i++)
        if (class_free(g, o, f, i))
            return true;
    return false;
}

static bool may_close_object(const struct grammar *g, const struct g_frame *f)
{
    const struct g_object *o = &g->object[f->spec];
    return f->count >= o->min && (f->hits & o->want) == o->want && pending(g, o, f, G_NONE) == 0;
}

static void start_key(const struct grammar *g, const struct g_cfg *c, struct g_set *out)
{
    const struct g_object *o = &g->object[c->f->spec];
    struct g_cfg k = { .f = c->f, .mode = GM_INKEY, .n = G_NONE, .hash = 1469598103934665603u };
    if (rest_free(g, o, c->f) || (o->names.count && names_free(g, o, c->f, 0)))
        g_set_push(out, k);
    for (uint32_t i = 0; i < o->ncls; i++)
        if (class_free(g, o, c->f, i)) {
            k.n = i;
            k.a = G_NONE;
            g_set_push(out, k);
        }
}

static void end_key(const struct grammar *g, const struct g_cfg *c, struct g_set *out)
{
    const struct g_object *o = &g->object[c->f->spec];
    uint32_t value = G_NONE, name = G_NONE;
    uint8_t hit = c->n != G_NONE ? o->cls[c->n].hit : o->rest_hit;
    if (c->n != G_NONE) {
        value = g->dfa[o->cls[c->n].dfa]->accept[c->b] ? o->cls[c->n].value : G_NONE;
    } else if (g->dfa[0]->accept[c->b]) {
        name = c->a != G_NONE && o->names.count ? o->names.node[c->a].terminal : G_NONE;
        if (name != G_NONE)
            value = name_free(g, o, c->f, name) ? o->value[name] : G_NONE;
        else if (rest_free(g, o, c->f))
            value = o->rest;
    }
    if (value == G_NONE)
        return;
    for (uint32_t i = 0; name == G_NONE && o->distinct && i < c->f->nkeys; i++)
        if (c->f->word[c->f->nseen + i] == c->hash)
            return;
    hit = name != G_NONE ? o->hit[name] : hit;
    struct g_frame *f = frame_with(c->f, name, c->f->hits | hit, name == G_NONE && o->distinct ? &c->hash : NULL);
    g_set_push(out, (struct g_cfg){ .f = f, .mode = GM_COLON, .a = value });
    g_frame_drop(f);
}

/* ---- arrays */

static uint32_t at(const uint32_t *prefix, uint32_t nprefix, uint32_t rest, uint32_t i)
{
    return i < nprefix ? prefix[i] : rest;
}

/* Whether enough items that satisfy contains can still come from item i on. */
static bool hits_left(const struct grammar *g, const struct g_array *a, uint32_t i, uint32_t want)
{
    uint32_t can = 0;
    for (; i < a->nprefix && (a->max == G_NONE || i < a->max) && can < want; i++)
        can += sat(g, a->hit_prefix[i]);
    if (can >= want || !sat(g, a->hit_rest))
        return can >= want;
    return a->max == G_NONE || (a->max > i && a->max - i >= want - can);
}

static bool misses_left(const struct grammar *g, const struct g_array *a, uint32_t count, uint32_t hits)
{
    return count >= a->min || a->cmax == G_NONE || a->min - count <= a->cmax - hits || sat(g, a->miss_rest);
}

static bool may_close_array(const struct grammar *g, const struct g_frame *f)
{
    const struct g_array *a = &g->array[f->spec];
    return f->count >= a->min && (!a->contains || f->hits >= a->cmin);
}

static void start_value(const struct grammar *g, const struct g_cfg *c, unsigned byte, struct g_set *out);

/* The next item begins with byte; each reading of it (for contains, or not) a configuration. */
static void start_item(const struct grammar *g, struct g_frame *f, unsigned byte, struct g_set *out)
{
    const struct g_array *a = &g->array[f->spec];
    uint32_t i = f->count;
    if (a->max != G_NONE && i >= a->max)
        return;
    if (a->unique) {
        if (byte == '"')
            g_set_push(out, (struct g_cfg){ .f = f, .mode = GM_LITERAL });
        return;
    }
    uint32_t miss = at(a->miss_prefix, a->nprefix, a->miss_rest, i), hit = at(a->hit_prefix, a->nprefix,
            a->hit_rest, i);
    bool can_miss = sat(g, miss) && (!a->contains || f->hits >= a->cmin || hits_left(g, a, i + 1, a->cmin - f->hits));
    if (can_miss && a->contains)
        can_miss = misses_left(g, a, i + 1, f->hits);
    bool can_hit = a->contains && sat(g, hit) && (a->cmax == G_NONE || f->hits < a->cmax) &&
                   (f->hits + 1 >= a->cmin || hits_left(g, a, i + 1, a->cmin - f->hits - 1)) &&
                   misses_left(g, a, i + 1, f->hits + 1);
    for (int k = 0; k < 2; k++) {
        if (k ? !can_hit : !can_miss)
            continue;
        struct g_cfg v = { .f = frame_with(f, G_NONE, f->hits + (uint32_t)k, NULL), .mode = GM_VALUE,
                           .a = k ? hit : miss };
        start_value(g, &v, byte, out);
        g_frame_drop(v.f);
    }
}

/* Whether an item may follow a comma: some byte begins one. Cheap enough: '[' , '{', '"', digits, letters. */
static bool any_item(const struct grammar *g, struct g_frame *f)
{
    struct g_set probe = { 0 };
    static const char first[] = "\"{[-0123456789tfn";
    bool yes = false;
    const struct g_array *a = &g->array[f->spec];
    if (!a->contains && !a->unique)
        return (a->max == G_NONE || f->count < a->max) && sat(g, at(a->prefix, a->nprefix, a->rest, f->count));
    for (const char *p = first; *p && !yes; p++) {
        start_item(g, f, (unsigned char)*p, &probe);
        yes = probe.n > 0;
    }
    g_set_release(&probe);
    return yes;
}

static void step_literal(const struct grammar *g, const struct g_cfg *c, unsigned byte, struct g_set *out)
{
    const struct g_names *names = g->array[c->f->spec].unique;
    struct g_cfg n = *c;
    if (byte == '"' && !c->esc) {
        uint32_t t = names->node[c->a].terminal;
        if (t == G_NONE || seen(c->f, t))
            return;
        struct g_frame *f = frame_with(c->f, t, 0, NULL);
        value_done(g, f, out);
        g_frame_drop(f);
        return;
    }
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *e = byte ? strchr(from, (int)byte) : NULL;
    if (!c->esc && byte == '\\') {
        n.esc = 1;
        bool ok = false;
        for (size_t i = 0; i < sizeof to - 1; i++)
            ok |= g_names_child(names, c->a, (unsigned char)to[i]) != G_NONE;
        if (ok)
            g_set_push(out, n);
        return;
    }
    if (c->esc ? !e : byte < 0x20)
        return;
    n.a = g_names_child(names, c->a, c->esc ? (unsigned char)to[e - from] : byte);
    n.esc = 0;
    for (uint32_t i = n.a != G_NONE ? names->node[n.a].lo : 1, hi = n.a != G_NONE ? names->node[n.a].hi
            : 0; i < hi; i++)
        if (!seen(c->f, i)) {
            g_set_push(out, n);
            return;
        }
}

/* ---- values */

static void push_frame(const struct grammar *g, struct g_frame *parent, bool object, uint32_t spec, struct g_set *out)
{
    uint32_t names = object ? g->object[spec].names.count : g->array[spec].unique ? g->array[spec].unique->count : 0;
    struct g_frame *f = frame_new(parent, object, spec, names);
    g_set_push(out, (struct g_cfg){ .f = f, .mode = object ? GM_KEY1 : GM_ITEM1 });
    g_frame_drop(f);
}

static void start_value(const struct grammar *g, const struct g_cfg *c, unsigned byte, struct g_set *out)
{
    const struct g_value *v = &g->value[c->a];
    if (byte == '{') {
        for (uint32_t i = 0; i < v->nobj; i++)
            push_frame(g, c->f, true, v->obj[i], out);
    } else if (byte == '[') {
        for (uint32_t i = 0; i < v->narr; i++)
            push_frame(g, c->f, false, v->arr[i], out);
    } else if (byte == '"') {
        if (v->plain || v->str != G_NONE)
            g_set_push(out, (struct g_cfg){ .f = c->f, .mode = GM_STR, .a = c->a });
    } else if (v->lex != G_NONE) {
        uint32_t s = rx_dfa_step(g->dfa[v->lex], 0, byte);
        if (s != RX_DEAD)
            lex_at(g, (struct g_cfg){ .f = c->f, .a = v->lex }, s, out);
    }
}

static void after_value(const struct grammar *g, const struct g_cfg *c, unsigned byte, struct g_set *out)
{
    struct g_frame *f = c->f;
    if (!f)
        return;
    if (f->object) {
        if (byte == '}' && may_close_object(g, f))
            value_done(g, f->parent, out);
        if (byte == ',' && any_key(g, &g->object[f->spec], f))
            g_set_push(out, (struct g_cfg){ .f = f, .mode = GM_KEY });
    } else {
        if (byte == ']' && may_close_array(g, f))
            value_done(g, f->parent, out);
        if (byte == ',' && any_item(g, f))
            g_set_push(out, (struct g_cfg){ .f = f, .mode = GM_VALUE, .a = G_NONE });
    }
}

/* ---- text inside quotes: the decoded bytes go through a DFA or the names' tree */

/* Moves c by one decoded byte; false when that is a dead end. */
static bool feed(const struct grammar *g, struct g_cfg *c, unsigned byte)
{
    if (c->mode == GM_STR) {
        const struct g_value *v = &g->value[c->a];
        c->b = rx_dfa_step(g->dfa[v->plain ? 0 : v->str], c->b, byte);
        c->hash = (c->hash ^ byte) * 0x100000001B3u;
        c->n += v->smax != UINT32_MAX || v->smin ? (byte & 0xC0) != 0x80 : 0;
        if (c->b == RX_DEAD || (v->plain && c->n > v->smax))
            return false;
        return v->plain || v->smax == UINT32_MAX || c->n + g->dfa[v->str]->dist[c->b] <= v->smax;
    }
    const struct g_object *o = &g->object[c->f->spec];
    c->hash = (c->hash ^ byte) * 0x100000001B3u;
    if (c->n != G_NONE) {
        c->b = rx_dfa_step(g->dfa[o->cls[c->n].dfa], c->b, byte);
        return c->b != RX_DEAD;
    }
    c->b = rx_dfa_step(g->dfa[0], c->b, byte);
    c->a = c->a == G_NONE || !o->names.count ? G_NONE : g_names_child(&o->names, c->a, byte);
    return c->b != RX_DEAD &&
           (rest_free(g, o, c->f) || (c->a != G_NONE && names_free(g, o, c->f, c->a)));
}

static bool feed_code(const struct grammar *g, struct g_cfg *c, uint32_t cp)
{
    uint8_t b[4];
    int n = 0;
    if (cp < 0x80) {
        b[n++] = (uint8_t)cp;
    } else if (cp < 0x800) {
        b[n++] = (uint8_t)(0xC0 | cp >> 6);
        b[n++] = (uint8_t)(0x80 | (cp & 63));
    } else if (cp < 0x10000) {
        b[n++] = (uint8_t)(0xE0 | cp >> 12);
        b[n++] = (uint8_t)(0x80 | (cp >> 6 & 63));
        b[n++] = (uint8_t)(0x80 | (cp & 63));
    } else {
        b[n++] = (uint8_t)(0xF0 | cp >> 18);
        b[n++] = (uint8_t)(0x80 | (cp >> 12 & 63));
        b[n++] = (uint8_t)(0x80 | (cp >> 6 & 63));
        b[n++] = (uint8_t)(0x80 | (cp & 63));
    }
    for (int i = 0; i < n; i++)
        if (!feed(g, c, b[i]))
            return false;
    return true;
}

/* Whether any text goes: then every \u escape does. Otherwise only those of control characters are looked at. */
static bool unconstrained(const struct grammar *g, const struct g_cfg *c)
{
    if (c->mode == GM_STR)
        return g->value[c->a].plain && g->value[c->a].smax == UINT32_MAX;
    const struct g_object *o = &g->object[c->f->spec];
    return c->n == G_NONE && sat(g, o->rest) && !o->names.count;
}

enum { ESC_BACKSLASH = 1, ESC_U0, ESC_U1, ESC_U2, ESC_U3, ESC_PAIR_BACKSLASH, ESC_PAIR_U, ESC_LOW0, ESC_LOW1,
        ESC_LOW2, ESC_LOW3 };

/* Whether a control character's code can still be completed from `digits` hex digits worth `code`. */
static bool control_possible(const struct grammar *g, const struct g_cfg *c, uint32_t code, int digits)
{
    for (uint32_t cp = 0; cp < 0x20; cp++) {
        struct g_cfg probe = *c;
        if (cp >> (4 * (4 - digits)) == code && feed(g, &probe, cp))
            return true;
    }
    return false;
}

static bool step_hex(const struct grammar *g, struct g_cfg *c, unsigned byte)
{
    uint32_t d = byte >= '0' && byte <= '9' ? byte - '0' : (byte | 32) >= 'a' && (byte | 32) <= 'f' ?
            (byte | 32) - 'a' + 10 : 99;
    if (d == 99)
        return false;
    bool low = c->esc >= ESC_LOW0;
    int digits = c->esc - (low ? ESC_LOW0 : ESC_U0) + 1;
    uint32_t code = (digits == 1 ? 0 : c->code & 0xFFFF) << 4 | d, high = c->code >> 16;
    if (!unconstrained(g, c)) {
        if (!control_possible(g, c, code, digits))
            return false;
    } else if (low && ((digits == 1 && code != 0xD) || (digits == 2 && code < 0xDC))) {
        return false;
    } else if (!low && digits == 2 && code >= 0xDC && code <= 0xDF) {
        return false; /* a low surrogate alone */
    }
    c->code = (low ? high << 16 : 0) | code;
    if (digits < 4) {
        c->esc++;
        return true;
    }
    if (!low && code >= 0xD800 && code < 0xDC00) {
        c->code = code << 16;
        c->esc = ESC_PAIR_BACKSLASH;
        return true;
    }
    c->esc = 0;
    c->code = 0;
    return feed_code(g, c, low ? 0x10000 + ((high - 0xD800) << 10) + (code - 0xDC00) : code);
}

static bool escape_possible(const struct grammar *g, const struct g_cfg *c)
{
    for (const char *p = "\"\\/\b\f\n\r\t"; *p; p++) {
        struct g_cfg probe = *c;
        if (feed(g, &probe, (unsigned char)*p))
            return true;
    }
    return control_possible(g, c, 0, 1);
}

static bool step_escape(const struct grammar *g, struct g_cfg *c, unsigned byte)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (c->esc >= ESC_LOW0 || (c->esc >= ESC_U0 && c->esc <= ESC_U3))
        return step_hex(g, c, byte);
    if (c->esc == ESC_PAIR_BACKSLASH || c->esc == ESC_PAIR_U) {
        bool ok = byte == (c->esc == ESC_PAIR_U ? 'u' : '\\');
        c->esc++;
        return ok;
    }
    const char *e = byte ? strchr(from, (int)byte) : NULL;
    c->esc = byte == 'u' ? ESC_U0 : 0;
    if (byte == 'u')
        return unconstrained(g, c) || control_possible(g, c, 0, 1);
    return e && feed(g, c, (unsigned char)to[e - from]);
}

/* The closing quote. In a list of distinct strings the text must be new; it is kept with the list. */
static void end_string(const struct grammar *g, const struct g_cfg *c, struct g_set *out)
{
    if (!c->f || c->f->object || c->f->bnf || !g->array[c->f->spec].distinct) {
        value_done(g, c->f, out);
        return;
    }
    for (uint32_t i = 0; i < c->f->nkeys; i++)
        if (c->f->word[c->f->nseen + i] == c->hash)
            return;
    struct g_frame *f = frame_with(c->f, G_NONE, c->f->hits, &c->hash);
    f->count--; /* counted when it began */
    value_done(g, f, out);
    g_frame_drop(f);
}

static void step_text(const struct grammar *g, const struct g_cfg *c, unsigned byte, struct g_set *out)
{
    struct g_cfg n = *c;
    if (c->esc) {
        if (step_escape(g, &n, byte))
            g_set_push(out, n);
    } else if (byte == '"') {
        if (c->mode == GM_INKEY) {
            end_key(g, c, out);
        } else {
            const struct g_value *v = &g->value[c->a];
            bool whole = g->dfa[v->plain ? 0 : v->str]->accept[c->b];
            if (whole && (!v->plain || c->n >= v->smin))
                end_string(g, c, out);
        }
    } else if (byte == '\\') {
        bool boundary = c->mode == GM_STR ? !g->value[c->a].plain || g->dfa[0]->accept[c->b] : true;
        n.esc = ESC_BACKSLASH;
        if (boundary && escape_possible(g, c))
            g_set_push(out, n);
    } else if (byte >= 0x20 && feed(g, &n, byte)) {
        g_set_push(out, n);
    }
}

/* ---- one byte */

static bool is_space(unsigned byte)
{
    return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
}

static void step_lex(const struct grammar *g, const struct g_cfg *c, unsigned byte, struct g_set *out)
{
    const struct rx_dfa *d = g->dfa[c->a];
    uint32_t s = rx_dfa_step(d, c->b, byte);
    if (s != RX_DEAD) {
        lex_at(g, *c, s, out);
    } else if (g->kind != G_REGULAR && d->accept[c->b] && !(c->f && c->f->bnf)) {
        struct g_cfg after = { .f = c->f, .mode = GM_AFTER };
        g_step(g, &after, byte, out);
    }
}

static void step_terminal(const struct grammar *g, const struct g_cfg *c, unsigned byte, struct g_set *out)
{
    const struct rx_dfa *d = g->dfa[c->a];
    uint32_t s = rx_dfa_step(d, c->b, byte);
    if (s == RX_DEAD)
        return;
    struct g_cfg n = *c;
    n.b = s;
    bool more = false;
    for (uint32_t k = 0; k < d->classes && !more; k++)
        more = d->next[(size_t)s * d->classes + k] != RX_DEAD;
    if (more)
        g_set_push(out, n);
    if (d->accept[s])
        g_bnf_expand(g, c->n, c->f, out, 0);
}

void g_step(const struct grammar *g, const struct g_cfg *c, unsigned byte, struct g_set *out)
{
    bool between = c->mode == GM_VALUE || c->mode == GM_ITEM1 || c->mode == GM_KEY1 || c->mode == GM_KEY ||
                   c->mode == GM_COLON || c->mode == GM_AFTER;
    if (between && is_space(byte)) {
        struct g_cfg n = *c;
        if (n.space++ < G_WHITESPACE_MAX)
            g_set_push(out, n);
        return;
    }
    switch ((enum g_mode)c->mode) {
    case GM_VALUE:
        if (c->a == G_NONE)
            start_item(g, c->f, byte, out);
        else
            start_value(g, c, byte, out);
        break;
    case GM_ITEM1:
        if (byte == ']' && may_close_array(g, c->f))
            value_done(g, c->f->parent, out);
        else
            start_item(g, c->f, byte, out);
        break;
    case GM_KEY1: case GM_KEY:
        if (byte == '"')
            start_key(g, c, out);
        else if (byte == '}' && c->mode == GM_KEY1 && may_close_object(g, c->f))
            value_done(g, c->f->parent, out);
        break;
    case GM_COLON:
        if (byte == ':')
            g_set_push(out, (struct g_cfg){ .f = c->f, .mode = GM_VALUE, .a = c->a });
        break;
    case GM_LEX: step_lex(g, c, byte, out); break;
    case GM_STR: case GM_INKEY: step_text(g, c, byte, out); break;
    case GM_LITERAL: step_literal(g, c, byte, out); break;
    case GM_AFTER: after_value(g, c, byte, out); break;
    case GM_TERMINAL: step_terminal(g, c, byte, out); break;
    case GM_DONE: break;
    }
}

bool g_cfg_can_end(const struct grammar *g, const struct g_cfg *c)
{
    if (c->mode == GM_LEX)
        return !c->f && g->dfa[c->a]->accept[c->b];
    return (c->mode == GM_AFTER || c->mode == GM_DONE) && !c->f;
}
