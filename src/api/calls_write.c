/* calls_write -- past calls as the model would have written them, for templates that leave them out; the instructions
 * for templates that show no tools; and values that are no JSON: Python's and Gemma's literals. */
#include "api/calls_probe.h"

#include "base/mem.h"

#include <string.h>

enum { LITERAL_DEPTH_MAX = 64 };

/* ---- reading literals */

struct lit {
    const char *p, *end, *quote;
    size_t q;
    int depth;
};

static void spaces(struct lit *l)
{
    while (l->p < l->end && (*l->p == ' ' || *l->p == '\n' || *l->p == '\t' || *l->p == '\r'))
        l->p++;
}

static bool starts(const struct lit *l, const char *s, size_t n)
{
    return (size_t)(l->end - l->p) >= n && !memcmp(l->p, s, n);
}

/* 'text' or "text" with backslashes, or the form's own quotes round bare text. NULL: unfinished. */
static json_t *read_text(struct lit *l)
{
    struct buf b = { 0 };
    bool own = l->q > 1 && starts(l, l->quote, l->q);
    char quote = own ? 0 : *l->p;
    l->p += own ? l->q : 1;
    while (l->p < l->end && (own ? !starts(l, l->quote, l->q) : *l->p != quote)) {
        if (!own && *l->p == '\\' && l->p + 1 < l->end) {
            static const char from[] = "nrtbf", to[] = "\n\r\t\b\f";
            const char *e = strchr(from, *++l->p);
            if (*l->p == 'u' && l->end - l->p > 4) { /* a code of four digits: JSON's reader knows how */
                char json[16];
                snprintf(json, sizeof json, "\"\\u%.4s\"", l->p + 1);
                json_t *v = jsonx_parse(json, strlen(json), NULL);
                buf_append(&b, json_string_value(v) ? json_string_value(v) : "", json_string_length(v));
                json_decref(v);
                l->p += 5;
                continue;
            }
            buf_putc(&b, e && *e ? to[e - from] : *l->p);
            l->p++;
            continue;
        }
        buf_putc(&b, *l->p++);
    }
    bool ok = l->p < l->end;
    l->p += ok ? own ? l->q : 1 : 0;
    json_t *v = ok ? json_stringn(buf_str(&b), b.len) : NULL;
    buf_release(&b);
    return v;
}

static bool at_text(const struct lit *l)
{
    return l->p < l->end && ((l->q > 1 && starts(l, l->quote, l->q)) || *l->p == '\'' || *l->p == '"');
}

static json_t *read_word(struct lit *l)
{
    static const struct {
        const char *word;
        int value; /* 0, 1, 2: null */
    } words[] = { { "true", 1 }, { "True", 1 }, { "false", 0 }, { "False", 0 }, { "null", 2 }, { "None", 2 } };
    for (size_t i = 0; i < MEM_COUNT(words); i++)
        if (starts(l, words[i].word, strlen(words[i].word))) {
            l->p += strlen(words[i].word);
            return words[i].value == 2 ? json_null() : json_boolean(words[i].value);
        }
    size_t n = 0;
    while (l->p + n < l->end && strchr("+-.0123456789eE", l->p[n]))
        n++;
    json_t *v = n ? jsonx_parse(l->p, n, NULL) : NULL;
    l->p += n;
    return v;
}

static json_t *read_any(struct lit *l);

static json_t *read_list(struct lit *l)
{
    json_t *list = json_array();
    l->p++;
    for (spaces(l); l->p < l->end && *l->p != ']'; spaces(l)) {
        json_t *v = read_any(l);
        if (!v) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, v);
        spaces(l);
        l->p += l->p < l->end && *l->p == ',';
    }
    l->p++;
    return list;
}

static json_t *read_map(struct lit *l)
{
    json_t *map = json_object();
    l->p++;
    for (spaces(l); l->p < l->end && *l->p != '}'; spaces(l)) {
        json_t *key = at_text(l) ? read_text(l) : NULL, *v = NULL;
        size_t n = 0;
        if (!key) {
            while (l->p + n < l->end && l->p[n] != ':')
                n++;
            key = json_stringn(l->p, n);
            l->p += n;
        }
        spaces(l);
        if (l->p < l->end && *l->p == ':') {
            l->p++;
            v = read_any(l);
        }
        if (!v || !key || json_object_setn_new(map, json_string_value(key), json_string_length(key), v)) {
            json_decref(key);
            json_decref(map);
            return NULL;
        }
        json_decref(key);
        spaces(l);
        l->p += l->p < l->end && *l->p == ',';
    }
    l->p++;
    return map;
}

static json_t *read_any(struct lit *l)
{
    json_t *v = NULL;
    spaces(l);
    if (l->p >= l->end || ++l->depth > LITERAL_DEPTH_MAX)
        return NULL;
    if (at_text(l))
        v = read_text(l);
    else
        v = *l->p == '[' ? read_list(l) : *l->p == '{' ? read_map(l) : read_word(l);
    l->depth--;
    return v;
}

/* ---- values of tags within tags: <pre>key>value<end with key>, lists as repeated <item> (MiniMax-M3) */

static json_t *nested(const struct calls_form *f, const char *p, size_t n, int depth)
{
    size_t pre = strlen(f->pairs.pre), mid = strlen(f->pairs.mid_json);
    json_t *map = json_object(), *list = json_array(), *v = NULL;
    bool ok = depth < LITERAL_DEPTH_MAX;
    while (ok && n >= pre && !memcmp(p, f->pairs.pre, pre)) {
        const char *key = p + pre, *at = memmem(key, n - pre, f->pairs.mid_json, mid);
        struct buf name = { 0 }, end = { 0 };
        static const char hole[] = { CALLS_KEY, 0 };
        buf_append(&name, key, at ? (size_t)(at - key) : 0);
        buf_puts(&end, f->pairs.end_json);
        calls_replace(&end, hole, buf_str(&name), 2);
        const char *from = at ? at + mid : p, *to = at ? memmem(from, n - (size_t)(from - p), end.data, end.len) : NULL;
        /* an element within one of its own name: the closing tag that leaves as many as it opens */
        for (const char *in = from; to && f->pairs.pre[0];) {
            struct buf open = { 0 };
            buf_puts(&open, f->pairs.pre);
            buf_append(&open, name.data, name.len);
            buf_puts(&open, f->pairs.mid_json);
            in = memmem(in, (size_t)(to - in), open.data, open.len);
            size_t skip = open.len;
            buf_release(&open);
            if (!in)
                break;
            in += skip;
            to = memmem(to + end.len, n - (size_t)(to + end.len - p), end.data, end.len);
        }
        ok = to != NULL;
        if (ok) {
            size_t len = (size_t)(to - from);
            bool deeper = len >= pre && !memcmp(from, f->pairs.pre, pre);
            v = deeper ? nested(f, from, len, depth + 1) : jsonx_parse(from, len, NULL);
            v = v ? v : json_stringn(from, len);
            if (!strcmp(buf_str(&name), "item"))
                json_array_append(list, v);
            json_object_setn_new(map, buf_str(&name), name.len, v);
            n -= (size_t)(to + end.len - p);
            p = to + end.len;
        }
        buf_release(&name);
        buf_release(&end);
    }
    ok = ok && !n && json_object_size(map);
    v = !ok ? NULL : json_incref(json_array_size(list) ? list : map);
    json_decref(map);
    json_decref(list);
    return v;
}

json_t *calls_literal(const struct calls_form *f, const char *p, size_t n)
{
    json_t *v = jsonx_parse(p, n, NULL);
    if (v)
        return v;
    if (f->pairs.end_json && strchr(f->pairs.end_json, CALLS_KEY) && (v = nested(f, p, n, 0)))
        return v;
    const char *quote = f->pairs.quote ? f->pairs.quote : "'"; /* some templates print lists as Python does */
    struct lit l = { p, p + n, quote, strlen(quote), 0 };
    v = read_any(&l);
    spaces(&l);
    if (v && l.p == l.end)
        return v;
    json_decref(v);
    return NULL;
}

/* ---- writing calls */

static void put_holed(const char *s, const char *name, const char *id, size_t index, const char *key, struct buf *out)
{
    for (; *s; s++) {
        if (*s == CALLS_NAME)
            buf_puts(out, name);
        else if (*s == CALLS_ID)
            buf_puts(out, id);
        else if (*s == CALLS_INDEX)
            buf_printf(out, "%zu", index);
        else if (*s == CALLS_KEY)
            buf_puts(out, key);
        else
            buf_putc(out, *s);
    }
}

static void write_pairs(const struct calls_form *f, const json_t *args, struct buf *out)
{
    const struct calls_pairs *p = &f->pairs;
    const char *key;
    json_t *v;
    bool first = true;
    json_object_foreach((json_t *)args, key, v) {
        bool text = json_is_string(v);
        buf_puts(out, first ? "" : p->sep);
        first = false;
        buf_puts(out, p->pre);
        buf_puts(out, key);
        if (text && p->quote && strpbrk(json_string_value(v), "'\\\n")) { /* as JSON: a literal too */
            buf_puts(out, p->mid_json);
            jsonx_dump(v, out);
            put_holed(p->end_json, "", "", 0, key, out);
            continue;
        }
        buf_puts(out, text ? p->mid_text : p->mid_json);
        if (text)
            buf_append(out, json_string_value(v), json_string_length(v));
        else
            jsonx_dump(v, out);
        put_holed(text ? p->end_text : p->end_json, "", "", 0, key, out);
    }
}

void calls_write(const struct calls_form *f, const json_t *tool_calls, struct buf *out)
{
    size_t i;
    const json_t *c;
    json_array_foreach(tool_calls, i, c) {
        const json_t *fn = json_object_get(c, "function"), *args = json_object_get(fn, "arguments");
        const char *name = json_string_value(json_object_get(fn, "name"));
        const char *id = json_string_value(json_object_get(c, "id"));
        buf_puts(out, i ? f->many ? f->sep : "\n" : f->open);
        put_holed(f->pre, name ? name : "", id ? id : "", i, "", out);
        if (f->shape == CALLS_PAIRS)
            write_pairs(f, args, out);
        else if (json_is_string(args))
            buf_append(out, json_string_value(args), json_string_length(args));
        else
            jsonx_dump(args, out);
        put_holed(f->post, name ? name : "", id ? id : "", i, "", out);
    }
    if (json_array_size(tool_calls))
        buf_puts(out, f->close);
}

void calls_instruct(const struct calls_form *f, const json_t *tools, struct buf *out)
{
    size_t i;
    const json_t *t;
    buf_puts(out, "You may call functions to help with the user's request. The functions, each with the JSON Schema of "
             "its arguments:\n<tools>\n");
    json_array_foreach(tools, i, t) {
        jsonx_dump(t, out);
        buf_putc(out, '\n');
    }
    buf_puts(out, "</tools>\nTo call one, answer with its name and its arguments in exactly this form:\n");
    json_t *example = json_pack("[{s:s,s:{s:s,s:{s:s}}}]", "id", "ID", "function", "name", "FUNCTION", "arguments",
                                "ARGUMENT", "VALUE");
    calls_write(f, example, out);
    json_decref(example);
    buf_puts(out, "\nResults come back between <tool_response> and </tool_response>. When no function is "
                  "needed, answer "
             "as usual.");
}
