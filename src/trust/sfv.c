/* sfv -- see sfv.h. */
#include "trust/sfv.h"

#include <string.h>

struct cursor {
    const char *at, *end;
};

static char peek(const struct cursor *c)
{
    return c->at < c->end ? *c->at : '\0';
}

static bool eat(struct cursor *c, char want)
{
    if (peek(c) != want || c->at == c->end)
        return false;
    c->at++;
    return true;
}

static void skip_spaces(struct cursor *c)
{
    while (peek(c) == ' ')
        c->at++;
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool read_key(struct cursor *c, struct span *out)
{
    const char *start = c->at;
    if (!is_lower(peek(c)) && peek(c) != '*')
        return false;
    while (c->at < c->end && (is_lower(*c->at) || is_digit(*c->at) || (*c->at && strchr("_-.*", *c->at))))
        c->at++;
    *out = (struct span){ start, (size_t)(c->at - start) };
    return true;
}

/* No escapes: a string with a backslash is refused rather than read in two ways. */
static bool read_string(struct cursor *c, struct span *out)
{
    if (!eat(c, '"'))
        return false;
    const char *start = c->at;
    while (c->at < c->end && *c->at >= 0x20 && *c->at < 0x7f && *c->at != '"' && *c->at != '\\')
        c->at++;
    *out = (struct span){ start, (size_t)(c->at - start) };
    return eat(c, '"');
}

static bool read_integer(struct cursor *c, int64_t *out)
{
    bool negative = eat(c, '-');
    int64_t v = 0;
    int digits = 0;
    while (is_digit(peek(c)) && digits++ < 15)
        v = v * 10 + (*c->at++ - '0');
    *out = negative ? -v : v;
    return digits >= 1 && digits <= 15 && !is_digit(peek(c)) && peek(c) != '.';
}

static bool read_bytes(struct cursor *c, struct span *out)
{
    uint8_t raw[SFV_TEXT_MAX];
    size_t n = sizeof raw;
    if (!eat(c, ':'))
        return false;
    const char *start = c->at;
    while (c->at < c->end && *c->at != ':')
        c->at++;
    *out = (struct span){ start, (size_t)(c->at - start) };
    return eat(c, ':') && code_unbase64(raw, &n, *out);
}

static bool read_token(struct cursor *c, struct span *out)
{
    const char *start = c->at;
    char first = peek(c);
    if (!is_lower(first) && !(first >= 'A' && first <= 'Z') && first != '*')
        return false;
    while (c->at < c->end && *c->at > ' ' && *c->at < 0x7f && !strchr("\"(),;<=>?@[\\]{}", *c->at))
        c->at++;
    *out = (struct span){ start, (size_t)(c->at - start) };
    return true;
}

static bool read_bare(struct cursor *c, struct sfv_value *v)
{
    char first = peek(c);
    if (first == '"') {
        v->kind = SFV_STRING;
        return read_string(c, &v->text);
    }
    if (first == ':') {
        v->kind = SFV_BYTES;
        return read_bytes(c, &v->text);
    }
    if (is_digit(first) || first == '-') {
        v->kind = SFV_INTEGER;
        return read_integer(c, &v->integer);
    }
    v->kind = SFV_TOKEN;
    return read_token(c, &v->text);
}

static bool read_params(struct cursor *c, struct sfv_member *m)
{
    while (eat(c, ';')) {
        struct sfv_param p = { .value.kind = SFV_TRUE };
        skip_spaces(c);
        if (m->param_count == SFV_PARAMS_MAX || !read_key(c, &p.key))
            return false;
        for (int i = 0; i < m->param_count; i++)
            if (span_same(m->params[i].key, p.key))
                return false;
        if (eat(c, '=') && !read_bare(c, &p.value))
            return false;
        m->params[m->param_count++] = p;
    }
    return true;
}

static bool read_list(struct cursor *c, struct sfv_member *m)
{
    m->value.kind = SFV_LIST;
    if (!eat(c, '('))
        return false;
    for (;;) {
        skip_spaces(c);
        if (eat(c, ')'))
            return true;
        if (m->item_count == SFV_ITEMS_MAX || !read_string(c, &m->items[m->item_count++]))
            return false;
        if (peek(c) != ' ' && peek(c) != ')')
            return false;
    }
}

static bool read_member(struct cursor *c, struct sfv_dictionary *d)
{
    struct sfv_member *m = &d->members[d->count];
    *m = (struct sfv_member){ .value.kind = SFV_TRUE };
    if (d->count == SFV_MEMBERS_MAX || !read_key(c, &m->key) || !eat(c, '='))
        return false;
    for (int i = 0; i < d->count; i++)
        if (span_same(d->members[i].key, m->key))
            return false;
    const char *start = c->at;
    if (!(peek(c) == '(' ? read_list(c, m) : read_bare(c, &m->value)) || !read_params(c, m))
        return false;
    m->raw = (struct span){ start, (size_t)(c->at - start) };
    d->count++;
    return true;
}

enum err_code sfv_parse(struct span text, struct sfv_dictionary *out, struct err *e)
{
    struct cursor c = { text.data, text.data + text.len };
    out->count = 0;
    bool ok = text.len && text.len <= SFV_TEXT_MAX;
    while (ok && (ok = out->count < SFV_MEMBERS_MAX && read_member(&c, out)) && c.at < c.end) {
        skip_spaces(&c);
        ok = eat(&c, ',');
        skip_spaces(&c);
    }
    return ok ? ERR_OK : err_set(e, ERR_INVALID, "a structured header field is malformed");
}

const struct sfv_member *sfv_get(const struct sfv_dictionary *d, const char *key)
{
    for (int i = 0; i < d->count; i++)
        if (span_is(d->members[i].key, key))
            return &d->members[i];
    return NULL;
}

const struct sfv_value *sfv_param(const struct sfv_member *m, const char *key)
{
    for (int i = 0; i < m->param_count; i++)
        if (span_is(m->params[i].key, key))
            return &m->params[i].value;
    return NULL;
}
