/* reply_call -- one call after its marker was seen: its name, its arguments in either shape, what comes after it.
 *
 *     CALL (open and pre, with the name) --> JSON -------------------> POST --> AFTER --sep--> CALL
 *                                        \-> PAIR --> KEY --> VALUE -> PAIR    (post ends the pairs)
 */
#include "api/reply_run.h"

#include "api/calls_probe.h"
#include "api/siphash.h"
#include "base/mem.h"

#include <string.h>

enum { KEY_BYTES_MAX = 256 };

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* Takes n bytes off the front: they are the call's. */
static void take(struct reply *r, size_t n)
{
    if (!r->open)
        buf_append(&r->past, r->raw.data, n);
    buf_drop_front(&r->raw, n);
}

/* ---- what goes out */

static void write_id(const struct reply *r, char out[CALLS_NAME_MAX + 40])
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    struct buf b = { 0 };
    buf_printf(&b, "%s/%d/%d", r->s.seed ? r->s.seed : "", r->s.choice, r->calls - 1);
    static const uint8_t keys[2][SIPHASH_KEY_BYTES] = { "tokenworks calls", "tokenworks calm." };
    uint64_t h[2] = { siphash(keys[0], buf_str(&b), b.len), siphash(keys[1], buf_str(&b), b.len) };
    buf_release(&b);
    if (r->s.form->ids == CALLS_ID_NAMED) {
        snprintf(out, CALLS_NAME_MAX + 40, "functions.%.64s:%d", buf_str(&r->name), r->calls - 1);
        return;
    }
    bool nine = r->s.form->ids == CALLS_ID_NINE;
    size_t at = nine ? 0 : 5, n = nine ? 9 : 24;
    memcpy(out, "call_", 5);
    for (size_t i = 0; i < n; i++) {
        out[at + i] = digits[h[i / 12 % 2] % 62];
        h[i / 12 % 2] /= 62;
    }
    out[at + n] = '\0';
}

static void open_call(struct reply *r)
{
    char id[CALLS_NAME_MAX + 40];
    write_id(r, id);
    r->emit(r->user, &(struct api_delta){ .kind = API_CALL_OPEN, .call = r->calls - 1, .id = id,
                                          .name = buf_str(&r->name) });
    r->open = true;
    buf_clear(&r->past);
}

static void put_args(struct reply *r, const char *text, size_t n)
{
    if (r->s.live)
        reply_text(r, API_CALL_ARGS, text, n);
    else
        buf_append(&r->args, text, n);
}

static void close_call(struct reply *r)
{
    if (!r->open)
        open_call(r);
    reply_text(r, API_CALL_ARGS, buf_str(&r->args), r->args.len);
    buf_clear(&r->args);
    r->emit(r->user, &(struct api_delta){ .kind = API_CALL_CLOSE, .call = r->calls - 1 });
    r->open = false;
}

/* It was no call after all: what was read is text, and reading goes on behind its first character. */
static bool give_up(struct reply *r)
{
    if (r->open) {
        close_call(r);
        if (r->ended) /* cut short within the form's own words */
            buf_clear(&r->raw);
    } else if (r->ended && r->s.live && r->calls) {
        buf_clear(&r->raw);
    } else {
        if (r->at > REPLY_CALL)
            r->calls--;
        struct buf all = { 0 };
        size_t mark = strlen(r->s.form->marker);
        buf_append(&all, r->past.data, r->past.len);
        buf_append(&all, r->raw.data, r->raw.len);
        mark = mark < all.len ? mark : all.len;
        reply_text(r, API_TEXT, buf_str(&all), mark);
        buf_drop_front(&all, mark);
        buf_release(&r->raw);
        r->raw = all;
        buf_clear(&r->past);
    }
    buf_clear(&r->args);
    r->at = REPLY_BODY;
    r->fresh = r->trim = false;
    return true;
}

/* ---- literal text with holes */

static void expect(struct reply *r, enum reply_at at, const char *a, const char *b)
{
    r->at = at;
    r->want_at = 0;
    buf_clear(&r->want);
    buf_puts(&r->want, a);
    buf_puts(&r->want, b);
}

void reply_call_begin(struct reply *r, bool first)
{
    const struct calls_form *f = r->s.form;
    buf_clear(&r->past);
    buf_clear(&r->name);
    buf_clear(&r->args);
    expect(r, REPLY_CALL, first ? f->open : f->sep, f->pre);
}

static bool known_name(const struct reply *r)
{
    size_t i;
    const json_t *t;
    json_array_foreach(r->s.tools, i, t) {
        const char *name = json_string_value(json_object_get(json_object_get(t, "function"), "name"));
        if (name && !strcmp(name, buf_str(&r->name)))
            return true;
    }
    return false;
}

static bool in_hole(char hole, char c)
{
    bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
    return hole == CALLS_INDEX ? c >= '0' && c <= '9' : word || (hole == CALLS_NAME && c == '.');
}

/* A hole takes the longest run it may; a name must be one of the tools'. */
static enum match fill_hole(struct reply *r, char hole)
{
    size_t n = 0;
    while (n < r->raw.len && in_hole(hole, r->raw.data[n]))
        n++;
    if (n > CALLS_NAME_MAX)
        return MATCH_NO;
    if (n == r->raw.len && !r->ended)
        return MATCH_PART;
    if (hole == CALLS_NAME) {
        buf_clear(&r->name);
        buf_append(&r->name, r->raw.data, n);
        if (!known_name(r))
            return MATCH_NO;
    }
    take(r, n);
    r->want_at++;
    return MATCH_YES;
}

static enum match follow(struct reply *r)
{
    while (r->want_at < r->want.len) {
        char w = r->want.data[r->want_at];
        if (w > 0 && w < CALLS_KEY) {
            enum match m = fill_hole(r, w);
            if (m != MATCH_YES)
                return m;
            continue;
        }
        if (!r->raw.len)
            return MATCH_PART;
        char c = r->raw.data[0];
        if (c == w) {
            take(r, 1);
            r->want_at++;
        } else if (is_space(w)) {
            r->want_at++;
        } else if (is_space(c)) {
            take(r, 1);
        } else {
            return MATCH_NO;
        }
    }
    return MATCH_YES;
}

static bool step_open(struct reply *r)
{
    enum match m = follow(r);
    if (m == MATCH_NO)
        return give_up(r);
    if (m == MATCH_PART)
        return false;
    r->calls++;
    r->depth = r->pairs = 0;
    r->in_string = r->escaped = false;
    if (r->s.live)
        open_call(r);
    if (r->s.form->shape == CALLS_JSON) {
        r->at = REPLY_JSON;
    } else {
        put_args(r, "{", 1);
        r->at = REPLY_PAIR;
    }
    return true;
}

/* ---- arguments as one JSON object */

static bool json_ok(const struct reply *r)
{
    json_t *v = r->s.live ? NULL : jsonx_parse(buf_str(&r->args), r->args.len, NULL);
    bool ok = r->s.live || json_is_object(v);
    json_decref(v);
    return ok;
}

static bool step_json(struct reply *r)
{
    size_t lead = 0, n;
    if (!r->depth) {
        while (lead < r->raw.len && is_space(r->raw.data[lead]))
            lead++;
        take(r, lead);
        if (!r->raw.len)
            return false;
        if (r->raw.data[0] != '{')
            return give_up(r);
    }
    bool done = false;
    for (n = 0; n < r->raw.len && !done; n++) {
        char c = r->raw.data[n];
        if (r->in_string) {
            r->in_string = r->escaped || c != '"';
            r->escaped = !r->escaped && c == '\\';
        } else {
            r->in_string = c == '"';
            r->depth += c == '{' || c == '[' ? 1 : c == '}' || c == ']' ? -1 : 0;
            done = r->depth == 0;
        }
    }
    put_args(r, buf_str(&r->raw), n);
    take(r, n);
    if (!done)
        return false;
    if (!json_ok(r))
        return give_up(r);
    close_call(r);
    expect(r, REPLY_POST, r->s.form->post, "");
    return true;
}

/* ---- arguments in pairs */

/* Whether another pair comes, or the call ends. */
static bool step_pair(struct reply *r)
{
    const struct calls_form *f = r->s.form;
    struct buf next = { 0 };
    size_t used = 0, pair_used = 0;
    buf_puts(&next, r->pairs ? f->pairs.sep : "");
    buf_puts(&next, f->pairs.pre);
    enum match end = *f->post ? reply_match(f->post, &r->raw, &used) : r->ended ? MATCH_YES : MATCH_NO;
    enum match pair = reply_match(buf_str(&next), &r->raw, &pair_used);
    buf_release(&next);
    bool wait = end == MATCH_PART || (end == MATCH_NO && pair == MATCH_PART);
    if (end == MATCH_YES) {
        put_args(r, "}", 1);
        take(r, used);
        close_call(r);
        r->at = REPLY_AFTER;
        return true;
    }
    if (wait && !r->ended && (r->raw.len < KEY_BYTES_MAX || pair == MATCH_PART))
        return false;
    if (pair != MATCH_YES || (!r->raw.len && !pair_used))
        return r->ended ? false : give_up(r);
    take(r, pair_used);
    r->pairs++;
    r->at = REPLY_KEY;
    return true;
}

/* The declared type of an argument; NULL: unknown or several. */
static const char *type_of(const struct reply *r, const char *key)
{
    size_t i;
    const json_t *t;
    json_array_foreach(r->s.tools, i, t) {
        const json_t *f = json_object_get(t, "function");
        if (strcmp(json_string_value(json_object_get(f, "name")), buf_str(&r->name)))
            continue;
        const json_t *p = json_object_get(json_object_get(json_object_get(f, "parameters"), "properties"), key);
        const json_t *list = json_object_get(p, "enum");
        if (!json_object_get(p, "type") && json_is_string(json_array_get(list, 0)))
            return "string";
        return json_string_value(json_object_get(p, "type"));
    }
    return NULL;
}

/* Which flavour of value comes: texts and others may have tags of their own. */
static enum match value_begins(struct reply *r, bool *text)
{
    const struct calls_pairs *p = &r->s.form->pairs;
    size_t used_text = 0, used_json = 0;
    enum match t = p->quote ? MATCH_NO : reply_match(p->mid_text, &r->raw, &used_text);
    enum match j = reply_match(p->mid_json, &r->raw, &used_json);
    if (t == MATCH_PART || (t == MATCH_NO && j == MATCH_PART))
        return r->ended ? MATCH_NO : MATCH_PART;
    if (t == MATCH_NO && j == MATCH_NO)
        return MATCH_NO;
    *text = t == MATCH_YES;
    if (t == MATCH_YES && j == MATCH_YES) { /* alike: the schema tells */
        const char *type = type_of(r, buf_str(&r->key));
        *text = type && !strcmp(type, "string");
    }
    take(r, t == MATCH_YES ? used_text : used_json);
    return MATCH_YES;
}

static void put_quoted(struct reply *r, const char *text, size_t n)
{
    struct buf b = { 0 };
    jsonx_quote(text, n, &b);
    put_args(r, b.data + 1, b.len - 2);
    buf_release(&b);
}

static bool step_key(struct reply *r)
{
    const struct calls_pairs *p = &r->s.form->pairs;
    size_t n = 0;
    while (n < r->raw.len && r->raw.data[n] != p->mid_text[0] && r->raw.data[n] != p->mid_json[0])
        n++;
    if (n > KEY_BYTES_MAX)
        return give_up(r);
    if (n == r->raw.len)
        return false;
    buf_clear(&r->key);
    buf_append(&r->key, r->raw.data, n);
    struct buf rest = { .data = r->raw.data + n, .len = r->raw.len - n }, whole = r->raw;
    r->raw = rest;
    size_t used = 0;
    enum match t = p->quote ? MATCH_NO : reply_match(p->mid_text, &r->raw, &used);
    enum match j = reply_match(p->mid_json, &r->raw, &used);
    r->raw = whole;
    if (!r->ended && (t == MATCH_PART || (t == MATCH_NO && j == MATCH_PART)))
        return false;
    take(r, n);
    if (value_begins(r, &r->text_value) != MATCH_YES)
        return give_up(r);
    struct buf args = { 0 };
    buf_puts(&args, r->pairs > 1 ? ", " : "");
    jsonx_quote(buf_str(&r->key), r->key.len, &args);
    buf_puts(&args, r->text_value ? ": \"" : ": ");
    put_args(r, buf_str(&args), args.len);
    buf_release(&args);
    static const char hole[] = { CALLS_KEY, 0 };
    buf_clear(&r->end);
    buf_puts(&r->end, r->text_value ? p->end_text : p->end_json);
    calls_replace(&r->end, hole, buf_str(&r->key), 4);
    r->begun = false;
    r->at = REPLY_VALUE;
    return true;
}

/* Where a literal ends: before a separator or the call's end, outside quotes and brackets. SIZE_MAX: not yet. */
static size_t literal_end(const struct reply *r)
{
    const struct calls_form *f = r->s.form;
    size_t q = strlen(f->pairs.quote);
    char quote = 0;
    int depth = 0;
    for (size_t i = 0; i < r->raw.len; i++) {
        const char *s = r->raw.data + i;
        if (quote == 1 || (!quote && q > 1)) {
            if (r->raw.len - i >= q && !memcmp(s, f->pairs.quote, q)) {
                quote = !quote;
                i += q - 1;
                continue;
            }
            if (quote)
                continue;
        }
        if (quote) {
            if (*s == '\\')
                i++;
            else if (*s == quote)
                quote = 0;
            continue;
        }
        if (!depth && (*s == f->pairs.sep[0] || *s == f->post[0]))
            return i;
        if (*s == '\'' || *s == '"')
            quote = *s;
        depth += *s == '[' || *s == '{' ? 1 : *s == ']' || *s == '}' ? -1 : 0;
    }
    return SIZE_MAX;
}

static size_t value_end(const struct reply *r, size_t *skip)
{
    const char *end = buf_str(&r->end), *tag = end;
    if (r->s.form->pairs.quote) {
        *skip = 0;
        return literal_end(r);
    }
    while (is_space(*tag))
        tag++;
    const char *at = r->raw.len ? memmem(r->raw.data, r->raw.len, tag, strlen(tag)) : NULL;
    if (!at)
        return SIZE_MAX;
    size_t n = (size_t)(at - r->raw.data), lead = (size_t)(tag - end);
    bool line = lead && n >= lead && !memcmp(at - lead, end, lead);
    *skip = strlen(tag) + (line ? lead : 0);
    return n - (line ? lead : 0);
}

/* A whole value: JSON, a literal, or what is neither: a text. */
static void put_value(struct reply *r, size_t n)
{
    json_t *v = calls_literal(r->s.form, buf_str(&r->raw), n);
    struct buf b = { 0 };
    if (v && !json_is_string(v))
        jsonx_dump(v, &b);
    else if (v)
        jsonx_quote(json_string_value(v), json_string_length(v), &b);
    else
        jsonx_quote(buf_str(&r->raw), n, &b);
    put_args(r, buf_str(&b), b.len);
    buf_release(&b);
    json_decref(v);
}

/* A text may stand in a CDATA section. false: more is needed to tell. */
static bool open_section(struct reply *r)
{
    static const char cdata[] = "<![CDATA[";
    size_t n = sizeof cdata - 1, have = r->raw.len < n ? r->raw.len : n;
    if (memcmp(buf_str(&r->raw), cdata, have))
        n = 0;
    else if (have < n)
        return r->ended;
    if (n) {
        struct buf end = { 0 };
        buf_puts(&end, "]]>");
        buf_append(&end, r->end.data, r->end.len);
        buf_release(&r->end);
        r->end = end;
        take(r, n);
    }
    return true;
}

static bool step_value(struct reply *r)
{
    if (!r->begun && !r->s.form->pairs.quote && !open_section(r))
        return false;
    r->begun = true;
    size_t skip = 0, n = value_end(r, &skip);
    if (n == SIZE_MAX && !r->text_value)
        return false;
    if (n == SIZE_MAX) {
        const char *end = buf_str(&r->end);
        size_t keep = strlen(end) - 1;
        n = r->raw.len > keep ? r->raw.len - keep : 0;
        while (n && ((unsigned char)r->raw.data[n] & 0xC0) == 0x80)
            n--;
        put_quoted(r, buf_str(&r->raw), n);
        take(r, n);
        return false;
    }
    if (r->text_value) {
        put_quoted(r, buf_str(&r->raw), n);
        put_args(r, "\"", 1);
    } else {
        put_value(r, n);
    }
    take(r, n + skip);
    r->at = REPLY_PAIR;
    return true;
}

/* ---- behind a call */

static bool step_post(struct reply *r)
{
    enum match m = follow(r);
    if (m == MATCH_PART)
        return false;
    r->at = m == MATCH_YES ? REPLY_AFTER : REPLY_BODY;
    r->fresh = false;
    return true;
}

static bool step_after(struct reply *r)
{
    const struct calls_form *f = r->s.form;
    struct buf next = { 0 };
    size_t used = 0, close_used = 0;
    buf_puts(&next, f->sep);
    buf_append(&next, f->pre, strcspn(f->pre, "\1\2\3"));
    enum match again = f->many ? reply_match(buf_str(&next), &r->raw, &used) : MATCH_NO;
    enum match close = *f->close ? reply_match(f->close, &r->raw, &close_used) : MATCH_NO;
    buf_release(&next);
    if (again == MATCH_YES) {
        reply_call_begin(r, false);
        return true;
    }
    if (close != MATCH_YES && (again == MATCH_PART || close == MATCH_PART) && !r->ended)
        return false;
    if (close != MATCH_NO || again == MATCH_PART) /* cut short within the words between calls, or behind them */
        take(r, close == MATCH_YES ? close_used : r->raw.len);
    buf_clear(&r->past);
    r->at = REPLY_BODY;
    r->fresh = false;
    r->trim = true;
    return true;
}

bool reply_call_step(struct reply *r)
{
    switch (r->at) {
    case REPLY_CALL: return step_open(r);
    case REPLY_JSON: return step_json(r);
    case REPLY_PAIR: return step_pair(r);
    case REPLY_KEY: return step_key(r);
    case REPLY_VALUE: return step_value(r);
    case REPLY_POST: return step_post(r);
    default: return step_after(r);
    }
}

void reply_call_finish(struct reply *r)
{
    if (r->at == REPLY_CALL && r->calls && r->s.live) { /* the words between two calls, no more */
        buf_clear(&r->past);
    } else if (r->at == REPLY_CALL) {
        buf_append(&r->past, r->raw.data, r->raw.len);
        reply_text(r, API_TEXT, buf_str(&r->past), r->past.len);
    } else if (r->at >= REPLY_JSON && r->at <= REPLY_VALUE) { /* cut short: what there is of the arguments */
        if (r->at == REPLY_VALUE && r->text_value)
            put_quoted(r, buf_str(&r->raw), r->raw.len);
        close_call(r);
    }
    r->at = REPLY_BODY;
}
