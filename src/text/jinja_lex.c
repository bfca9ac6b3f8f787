/* jinja_lex -- source to tokens, and the whitespace rules that make a chat template exact.
 *
 * In this order, as Jinja2 does it: line ends become \n and one at the very end goes; '-' beside a tag
 * strips all whitespace on that side; otherwise blanks before a block or comment tag go when nothing but
 * blanks precede it on its line (lstrip_blocks; '+' keeps them), and one newline after a block or comment
 * tag goes (trim_blocks; '+' keeps it). Brackets hide the end of a tag until they are closed. */
#include "text/jinja_ast.h"
#include "text/jinja_str.h"

#include <stdlib.h>
#include <string.h>

enum { BRACKETS_MAX = JINJA_HEIGHT_MAX };

struct lexer {
    struct template *t;
    const char *s; /* normalised source */
    size_t n, pos;
    int line;
    bool line_starting; /* the last thing consumed ended in a newline */
    char brackets[BRACKETS_MAX];
    int open;
    struct buf toks; /* struct jtoken, one after the other */
    struct err *e;
};

static bool fail(struct lexer *x, const char *what)
{
    err_set(x->e, ERR_INVALID, "template line %d: %s", x->line, what);
    return false;
}

static bool no_memory(struct lexer *x)
{
    err_set(x->e, ERR_LIMIT, "the template is too long");
    return false;
}

static bool at(const struct lexer *x, size_t pos, const char *what)
{
    size_t k = strlen(what);
    return k <= x->n - pos && !memcmp(x->s + pos, what, k);
}

static bool push(struct lexer *x, struct jtoken tok)
{
    tok.line = x->line;
    return buf_append(&x->toks, &tok, sizeof tok) || no_memory(x);
}

static struct jstr *text_new(struct lexer *x, const char *p, size_t n)
{
    struct jstr *s = arena_alloc(&x->t->arena, 1, sizeof *s);
    char *copy = arena_strndup(&x->t->arena, p, n);
    if (!s || !copy) {
        no_memory(x);
        return NULL;
    }
    *s = (struct jstr){ .p = copy, .n = n, .chars = ju_count(copy, n) };
    return s;
}

/* Moves to pos, counting lines. */
static void advance(struct lexer *x, size_t pos)
{
    for (size_t i = x->pos; i < pos; i++)
        x->line += x->s[i] == '\n';
    if (pos > x->pos)
        x->line_starting = x->s[pos - 1] == '\n';
    x->pos = pos;
}

static size_t skip_space(const struct lexer *x, size_t pos)
{
    return pos + ju_lead(x->s + pos, x->n - pos, NULL, 0);
}

static bool push_data(struct lexer *x, size_t from, size_t to)
{
    if (from == to)
        return true;
    struct jstr *s = text_new(x, x->s + from, to - from);
    return s && push(x, (struct jtoken){ .type = T_DATA, .s = s });
}

/* The end of the text [from, tag) after what the tag's sign does to it. */
static size_t text_end(const struct lexer *x, size_t from, size_t tag, char sign, bool variable)
{
    const char *p = x->s + from;
    size_t n = tag - from;
    if (sign == '-')
        return tag - ju_trail(p, n, NULL, 0);
    if (sign == '+' || variable)
        return tag;
    const char *nl = n ? memrchr(p, '\n', n) : NULL;
    size_t line = nl ? (size_t)(nl - p) + 1 : 0;
    if ((line > 0 || x->line_starting) && ju_lead(p + line, n - line, NULL, 0) == n - line)
        return from + line;
    return tag;
}

/* The end of a block-like tag at pos ("%}" and friends, close is "%}" or "#}"), or 0. */
static size_t tag_end(const struct lexer *x, size_t pos, const char *close)
{
    if (at(x, pos, close)) {
        pos += 2;
        return pos + (pos < x->n && x->s[pos] == '\n');
    }
    if (pos < x->n && x->s[pos] == '+' && at(x, pos + 1, close))
        return pos + 3;
    if (pos < x->n && x->s[pos] == '-' && at(x, pos + 1, close))
        return skip_space(x, pos + 3);
    return 0;
}

static bool lex_comment(struct lexer *x, size_t pos)
{
    for (; pos < x->n; pos++) {
        size_t end = tag_end(x, pos, "#}");
        if (end) {
            advance(x, end);
            return true;
        }
    }
    return fail(x, "Missing end of comment tag");
}

/* After "{% raw %}": everything up to "{% endraw %}" is data. */
static bool lex_raw(struct lexer *x, size_t begin)
{
    advance(x, begin);
    for (size_t tag = begin; tag < x->n; tag++) {
        if (!at(x, tag, "{%"))
            continue;
        size_t pos = tag + 2;
        char sign = pos < x->n && (x->s[pos] == '-' || x->s[pos] == '+') ? x->s[pos++] : 0;
        pos = skip_space(x, pos);
        if (!at(x, pos, "endraw"))
            continue;
        size_t end = tag_end(x, skip_space(x, pos + 6), "%}");
        if (!end)
            continue;
        if (!push_data(x, begin, text_end(x, begin, tag, sign, false)))
            return false;
        advance(x, end);
        return true;
    }
    return begin == x->n || fail(x, "Missing end of raw directive"); /* nothing after it is no error in Jinja2 */
}

/* "{%- raw -%}" at tag: the position behind it, or 0. */
static size_t raw_begin(const struct lexer *x, size_t tag)
{
    size_t pos = tag + 2;
    if (pos < x->n && (x->s[pos] == '-' || x->s[pos] == '+'))
        pos++;
    pos = skip_space(x, pos);
    if (!at(x, pos, "raw"))
        return 0;
    pos = skip_space(x, pos + 3);
    if (at(x, pos, "-%}"))
        return skip_space(x, pos + 3);
    return at(x, pos, "%}") ? pos + 2 : 0;
}

/* ---- inside tags */

static bool put_escape_code(struct lexer *x, struct buf *b, const char *p, size_t *i, size_t n, size_t digits)
{
    uint32_t cp = 0;
    for (size_t k = 0; k < digits; k++) {
        char c = *i < n ? p[(*i)++] : 0;
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10
              : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0)
            return fail(x, "a truncated \\x, \\u or \\U escape in a string");
        cp = cp << 4 | (uint32_t)d;
    }
    if (cp > 0x10FFFF || (cp >= 0xD800 && cp < 0xE000))
        return fail(x, "a string escape that is no Unicode character");
    ju_put(b, cp);
    return true;
}

static bool put_escape(struct lexer *x, struct buf *b, const char *p, size_t *i, size_t n)
{
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    unsigned char c = (unsigned char)p[*i];
    const char *simple = c ? strchr(from, c) : NULL;
    if (c == '\n') {
        (*i)++;
    } else if (simple) {
        (*i)++;
        buf_putc(b, to[simple - from]);
    } else if (c >= '0' && c <= '7') {
        uint32_t cp = 0;
        for (int k = 0; k < 3 && *i < n && p[*i] >= '0' && p[*i] <= '7'; k++)
            cp = cp * 8 + (uint32_t)(p[(*i)++] - '0');
        ju_put(b, cp);
    } else if (c == 'x' || c == 'u' || c == 'U') {
        (*i)++;
        return put_escape_code(x, b, p, i, n, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    } else if (c == 'N') {
        return fail(x, "\\N{...} escapes are not supported; use \\u");
    } else if (c >= 0x80) { /* Python goes through ASCII here: the character turns into its own escape */
        size_t len;
        uint32_t cp = ju_decode(p + *i, n - *i, &len);
        *i += len;
        buf_printf(b, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", cp);
    } else {
        buf_putc(b, '\\');
    }
    return true;
}

static bool lex_string(struct lexer *x)
{
    char quote = x->s[x->pos];
    size_t end = x->pos + 1;
    while (end < x->n && x->s[end] != quote)
        end += x->s[end] == '\\' ? 2 : 1;
    if (end >= x->n)
        return fail(x, "a string has no end");
    const char *p = x->s + x->pos + 1;
    size_t n = end - x->pos - 1;
    struct buf b = { 0 };
    bool ok = true;
    for (size_t i = 0; ok && i < n;) {
        if (p[i] != '\\' || i + 1 == n) {
            buf_putc(&b, p[i++]);
        } else {
            i++;
            ok = put_escape(x, &b, p, &i, n);
        }
    }
    struct jstr *s = ok ? text_new(x, buf_str(&b), b.len) : NULL;
    buf_release(&b);
    if (!s || !push(x, (struct jtoken){ .type = T_STRING, .s = s }))
        return false;
    advance(x, end + 1);
    return true;
}

static size_t digits(const struct lexer *x, size_t pos, const char *set)
{
    size_t start = pos;
    while (pos < x->n && (strchr(set, x->s[pos]) || (x->s[pos] == '_' && pos > start)) && x->s[pos])
        pos++;
    while (pos > start && x->s[pos - 1] == '_')
        pos--;
    return pos;
}

static bool push_number(struct lexer *x, size_t end, bool is_float, int base)
{
    char text[64];
    size_t k = 0;
    for (size_t i = x->pos + (base != 10 ? 2 : 0); i < end; i++)
        if (x->s[i] != '_') {
            if (k + 1 == sizeof text)
                return fail(x, "a number is too long");
            text[k++] = x->s[i];
        }
    text[k] = 0;
    struct jtoken tok = { .type = is_float ? T_FLOAT : T_INT };
    if (is_float) {
        tok.f = strtod(text, NULL);
    } else {
        uint64_t v = 0;
        for (size_t i = 0; i < k; i++) {
            unsigned d = text[i] <= '9' ? (unsigned)(text[i] - '0') : ((unsigned)text[i] | 32) - 'a' + 10;
            if (v > ((uint64_t)INT64_MAX - d) / (unsigned)base)
                return fail(x, "a whole number is too large (63 bits are supported)");
            v = v * (unsigned)base + d;
        }
        tok.i = (int64_t)v;
    }
    if (!push(x, tok))
        return false;
    advance(x, end);
    return true;
}

static bool lex_number(struct lexer *x)
{
    static const char dec[] = "0123456789";
    size_t start = x->pos, end = digits(x, start, dec);
    if (x->s[start] == '0' && start + 1 < x->n) {
        char c = x->s[start + 1] | 32;
        const char *set = c == 'x' ? "0123456789abcdefABCDEF" : c == 'o' ? "01234567" : c == 'b' ? "01" : NULL;
        size_t hex = set ? digits(x, start + 2, set) : 0;
        if (hex > start + 2)
            return push_number(x, hex, false, c == 'x' ? 16 : c == 'o' ? 8 : 2);
    }
    bool is_float = false;
    if (!start || x->s[start - 1] != '.') {
        size_t p = end;
        if (p + 1 < x->n && x->s[p] == '.' && digits(x, p + 1, dec) > p + 1) {
            p = digits(x, p + 1, dec);
            is_float = true;
        }
        if (p < x->n && (x->s[p] | 32) == 'e') {
            size_t q = p + 1;
            if (q < x->n && (x->s[q] == '+' || x->s[q] == '-'))
                q++;
            if (digits(x, q, dec) > q) {
                p = digits(x, q, dec);
                is_float = true;
            }
        }
        if (is_float)
            end = p;
    }
    if (!is_float && x->s[start] == '0') /* as in Python, leading zeros only for zero */
        for (end = start + 1; end < x->n && x->s[end] == '0'; end++)
            ;
    return push_number(x, end, is_float, 10);
}

static bool lex_name(struct lexer *x)
{
    size_t end = x->pos, len;
    while (end < x->n && ju_word(ju_decode(x->s + end, x->n - end, &len)))
        end += len;
    const struct jsym *sym = template_intern(x->t, x->s + x->pos, end - x->pos);
    if (!sym)
        return no_memory(x);
    if (!push(x, (struct jtoken){ .type = T_NAME, .sym = sym }))
        return false;
    advance(x, end);
    return true;
}

static bool track_bracket(struct lexer *x, enum jtok op)
{
    static const char closes[] = { [T_LBRACKET] = ']', [T_LPAREN] = ')', [T_LBRACE] = '}' };
    if (op == T_LBRACKET || op == T_LPAREN || op == T_LBRACE) {
        if (x->open == BRACKETS_MAX)
            return fail(x, "brackets are nested too deep");
        x->brackets[x->open++] = closes[op];
    } else if (op == T_RBRACKET || op == T_RPAREN || op == T_RBRACE) {
        if (!x->open || x->brackets[--x->open] != x->s[x->pos])
            return fail(x, "a closing bracket does not match what is open");
    }
    return true;
}

static bool lex_operator(struct lexer *x)
{
    static const struct { char text[3]; uint8_t type; } ops[] = {
        { "//", T_FLOORDIV }, { "**", T_POW }, { "==", T_EQ }, { "!=", T_NE }, { ">=", T_GE }, { "<=", T_LE },
        { "+", T_ADD }, { "-", T_SUB }, { "/", T_DIV }, { "*", T_MUL }, { "%", T_MOD }, { "~", T_TILDE },
        { "[", T_LBRACKET }, { "]", T_RBRACKET }, { "(", T_LPAREN }, { ")", T_RPAREN }, { "{", T_LBRACE },
        { "}", T_RBRACE }, { ">", T_GT }, { "<", T_LT }, { "=", T_ASSIGN }, { ".", T_DOT }, { ":", T_COLON },
        { "|", T_PIPE }, { ",", T_COMMA }, { ";", T_SEMICOLON } };
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++)
        if (at(x, x->pos, ops[i].text)) {
            if (!track_bracket(x, (enum jtok)ops[i].type) || !push(x, (struct jtoken){ .type = ops[i].type }))
                return false;
            advance(x, x->pos + strlen(ops[i].text));
            return true;
        }
    return fail(x, "an unexpected character in a tag");
}

/* The end of the tag at pos when it ends there, or 0. */
static size_t inside_end(const struct lexer *x, bool variable)
{
    if (x->open)
        return 0;
    if (!variable)
        return tag_end(x, x->pos, "%}");
    if (at(x, x->pos, "-}}"))
        return skip_space(x, x->pos + 3);
    return at(x, x->pos, "}}") ? x->pos + 2 : 0;
}

/* Tokens up to and with the end of the tag. A missing end is left to the parser, which knows more. */
static bool lex_inside(struct lexer *x, bool variable)
{
    while (x->pos < x->n) {
        size_t end = inside_end(x, variable);
        if (end) {
            if (!push(x, (struct jtoken){ .type = variable ? T_VAR_END : T_BLOCK_END }))
                return false;
            advance(x, end);
            return true;
        }
        size_t len;
        uint32_t c = ju_decode(x->s + x->pos, x->n - x->pos, &len);
        bool ok;
        if (ju_space(c)) {
            advance(x, skip_space(x, x->pos));
            ok = true;
        } else if (c >= '0' && c <= '9') {
            ok = lex_number(x);
        } else if (ju_word(c)) {
            ok = lex_name(x);
        } else if (c == '"' || c == '\'') {
            ok = lex_string(x);
        } else {
            ok = lex_operator(x);
        }
        if (!ok)
            return false;
    }
    return true;
}

static bool lex_tag(struct lexer *x, size_t tag)
{
    size_t raw = x->s[tag + 1] == '%' ? raw_begin(x, tag) : 0, pos = tag + 2;
    char sign = pos < x->n && (x->s[pos] == '-' || x->s[pos] == '+') ? x->s[pos++] : 0;
    bool variable = x->s[tag + 1] == '{';
    if (!push_data(x, x->pos, text_end(x, x->pos, tag, sign, variable)))
        return false;
    advance(x, tag);
    if (raw)
        return lex_raw(x, raw);
    if (x->s[tag + 1] == '#')
        return lex_comment(x, pos);
    if (!push(x, (struct jtoken){ .type = variable ? T_VAR_BEGIN : T_BLOCK_BEGIN }))
        return false;
    advance(x, pos);
    x->open = 0;
    return lex_inside(x, variable);
}

static bool lex_all(struct lexer *x)
{
    while (x->pos < x->n) {
        size_t tag = x->pos;
        while (tag + 1 < x->n && !(x->s[tag] == '{' && strchr("%{#", x->s[tag + 1]) && x->s[tag + 1]))
            tag++;
        if (tag + 1 >= x->n) {
            if (!push_data(x, x->pos, x->n))
                return false;
            advance(x, x->n);
        } else if (!lex_tag(x, tag)) {
            return false;
        }
    }
    return push(x, (struct jtoken){ .type = T_EOF });
}

/* \r\n and \r become \n, one \n at the end goes. */
static bool normalise(struct lexer *x, const char *text, size_t n)
{
    char *s = arena_alloc(&x->t->arena, n + 1, 1);
    if (!s)
        return no_memory(x);
    size_t k = 0;
    for (size_t i = 0; i < n; i++) {
        if (text[i] == '\r' && i + 1 < n && text[i + 1] == '\n')
            continue;
        s[k++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (k && s[k - 1] == '\n')
        k--;
    x->s = s;
    x->n = k;
    return true;
}

enum err_code jinja_lex(struct template *t, const char *text, size_t n, struct jtoken **out, size_t *count,
                        struct err *e)
{
    struct err own;
    struct lexer x = { .t = t, .line = 1, .line_starting = true, .e = e ? e : &own };
    x.e->code = ERR_OK;
    if (n > JINJA_SOURCE_MAX)
        return err_set(e, ERR_LIMIT, "the template is longer than %d bytes", JINJA_SOURCE_MAX);
    if (!ju_valid(text, n))
        return err_set(e, ERR_INVALID, "the template is not valid UTF-8");
    if (normalise(&x, text, n) && lex_all(&x)) {
        *count = x.toks.len / sizeof(struct jtoken);
        *out = arena_alloc(&t->arena, *count, sizeof(struct jtoken));
        if (*out)
            memcpy(*out, x.toks.data, x.toks.len);
        else
            no_memory(&x);
    }
    buf_release(&x.toks);
    return x.e->code;
}
