/* envelope -- see envelope.h. Recursive descent, its depth bounded by ENVELOPE_DEPTH_MAX. */
#include "front/envelope.h"

#include <string.h>

struct scan {
    const char *start, *p, *end;
    struct err *e;
};

static bool fail(struct scan *s, const char *what)
{
    if (s->p < s->end)
        err_set(s->e, ERR_INVALID, "the body is not valid JSON: %s at byte %zu", what, (size_t)(s->p - s->start));
    else
        err_set(s->e, ERR_INVALID, "the body is not valid JSON: it ends too early");
    return false;
}

static void skip_blanks(struct scan *s)
{
    while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r'))
        s->p++;
}

/* The next byte that is no blank, or -1 at the end. */
static int peek(struct scan *s)
{
    skip_blanks(s);
    return s->p < s->end ? (unsigned char)*s->p : -1;
}

static bool expect(struct scan *s, char c)
{
    if (peek(s) != c)
        return fail(s, c == ':' ? "':' is missing" : "an unexpected byte");
    s->p++;
    return true;
}

/* Where the decoded bytes of a string go, as far as they fit: longer ones are marked, not kept. */
struct text {
    char *out;
    size_t size, n;
    bool cut;
};

static void put(struct text *t, const char *bytes, size_t n)
{
    if (!t)
        return;
    if (t->cut || n >= t->size - t->n) {
        t->cut = true;
        return;
    }
    memcpy(t->out + t->n, bytes, n);
    t->n += n;
    t->out[t->n] = '\0';
}

static long hex4(const char *p, const char *end)
{
    long v = 0;
    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1;
        if (d < 0)
            return -1;
        v = v * 16 + d;
    }
    return v;
}

static void put_utf8(struct text *t, unsigned long c)
{
    char b[4];
    if (c < 0x80) {
        b[0] = (char)c;
        put(t, b, 1);
    } else if (c < 0x800) {
        b[0] = (char)(0xC0 | c >> 6);
        b[1] = (char)(0x80 | (c & 0x3F));
        put(t, b, 2);
    } else if (c < 0x10000) {
        b[0] = (char)(0xE0 | c >> 12);
        b[1] = (char)(0x80 | (c >> 6 & 0x3F));
        b[2] = (char)(0x80 | (c & 0x3F));
        put(t, b, 3);
    } else {
        b[0] = (char)(0xF0 | c >> 18);
        b[1] = (char)(0x80 | (c >> 12 & 0x3F));
        b[2] = (char)(0x80 | (c >> 6 & 0x3F));
        b[3] = (char)(0x80 | (c & 0x3F));
        put(t, b, 4);
    }
}

/* After "\u"; a surrogate must come with its pair. */
static bool unicode_escape(struct scan *s, struct text *t)
{
    long c = hex4(s->p, s->end);
    if (c < 0)
        return fail(s, "a bad \\u escape");
    s->p += 4;
    if (c >= 0xD800 && c <= 0xDBFF) {
        long low = s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u' ? hex4(s->p + 2, s->end) : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return fail(s, "half of a surrogate pair");
        s->p += 6;
        c = 0x10000 + (c - 0xD800) * 0x400 + (low - 0xDC00);
    } else if (c >= 0xDC00 && c <= 0xDFFF) {
        return fail(s, "half of a surrogate pair");
    }
    put_utf8(t, (unsigned long)c);
    return true;
}

/* A string; its text goes to t unless t is NULL. */
static bool scan_string(struct scan *s, struct text *t)
{
    static const char escapes[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    if (!expect(s, '"'))
        return false;
    for (;;) { /* every turn takes at least a byte */
        const char *run = s->p;
        while (s->p < s->end && *s->p != '"' && *s->p != '\\' && (unsigned char)*s->p >= 0x20)
            s->p++;
        put(t, run, (size_t)(s->p - run));
        if (s->p == s->end || (unsigned char)*s->p < 0x20)
            return fail(s, "a control byte in a string");
        if (*s->p++ == '"')
            return true;
        if (s->p == s->end)
            return fail(s, "");
        char c = *s->p++;
        const char *known = c ? strchr(escapes, c) : NULL;
        if (known)
            put(t, means + (known - escapes), 1);
        else if (c != 'u')
            return fail(s, "a bad escape");
        else if (!unicode_escape(s, t))
            return false;
    }
}

static bool scan_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);
    if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n))
        return fail(s, "an unexpected byte");
    s->p += n;
    return true;
}

static size_t digits(struct scan *s)
{
    const char *start = s->p;
    while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
        s->p++;
    return (size_t)(s->p - start);
}

static bool scan_number(struct scan *s)
{
    if (*s->p == '-')
        s->p++;
    bool zero = s->p < s->end && *s->p == '0';
    size_t n = digits(s);
    if (!n || (zero && n > 1))
        return fail(s, "a bad number");
    if (s->p < s->end && *s->p == '.') {
        s->p++;
        if (!digits(s))
            return fail(s, "a bad number");
    }
    if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
        s->p++;
        if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
            s->p++;
        if (!digits(s))
            return fail(s, "a bad number");
    }
    return true;
}

static bool scan_value(struct scan *s, int depth);

static bool scan_members(struct scan *s, int depth, char close, bool keyed)
{
    s->p++;
    if (peek(s) == close) {
        s->p++;
        return true;
    }
    for (;;) { /* every turn takes at least a byte */
        if (keyed && (!scan_string(s, NULL) || !expect(s, ':')))
            return false;
        if (!scan_value(s, depth + 1))
            return false;
        if (peek(s) == ',') {
            s->p++;
            continue;
        }
        return expect(s, close);
    }
}

static bool scan_value(struct scan *s, int depth)
{
    if (depth > ENVELOPE_DEPTH_MAX) {
        err_set(s->e, ERR_INVALID, "the body is nested deeper than %d levels", ENVELOPE_DEPTH_MAX);
        return false;
    }
    int c = peek(s);
    switch (c) {
    case '{': return scan_members(s, depth, '}', true);
    case '[': return scan_members(s, depth, ']', false);
    case '"': return scan_string(s, NULL);
    case 't': return scan_word(s, "true");
    case 'f': return scan_word(s, "false");
    case 'n': return scan_word(s, "null");
    default: return c == '-' || (c >= '0' && c <= '9') ? scan_number(s) : fail(s, "an unexpected byte");
    }
}

/* ---- the fields */

enum field { MODEL, STREAM, MAX_TOKENS, MAX_COMPLETION_TOKENS, MAX_OUTPUT_TOKENS, OPTIONS, CHOICES, PRIORITY, DEADLINE,
    FIELDS };
static const char *const names[FIELDS] = {
    "model", "stream", "max_tokens", "max_completion_tokens", "max_output_tokens", "options", "n", "priority",
    "deadline_ms",
};

static bool scan_named(struct scan *s, int depth, const char *const *wanted, int count, struct http_slice *out);

static bool read_bool(struct scan *s, const char *name, bool *out)
{
    int c = peek(s);
    const char *start = s->p;
    if (!scan_value(s, 1))
        return false;
    if (c != 't' && c != 'f' && c != 'n') {
        s->p = start;
        err_set(s->e, ERR_INVALID, "'%s' must be true or false", name);
        return false;
    }
    *out = c == 't';
    return true;
}

static bool read_int(struct scan *s, const char *name, int64_t *out)
{
    int c = peek(s);
    const char *p = s->p;
    if (!scan_value(s, 1))
        return false;
    if (c == 'n')
        return true;
    bool negative = c == '-';
    int64_t v = 0;
    for (p += negative; p < s->p && *p >= '0' && *p <= '9' && v <= INT32_MAX; p++)
        v = v * 10 + (*p - '0');
    if (p != s->p || (c != '-' && (c < '0' || c > '9'))) {
        err_set(s->e, ERR_INVALID, "'%s' must be a whole number below 2^31", name);
        return false;
    }
    *out = negative ? -v : v;
    return true;
}

static bool read_model(struct scan *s, struct envelope *out)
{
    int c = peek(s);
    if (c == 'n')
        return scan_value(s, 1);
    if (c != '"') {
        err_set(s->e, ERR_INVALID, "'model' must be a string");
        return false;
    }
    struct text t = { .out = out->model, .size = sizeof out->model };
    if (!scan_string(s, &t))
        return false;
    if (t.cut || strlen(out->model) != t.n) {
        err_set(s->e, ERR_INVALID, "'model' must be a name of at most %d bytes", ENVELOPE_MODEL_MAX - 1);
        return false;
    }
    return true;
}

/* Ollama's options: num_predict, of which what is below zero means no limit. */
static bool read_options(struct scan *s, int64_t *max_tokens)
{
    static const char *const wanted[] = { "num_predict" };
    struct http_slice found = { NULL, 0 };
    if (peek(s) != '{')
        return scan_value(s, 1);
    if (!scan_named(s, 1, wanted, 1, &found))
        return false;
    struct scan in = { s->start, found.p, found.p + found.n, s->e };
    int64_t n = 0;
    if (found.p && !read_int(&in, "options.num_predict", &n))
        return false;
    if (n > 0)
        *max_tokens = n;
    return true;
}

static bool read_field(struct scan *s, enum field f, struct envelope *out)
{
    switch (f) {
    case MODEL: return read_model(s, out);
    case STREAM: return read_bool(s, names[f], &out->stream);
    case OPTIONS: return read_options(s, &out->max_tokens);
    case CHOICES: return read_int(s, names[f], &out->choices);
    case PRIORITY: return read_int(s, names[f], &out->priority);
    case DEADLINE: return read_int(s, names[f], &out->deadline_ms);
    case MAX_TOKENS:
    case MAX_COMPLETION_TOKENS:
    case MAX_OUTPUT_TOKENS: return read_int(s, names[f], &out->max_tokens);
    case FIELDS: break;
    }
    return scan_value(s, 1);
}

static bool scan_object(struct scan *s, struct envelope *out, const char **param)
{
    unsigned seen = 0;
    if (!expect(s, '{'))
        return false;
    if (peek(s) == '}') {
        s->p++;
        return true;
    }
    for (;;) { /* every turn takes at least a byte */
        char name[ENVELOPE_KEY_MAX] = "";
        struct text key = { .out = name, .size = sizeof name };
        if (!scan_string(s, &key) || !expect(s, ':'))
            return false;
        int f = 0;
        while (f < FIELDS && (key.cut || strlen(names[f]) != key.n || memcmp(names[f], name, key.n)))
            f++;
        if (f < FIELDS && seen & 1u << f) {
            *param = names[f];
            err_set(s->e, ERR_INVALID, "'%s' is given twice", names[f]);
            return false;
        }
        seen |= f < FIELDS ? 1u << f : 0;
        if (!read_field(s, (enum field)f, out)) {
            *param = f < FIELDS ? names[f] : "";
            return false;
        }
        if (peek(s) == ',') {
            s->p++;
            continue;
        }
        return expect(s, '}');
    }
}

enum err_code envelope_scan(const char *body, size_t n, struct envelope *out, const char **param, struct err *e)
{
    struct scan s = { body, body, body + n, e };
    struct envelope found = { .choices = 1 };
    const char *at_fault = "";
    bool ok = scan_object(&s, &found, &at_fault);
    if (ok && peek(&s) >= 0)
        ok = fail(&s, "something follows the object");
    if (param)
        *param = at_fault;
    if (!ok)
        return ERR_INVALID;
    *out = found;
    return ERR_OK;
}

/* ---- members of any object */

static bool scan_named(struct scan *s, int depth, const char *const *wanted, int count, struct http_slice *out)
{
    if (!expect(s, '{'))
        return false;
    if (peek(s) == '}') {
        s->p++;
        return true;
    }
    for (;;) { /* every turn takes at least a byte */
        char name[ENVELOPE_KEY_MAX] = "";
        struct text key = { .out = name, .size = sizeof name };
        if (!scan_string(s, &key) || !expect(s, ':'))
            return false;
        peek(s);
        const char *start = s->p;
        if (!scan_value(s, depth + 1))
            return false;
        for (int i = 0; i < count && !key.cut; i++) {
            if (strlen(wanted[i]) != key.n || memcmp(wanted[i], name, key.n))
                continue;
            if (out[i].p) {
                err_set(s->e, ERR_INVALID, "'%s' is given twice", wanted[i]);
                return false;
            }
            out[i] = (struct http_slice){ start, (size_t)(s->p - start) };
        }
        if (peek(s) == ',') {
            s->p++;
            continue;
        }
        return expect(s, '}');
    }
}

enum err_code envelope_members(const char *text, size_t n, const char *const *wanted, int count, struct http_slice *out,
                               struct err *e)
{
    struct scan s = { text, text, text + n, e };
    for (int i = 0; i < count; i++)
        out[i] = (struct http_slice){ NULL, 0 };
    if (!scan_named(&s, 0, wanted, count, out))
        return ERR_INVALID;
    return peek(&s) < 0 || fail(&s, "something follows the object") ? ERR_OK : ERR_INVALID;
}
