/* yaml -- see yaml.h. libyaml's events are turned into json_t with a stack of open containers.
 *
 * I1  a container on the stack is owned by its parent (or by doc->root), never twice.
 * I2  every value that enters a container leaves a mark (container, key or index) -> line. */
#include "base/yaml.h"

#include "base/assert.h"
#include "base/file.h"
#include "base/mem.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct yaml_mark {
    const json_t *container; /* NULL: free slot */
    uint64_t key;            /* hash of the member's name, index, or OWN_LINE */
    int line;
};
#define OWN_LINE UINT64_MAX

struct frame {
    json_t *container;
    char *key; /* of an object: the key read, its value awaited; owned */
    int key_line;
};

struct build {
    struct yaml_doc *doc;
    struct frame stack[YAML_DEPTH_MAX];
    int depth;
    size_t nodes;
    bool has_root;
    struct err *e;
};

static uint64_t hash_key(const char *key)
{
    uint64_t h = 14695981039346656037u;
    for (; *key; key++)
        h = (h ^ (unsigned char)*key) * 1099511628211u;
    return h == OWN_LINE ? 0 : h;
}

static struct yaml_mark *mark_slot(struct yaml_mark *marks, size_t cap, const json_t *container, uint64_t key)
{
    uint64_t h = ((uint64_t)(uintptr_t)container >> 4) * 0x9E3779B97F4A7C15u ^ key * 0xBF58476D1CE4E5B9u;
    size_t i = (size_t)(h ^ h >> 29) & (cap - 1);
    while (marks[i].container && (marks[i].container != container || marks[i].key != key))
        i = (i + 1) & (cap - 1);
    return &marks[i];
}

static void mark(struct yaml_doc *d, const json_t *container, uint64_t key, int line)
{
    if (2 * (d->marks_count + 1) > d->marks_cap) {
        size_t cap = d->marks_cap ? 2 * d->marks_cap : 64;
        struct yaml_mark *grown = mem_new(cap, sizeof *grown);
        for (size_t i = 0; i < d->marks_cap; i++)
            if (d->marks[i].container)
                *mark_slot(grown, cap, d->marks[i].container, d->marks[i].key) = d->marks[i];
        mem_free(d->marks);
        d->marks = grown;
        d->marks_cap = cap;
    }
    struct yaml_mark *m = mark_slot(d->marks, d->marks_cap, container, key);
    d->marks_count += !m->container;
    *m = (struct yaml_mark){ container, key, line };
}

static int find_line(const struct yaml_doc *d, const json_t *container, uint64_t key)
{
    return d->marks_cap ? mark_slot(d->marks, d->marks_cap, container, key)->line : 0;
}

int yaml_line(const struct yaml_doc *d, const json_t *object, const char *key)
{
    return find_line(d, object, hash_key(key));
}

int yaml_line_at(const struct yaml_doc *d, const json_t *array, size_t index)
{
    return find_line(d, array, index);
}

int yaml_line_of(const struct yaml_doc *d, const json_t *container)
{
    return find_line(d, container, OWN_LINE);
}

enum err_code yaml_err(const struct yaml_doc *d, int line, struct err *e, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return err_set(e, ERR_INVALID, "%s:%d: %s", d->name, line, text);
}

enum err_code yaml_refuse_unknown(const struct yaml_doc *d, const json_t *object, const char *const *known,
                                  struct err *e)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        int k = 0;
        while (known[k] && strcmp(known[k], key))
            k++;
        if (known[k])
            continue;
        char list[240] = "";
        size_t used = 0;
        for (k = 0; known[k] && used < sizeof list - 1; k++)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", k ? ", " : "", known[k]);
        return yaml_err(d, yaml_line(d, object, key), e, "unknown key '%.60s'; the keys here are: %s", key, list);
    }
    return ERR_OK;
}

/* ---- scalars: the core schema */

static bool is_word(const char *s, const char *a, const char *b, const char *c)
{
    return !strcmp(s, a) || !strcmp(s, b) || !strcmp(s, c);
}

/* Does s look like [-+]? ( digits [. digits*] | . digits ) ( [eE] [-+]? digits )? ; *integer: no . and no e. */
static bool is_number(const char *s, bool *integer)
{
    size_t i = s[0] == '-' || s[0] == '+', digits = 0;
    *integer = true;
    for (; isdigit((unsigned char)s[i]); i++)
        digits++;
    if (s[i] == '.') {
        *integer = false;
        for (i++; isdigit((unsigned char)s[i]); i++)
            digits++;
    }
    if (!digits)
        return false;
    if (s[i] == 'e' || s[i] == 'E') {
        *integer = false;
        i++;
        i += s[i] == '-' || s[i] == '+';
        if (!isdigit((unsigned char)s[i]))
            return false;
        while (isdigit((unsigned char)s[i]))
            i++;
    }
    return !s[i];
}

static json_t *number(struct build *b, const char *s, bool integer, int base, int line)
{
    errno = 0;
    if (integer) {
        long long v = strtoll(base == 10 ? s : s + 2, NULL, base);
        if (!errno)
            return json_integer(v);
    } else {
        double v = strtod(s, NULL);
        if (isfinite(v))
            return json_real(v);
    }
    yaml_err(b->doc, line, b->e, "%.40s is too large a number", s);
    return NULL;
}

static bool is_radix(const char *s, char letter, const char *digits)
{
    return s[0] == '0' && s[1] == letter && s[2] && !s[2 + strspn(s + 2, digits)];
}

static json_t *plain(struct build *b, const char *s, int line)
{
    bool integer;
    if (!*s || !strcmp(s, "~") || is_word(s, "null", "Null", "NULL"))
        return json_null();
    if (is_word(s, "true", "True", "TRUE"))
        return json_true();
    if (is_word(s, "false", "False", "FALSE"))
        return json_false();
    if (is_number(s, &integer))
        return number(b, s, integer, 10, line);
    if (is_radix(s, 'x', "0123456789abcdefABCDEF"))
        return number(b, s, true, 16, line);
    if (is_radix(s, 'o', "01234567"))
        return number(b, s, true, 8, line);
    const char *word = s + (s[0] == '-' || s[0] == '+');
    if (is_word(word, ".inf", ".Inf", ".INF") || is_word(s, ".nan", ".NaN", ".NAN")) {
        yaml_err(b->doc, line, b->e, "%s is no number this program can use; write a finite one", s);
        return NULL;
    }
    return json_string(s);
}

static json_t *scalar(struct build *b, const yaml_event_t *ev, int line)
{
    const char *s = (const char *)ev->data.scalar.value;
    size_t n = ev->data.scalar.length;
    bool is_plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    json_t *v = is_plain && !memchr(s, 0, n) ? plain(b, s, line) : json_stringn(s, n);
    if (!v && !(b->e && b->e->code))
        yaml_err(b->doc, line, b->e, "the text is not UTF-8");
    return v;
}

/* ---- containers */

/* Puts v (moved) where it belongs: the root, the array on top, or the object on top under its key. */
static enum err_code place(struct build *b, json_t *v, int line)
{
    struct yaml_doc *d = b->doc;
    if (!b->depth) {
        json_decref(d->root);
        d->root = v;
        b->has_root = true;
        return ERR_OK;
    }
    struct frame *top = &b->stack[b->depth - 1];
    if (json_is_array(top->container)) {
        mark(d, top->container, json_array_size(top->container), line);
        json_array_append_new(top->container, v);
        return ERR_OK;
    }
    mark(d, top->container, hash_key(top->key), line);
    int rc = json_object_set_new(top->container, top->key, v);
    mem_free(top->key);
    top->key = NULL;
    return rc ? yaml_err(d, line, b->e, "the key is not UTF-8") : ERR_OK;
}

static bool awaits_key(const struct build *b)
{
    return b->depth && json_is_object(b->stack[b->depth - 1].container) && !b->stack[b->depth - 1].key;
}

static enum err_code take_key(struct build *b, const yaml_event_t *ev, int line)
{
    struct frame *top = &b->stack[b->depth - 1];
    const char *s = (const char *)ev->data.scalar.value;
    if (memchr(s, 0, ev->data.scalar.length))
        return yaml_err(b->doc, line, b->e, "a key holds a NUL character");
    if (json_object_get(top->container, s))
        return yaml_err(b->doc, line, b->e, "key '%.60s' stands twice in one mapping (first on line %d)", s,
                        yaml_line(b->doc, top->container, s));
    top->key = mem_strdup(s);
    top->key_line = line;
    return ERR_OK;
}

static enum err_code open_container(struct build *b, json_t *v, int line)
{
    if (b->depth == YAML_DEPTH_MAX) {
        json_decref(v);
        return yaml_err(b->doc, line, b->e, "nested deeper than %d levels", YAML_DEPTH_MAX);
    }
    mark(b->doc, v, OWN_LINE, line);
    enum err_code c = place(b, v, line);
    if (!c)
        b->stack[b->depth++] = (struct frame){ .container = v };
    return c;
}

static enum err_code refuse_extras(struct build *b, const yaml_event_t *ev, int line)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (ev->type == YAML_SCALAR_EVENT)
        anchor = ev->data.scalar.anchor, tag = ev->data.scalar.tag;
    else if (ev->type == YAML_SEQUENCE_START_EVENT)
        anchor = ev->data.sequence_start.anchor, tag = ev->data.sequence_start.tag;
    else if (ev->type == YAML_MAPPING_START_EVENT)
        anchor = ev->data.mapping_start.anchor, tag = ev->data.mapping_start.tag;
    if (anchor || ev->type == YAML_ALIAS_EVENT)
        return yaml_err(b->doc, line, b->e, "anchors (&) and aliases (*) are not supported; write the value out");
    if (tag)
        return yaml_err(b->doc, line, b->e, "tags (!) are not supported; leave it out");
    if (ev->type == YAML_DOCUMENT_START_EVENT && b->has_root)
        return yaml_err(b->doc, line, b->e, "a second document starts; keep one per file");
    return ERR_OK;
}

static enum err_code on_event(struct build *b, const yaml_event_t *ev)
{
    int line = (int)ev->start_mark.line + 1;
    enum err_code c = refuse_extras(b, ev, line);
    if (c)
        return c;
    bool value = ev->type == YAML_SCALAR_EVENT || ev->type == YAML_SEQUENCE_START_EVENT ||
                 ev->type == YAML_MAPPING_START_EVENT;
    if (value && ++b->nodes > YAML_NODES_MAX)
        return yaml_err(b->doc, line, b->e, "more than %d values in one file", YAML_NODES_MAX);
    if (value && awaits_key(b)) {
        if (ev->type == YAML_SCALAR_EVENT)
            return take_key(b, ev, line);
        return yaml_err(b->doc, line, b->e, "a key must be a plain word, not a list or a mapping");
    }
    switch (ev->type) {
    case YAML_SCALAR_EVENT: {
        json_t *v = scalar(b, ev, line);
        return v ? place(b, v, line) : ERR_INVALID;
    }
    case YAML_SEQUENCE_START_EVENT:
        return open_container(b, json_array(), line);
    case YAML_MAPPING_START_EVENT:
        return open_container(b, json_object(), line);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        ASSERT(b->depth > 0);
        b->depth--;
        return ERR_OK;
    default:
        return ERR_OK;
    }
}

static enum err_code parse_events(yaml_parser_t *p, struct build *b)
{
    for (;;) { /* bounded: each event consumes input or ends the stream */
        yaml_event_t ev;
        if (!yaml_parser_parse(p, &ev)) {
            size_t line = p->problem_mark.line ? p->problem_mark.line : p->context_mark.line;
            return yaml_err(b->doc, (int)line + 1, b->e, "not valid YAML: %s%s%s",
                            p->problem ? p->problem : "unreadable", p->context ? ", " : "",
                            p->context ? p->context : "");
        }
        bool end = ev.type == YAML_STREAM_END_EVENT;
        enum err_code c = on_event(b, &ev);
        yaml_event_delete(&ev);
        if (c || end)
            return c;
    }
}

enum err_code yaml_parse(const char *text, size_t n, const char *name, struct yaml_doc *out, struct err *e)
{
    struct err local = { 0 };
    *out = (struct yaml_doc){ 0 };
    snprintf(out->name, sizeof out->name, "%s", name);
    if (n > YAML_BYTES_MAX)
        return err_set(e, ERR_LIMIT, "%s: larger than %d bytes", name, YAML_BYTES_MAX);
    struct build *b = MEM_NEW(struct build);
    yaml_parser_t parser;
    b->doc = out;
    b->e = &local;
    out->root = json_null();
    ASSERT(yaml_parser_initialize(&parser));
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
    enum err_code c = parse_events(&parser, b);
    yaml_parser_delete(&parser);
    for (int i = 0; i < YAML_DEPTH_MAX; i++)
        mem_free(b->stack[i].key);
    mem_free(b);
    if (c) {
        err_set(e, local.code, "%s", local.text);
        yaml_doc_release(out);
    }
    return c;
}

enum err_code yaml_parse_file(const char *path, struct yaml_doc *out, struct err *e)
{
    struct buf b = { 0 };
    *out = (struct yaml_doc){ 0 };
    enum err_code c = file_read(path, YAML_BYTES_MAX, &b, e);
    if (!c)
        c = yaml_parse(buf_str(&b), b.len, strcmp(path, "-") ? path : "standard input", out, e);
    buf_release(&b);
    return c;
}

void yaml_doc_release(struct yaml_doc *d)
{
    json_decref(d->root);
    mem_free(d->marks);
    *d = (struct yaml_doc){ 0 };
}
