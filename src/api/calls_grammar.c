/* calls_grammar -- the form of an answer with calls as one grammar: a thought, then text that goes over into calls as
 * soon as a call's marker is written, or must be calls from the start. From the marker on nothing but a well-formed
 * call of an allowed function, with arguments its schema allows, can be written. */
#include "api/tools.h"

#include "api/calls_probe.h"
#include "base/mem.h"
#include "text/grammar_join.h"

#include <string.h>

enum { PROPERTIES_MAX = 256 };

struct maker {
    const struct calls_wish *w;
    const struct calls_form *f;
    struct grammar_join *j;
    struct buf also;      /* control tokens that may stand in the text */
    struct err *e;
    const json_t *tool;   /* whose arguments are made */
    bool failed;
};

/* ---- literal text */

void calls_spell(const struct vocab *v, const char *text, struct buf *out)
{
    while (*text) {
        size_t n = calls_tag_len(text);
        int id = n ? vocab_find(v, text, n) : -1;
        if (id >= 0 && vocab_is_end(v, id))
            return; /* the answer ends here */
        if (id >= 0 && vocab_kind(v, id) == VOCAB_CONTROL) {
            grammar_control(id, out);
            text += n;
        } else {
            buf_putc(out, *text++);
        }
    }
}

static grammar_item spell(struct maker *m, const char *text)
{
    struct buf b = { 0 };
    calls_spell(m->w->vocab, text, &b);
    grammar_item item = grammar_join_text(m->j, buf_str(&b), b.len);
    buf_release(&b);
    return item;
}

/* A pattern of the form: its holes become the tool's name, ids and indexes. */
static grammar_item pattern(struct maker *m, const char *text)
{
    grammar_item part[64];
    size_t n = 0;
    struct buf b = { 0 };
    for (; n < MEM_COUNT(part) - 2; text++) {
        if (*text > CALLS_INDEX) {
            buf_putc(&b, *text);
            continue;
        }
        if (*text < 0) { /* the first byte of more: UTF-8 */
            buf_putc(&b, *text);
            continue;
        }
        if (*text == CALLS_NAME) {
            buf_puts(&b, json_string_value(json_object_get(json_object_get(m->tool, "function"), "name")));
            continue;
        }
        if (b.len)
            part[n++] = spell(m, buf_str(&b));
        buf_clear(&b);
        if (!*text)
            break;
        part[n++] = grammar_join_regex(m->j, *text == CALLS_INDEX ? "[0-9]{1,2}" : "[a-zA-Z0-9]{9}");
    }
    buf_release(&b);
    return grammar_join_seq(m->j, part, n);
}

/* ---- arguments */

static bool is_strict(const struct maker *m)
{
    return json_is_true(json_object_get(json_object_get(m->tool, "function"), "strict"));
}

/* A schema's grammar. What it cannot enforce is refused for a strict tool; for others, any JSON value (or object). */
static struct grammar *schema_grammar(struct maker *m, const json_t *schema, bool object)
{
    struct err e;
    struct grammar *g = grammar_from_schema(schema, &e);
    if (!g && !is_strict(m)) {
        json_t *any = json_object();
        g = object ? grammar_json_object(&e) : grammar_from_schema(any, &e);
        json_decref(any);
    }
    if (!g && !m->failed) {
        *m->e = e;
        m->failed = true;
    }
    return g;
}

/* Objects with what the schema names and, unless it says otherwise, nothing else. */
static json_t *arguments_schema(const json_t *parameters)
{
    json_t *s = json_copy((json_t *)parameters);
    if (!json_object_get(s, "type") && !json_object_get(s, "$ref") && !json_object_get(s, "anyOf"))
        json_object_set_new(s, "type", json_string("object"));
    if (json_object_size(json_object_get(s, "properties")) && !json_object_get(s, "additionalProperties") &&
        !json_object_get(s, "patternProperties") && !json_object_get(s, "allOf") && !json_object_get(s, "anyOf"))
        json_object_set_new(s, "additionalProperties", json_false());
    return s;
}

static grammar_item take(struct maker *m, struct grammar *g)
{
    return g ? grammar_join_grammar(m->j, g) : grammar_join_text(m->j, "", 0);
}

/* One property's schema with the definitions it may refer to. */
static json_t *property_schema(const json_t *parameters, const json_t *p)
{
    static const char *const shared[] = { "$defs", "definitions" };
    json_t *s = json_is_object(p) ? json_copy((json_t *)p) : json_object();
    for (size_t i = 0; i < MEM_COUNT(shared); i++)
        if (json_object_get(parameters, shared[i]) && !json_object_get(s, shared[i]))
            json_object_set(s, shared[i], json_object_get(parameters, shared[i]));
    return s;
}

static bool only_describes(const char *key)
{
    static const char *const words[] = { "type", "description", "title", "default", "examples", "$defs",
                                         "definitions" };
    for (size_t i = 0; i < MEM_COUNT(words); i++)
        if (!strcmp(key, words[i]))
            return true;
    return false;
}

/* Text up to the end of a value: any, one of a list, or what the schema's language says. */
static grammar_item text_value(struct maker *m, const json_t *schema, const char *end)
{
    const json_t *list = json_object_get(schema, "enum"), *one;
    grammar_item pair[2], word[PROPERTIES_MAX];
    size_t i, n = 0;
    const char *key;
    json_t *v;
    bool plain = true;
    if (json_array_size(list) > 0 && json_array_size(list) <= PROPERTIES_MAX) {
        json_array_foreach(list, i, one)
            if (json_is_string(one))
                word[n++] = grammar_join_text(m->j, json_string_value(one), json_string_length(one));
        pair[0] = grammar_join_alt(m->j, word, n);
        pair[1] = spell(m, end);
        return grammar_join_seq(m->j, pair, 2);
    }
    json_object_foreach((json_t *)schema, key, v)
        plain &= only_describes(key);
    struct grammar *g = plain ? NULL : schema_grammar(m, schema, false), *words = NULL;
    if (g && grammar_plain_text(g, &words)) {
        pair[0] = grammar_join_grammar(m->j, words);
        pair[1] = spell(m, end);
    } else if (g && is_strict(m) && !m->failed) {
        m->failed = true;
        err_set(m->e, ERR_UNSUPPORTED, "a text's length cannot be enforced in this model's call format");
    }
    grammar_free(g);
    if (words)
        return grammar_join_seq(m->j, pair, 2);
    struct buf mark = { 0 };
    calls_spell(m->w->vocab, end, &mark);
    grammar_item item = grammar_join_free_text(m->j, &mark, 1, true, NULL, NULL);
    buf_release(&mark);
    return item;
}

static void put_key(const char *text, const char *key, struct buf *out)
{
    for (; *text; text++)
        if (*text == CALLS_KEY)
            buf_puts(out, key);
        else
            buf_putc(out, *text);
}

static grammar_item pair_of(struct maker *m, const json_t *parameters, const char *key, const json_t *schema)
{
    const struct calls_pairs *p = &m->f->pairs;
    json_t *own = property_schema(parameters, schema);
    const char *type = json_string_value(json_object_get(own, "type"));
    const json_t *first = json_array_get(json_object_get(own, "enum"), 0);
    bool text = type ? !strcmp(type, "string") : json_is_string(first);
    struct buf head = { 0 }, end = { 0 };
    buf_puts(&head, p->pre);
    buf_puts(&head, key);
    buf_puts(&head, text ? p->mid_text : p->mid_json);
    put_key(text ? p->end_text : p->end_json, key, &end);
    grammar_item part[3] = { spell(m, buf_str(&head)) };
    size_t n = 2;
    if (text && p->quote && p->quote[0] == '\'' && !first) { /* Python's text: quotes and backslashes are escaped */
        part[1] = grammar_join_regex(m->j, "([^'\\\\\\n]|\\\\[\\\\'\"nrt])*");
        part[n++] = spell(m, buf_str(&end));
    } else if (text) {
        part[1] = text_value(m, own, buf_str(&end));
    } else {
        part[1] = take(m, schema_grammar(m, own, false));
        if (end.len)
            part[n++] = spell(m, buf_str(&end));
    }
    buf_release(&head);
    buf_release(&end);
    json_decref(own);
    return grammar_join_seq(m->j, part, n);
}

static bool is_required(const json_t *parameters, const char *key)
{
    size_t i;
    const json_t *v;
    json_array_foreach(json_object_get(parameters, "required"), i, v)
        if (json_is_string(v) && !strcmp(json_string_value(v), key))
            return true;
    return false;
}

/* The named properties in their order, those that are not required or not. From the last to the first, with and without
 * a separator before: `after` and `start`. */
static grammar_item pairs_item(struct maker *m, const json_t *parameters)
{
    const json_t *properties = json_object_get(parameters, "properties");
    const char *key[PROPERTIES_MAX];
    json_t *schema[PROPERTIES_MAX], *v;
    const char *k;
    size_t n = 0;
    json_object_foreach((json_t *)properties, k, v)
        if (n < PROPERTIES_MAX) {
            key[n] = k;
            schema[n++] = v;
        }
    grammar_item none = grammar_join_seq(m->j, NULL, 0), after = none, start = none;
    bool sep = *m->f->pairs.sep != '\0';
    grammar_item comma = sep ? spell(m, m->f->pairs.sep) : none;
    while (n-- > 0) {
        grammar_item pair = pair_of(m, parameters, key[n], schema[n]);
        grammar_item next[] = { comma, pair, after }, first[] = { pair, after };
        grammar_item go_on = grammar_join_seq(m->j, next, 3), begin = grammar_join_seq(m->j, first, 2);
        if (is_required(parameters, key[n])) {
            after = go_on;
            start = begin;
        } else {
            grammar_item a[] = { go_on, after }, s[] = { begin, start };
            after = grammar_join_alt(m->j, a, 2);
            start = grammar_join_alt(m->j, s, 2);
        }
    }
    return start;
}

static grammar_item arguments_item(struct maker *m)
{
    const json_t *parameters = json_object_get(json_object_get(m->tool, "function"), "parameters");
    if (m->f->shape == CALLS_PAIRS)
        return pairs_item(m, parameters);
    json_t *s = arguments_schema(parameters);
    grammar_item item = take(m, schema_grammar(m, s, true));
    json_decref(s);
    return item;
}

/* ---- calls */

struct call_items {
    grammar_item first, again; /* what opens the first call (past its marker when that was written), and the others */
};

/* The calls of an answer. marked: the marker is there already. */
static grammar_item calls_item(struct maker *m, bool marked, int *tool)
{
    const struct calls_form *f = m->f;
    size_t count = json_array_size(m->w->tools), skip = marked ? strlen(f->marker) : 0;
    grammar_item *first = mem_new(count + 1, sizeof *first), *again = mem_new(count + 1, sizeof *again);
    struct buf open = { 0 }, next = { 0 };
    buf_puts(&open, f->open);
    buf_puts(&open, f->pre);
    buf_puts(&next, f->sep);
    buf_puts(&next, f->pre);
    for (size_t i = 0; i < count && !m->failed; i++) {
        m->tool = json_array_get(m->w->tools, i);
        grammar_item arguments = arguments_item(m), post = pattern(m, f->post);
        grammar_item one[] = { pattern(m, buf_str(&open) + skip), arguments, post };
        grammar_item other[] = { pattern(m, buf_str(&next)), arguments, post };
        first[i] = grammar_join_seq(m->j, one, 3);
        again[i] = grammar_join_seq(m->j, other, 3);
        *tool = m->failed ? (int)i : -1;
    }
    grammar_item part[3] = { grammar_join_alt(m->j, first, m->failed ? 0 : count) };
    size_t n = 1;
    if (m->w->many && f->many)
        part[n++] = grammar_join_star(m->j, grammar_join_alt(m->j, again, m->failed ? 0 : count));
    part[n++] = spell(m, f->close);
    mem_free(first);
    mem_free(again);
    buf_release(&open);
    buf_release(&next);
    return grammar_join_seq(m->j, part, n);
}

/* ---- the whole answer */

/* Control tokens of the tags that may stand round the text. */
static void allow_tags(struct maker *m)
{
    for (int i = 0; i < m->f->skips; i++)
        for (const char *s = m->f->skip[i]; *s; s++) {
            size_t n = calls_tag_len(s);
            int id = n ? vocab_find(m->w->vocab, s, n) : -1;
            if (id >= 0 && vocab_kind(m->w->vocab, id) == VOCAB_CONTROL && !vocab_is_end(m->w->vocab, id))
                grammar_control(id, &m->also);
        }
}

/* What comes before the answer: a thought, when one is open or may be; then white space, and the turn's header again
 * where thoughts are messages of their own. */
static grammar_item lead_item(struct maker *m)
{
    struct buf close = { 0 };
    grammar_item part[4];
    size_t n = 0;
    if (!m->w->thinks && !m->w->in_thought)
        return grammar_join_seq(m->j, NULL, 0);
    calls_spell(m->w->vocab, m->f->think_close, &close);
    if (!m->w->in_thought)
        part[n++] = spell(m, m->f->think_open);
    part[n++] = grammar_join_free_text(m->j, &close, 1, true, NULL, NULL);
    part[n++] = grammar_join_regex(m->j, "[ \\n]{0,4}");
    if (m->f->skips && m->f->glued)
        part[n++] = grammar_join_opt(m->j, spell(m, m->f->skip[0]));
    buf_release(&close);
    grammar_item thought = grammar_join_seq(m->j, part, n);
    return m->w->in_thought ? thought : grammar_join_opt(m->j, thought);
}

/* Text, with or without a call at its end. */
static grammar_item body_item(struct maker *m, int *tool)
{
    struct buf mark = { 0 }, open = { 0 };
    grammar_item way[3];
    size_t n = 0;
    bool calls = m->w->choice != API_CALL_NEVER, listed = json_array_size(m->w->tools) > 0;
    if (listed)
        calls_spell(m->w->vocab, m->f->marker, &mark);
    if (m->w->thinks && !m->w->in_thought)
        calls_spell(m->w->vocab, m->f->think_open, &open);
    if (m->w->content) {
        way[n++] = grammar_join_grammar(m->j, m->w->content);
        if (calls && listed)
            way[n++] = calls_item(m, false, tool);
    } else {
        bool bare = m->f->bare;
        struct buf none = { 0 };
        const struct buf *not_first = bare && listed && !open.len ? &mark : &open;
        way[n++] = grammar_join_free_text(m->j, &mark, listed && !bare, false, &m->also, not_first);
        if (calls && listed && bare) {
            way[n++] = calls_item(m, false, tool);
        } else if (calls && listed) {
            grammar_item part[] = { grammar_join_free_text(m->j, &mark, 1, true, &m->also, &open),
                                    calls_item(m, true, tool) };
            way[n++] = grammar_join_seq(m->j, part, 2);
        }
        buf_release(&none);
    }
    buf_release(&mark);
    buf_release(&open);
    return grammar_join_alt(m->j, way, n);
}

struct grammar *calls_grammar(const struct calls_wish *w, int *tool, struct err *e)
{
    struct maker m = { .w = w, .f = w->form, .j = grammar_join_new(), .e = e };
    *tool = -1;
    allow_tags(&m);
    grammar_item part[2] = { lead_item(&m) };
    if (w->choice == API_CALL_MUST) {
        part[1] = calls_item(&m, false, tool);
        grammar_free(w->content);
    } else {
        part[1] = body_item(&m, tool);
    }
    grammar_item root = grammar_join_seq(m.j, part, 2);
    buf_release(&m.also);
    if (!m.failed)
        return grammar_join_finish(m.j, root, e);
    grammar_join_free(m.j);
    return NULL;
}
