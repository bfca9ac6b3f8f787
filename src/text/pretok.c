/* pretok -- see pretok.h. Stages run one after the other; each cuts the pieces of the one before on its own, so
 * a look-ahead sees the end of its piece as the end of the text. What an expression does not match between two
 * matches is a piece too. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/pretok_impl.h"

#include "base/assert.h"
#include "base/mem.h"
#include "text/utf8.h"

#include <pcre2.h>
#include <string.h>
#include <utf8proc.h>

/* The interpreter's budget (when the system forbids JIT); no expression of the table backtracks more than once
 * per byte, so this is reached by a mistake in the table only. */
enum { MATCH_LIMIT = 1 << 30, HEAP_LIMIT_KIB = 256 * 1024 };

struct stage {
    const char *special; /* PRETOK_DIGITS or PRETOK_THOUSANDS, else NULL */
    pcre2_code *code;
};

struct pretok {
    int stages;
    struct stage stage[PRETOK_STAGES_MAX];
    pcre2_match_context *limits;
};

void pretok_free(struct pretok *p)
{
    if (!p)
        return;
    for (int i = 0; i < p->stages; i++)
        pcre2_code_free(p->stage[i].code);
    pcre2_match_context_free(p->limits);
    mem_free(p);
}

static enum err_code compile(struct stage *s, const char *text, struct err *e)
{
    if (text[0] == '@') {
        s->special = text;
        return ERR_OK;
    }
    int code;
    size_t at;
    s->code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C, &code, &at,
                            NULL);
    if (!s->code) {
        char why[128] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof(why));
        return err_set(e, ERR_CORRUPT, "pre-tokeniser expression fails at %zu: %s", at, why);
    }
    (void)pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE); /* without it the interpreter runs: same result, slower */
    return ERR_OK;
}

enum err_code pretok_new(const struct pretok_rule *rule, struct pretok **out, struct err *e)
{
    struct pretok *p = MEM_NEW(struct pretok);
    p->limits = pcre2_match_context_create(NULL);
    ASSERT(p->limits);
    pcre2_set_match_limit(p->limits, MATCH_LIMIT);
    pcre2_set_heap_limit(p->limits, HEAP_LIMIT_KIB);
    for (int i = 0; i < PRETOK_STAGES_MAX && rule->stage[i]; i++) {
        p->stages++;
        if (compile(&p->stage[i], rule->stage[i], e)) {
            pretok_free(p);
            return ERR_CORRUPT;
        }
    }
    *out = p;
    return ERR_OK;
}

void pretok_cuts_release(struct pretok_cuts *cuts)
{
    mem_free(cuts->end);
    *cuts = (struct pretok_cuts){ 0 };
}

/* A piece ends at end; an empty one is not kept. */
static void cut(struct pretok_cuts *cuts, size_t end)
{
    if (cuts->count ? cuts->end[cuts->count - 1] == end : end == 0)
        return;
    if (cuts->count == cuts->cap) {
        cuts->cap = cuts->cap ? cuts->cap * 2 : 256;
        cuts->end = mem_grow(cuts->end, cuts->cap, sizeof(*cuts->end));
    }
    cuts->end[cuts->count++] = (uint32_t)end;
}

static bool is_number(uint32_t cp)
{
    utf8proc_category_t c = utf8proc_category((utf8proc_int32_t)cp);
    return c == UTF8PROC_CATEGORY_ND || c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_NO;
}

static bool is_ascii_digit(uint32_t cp)
{
    return cp >= '0' && cp <= '9';
}

/* Where the run of digits at text[at..end) stops; *count its length in characters. */
static size_t digits_end(const char *text, size_t at, size_t end, bool (*digit)(uint32_t), size_t *count)
{
    uint32_t cp;
    *count = 0;
    while (at < end) {
        int len = utf8_decode(text + at, end - at, &cp);
        if (!digit(cp))
            break;
        at += (size_t)len;
        ++*count;
    }
    return at;
}

/* Both special stages: groups of three from the right. before: cut before each group, else after it. */
static void cut_digits(const char *text, size_t start, size_t end, bool before, struct pretok_cuts *cuts)
{
    bool (*digit)(uint32_t) = before ? is_ascii_digit : is_number;
    uint32_t cp;
    for (size_t at = start; at < end;) {
        size_t count;
        size_t stop = digits_end(text, at, end, digit, &count);
        if (count == 0) {
            at += (size_t)utf8_decode(text + at, end - at, &cp);
            continue;
        }
        for (size_t left = count; left > 0; left--) {
            if (before && left % 3 == 0 && at > start)
                cut(cuts, at);
            at += (size_t)utf8_decode(text + at, end - at, &cp);
            if (!before && (left - 1) % 3 == 0)
                cut(cuts, at);
        }
        ASSERT(at == stop);
    }
    cut(cuts, end);
}

/* Cuts text[start..end) by one expression. */
static enum err_code cut_regex(const struct pretok *p, const struct stage *s, pcre2_match_data *found,
                               const char *text, size_t start, size_t end, struct pretok_cuts *cuts, struct err *e)
{
    PCRE2_SPTR piece = (PCRE2_SPTR)text + start;
    size_t n = end - start, at = 0;
    while (at < n) {
        int r = pcre2_match(s->code, piece, n, at, PCRE2_NO_UTF_CHECK, found, p->limits);
        if (r == PCRE2_ERROR_NOMATCH)
            break;
        if (r < 0)
            return err_set(e, ERR_LIMIT, "the text is too tangled for the pre-tokeniser (PCRE2 error %d)", r);
        const size_t *span = pcre2_get_ovector_pointer(found);
        ASSERT(span[1] > span[0]); /* no expression of the table matches nothing */
        if (span[0] > 0)
            cut(cuts, start + span[0]);
        cut(cuts, start + span[1]);
        at = span[1];
    }
    cut(cuts, end);
    return ERR_OK;
}

enum err_code pretok_split(const struct pretok *p, const char *text, size_t n, struct pretok_cuts *cuts,
                           struct err *e)
{
    ASSERT(n < UINT32_MAX);
    struct pretok_cuts now = { 0 };
    enum err_code c = ERR_OK;
    pcre2_match_data *found = pcre2_match_data_create(1, NULL);
    ASSERT(found);
    cuts->count = 0;
    cut(cuts, n);
    for (int i = 0; i < p->stages && !c; i++) {
        const struct stage *s = &p->stage[i];
        struct pretok_cuts swap = now;
        now = *cuts;
        *cuts = swap;
        cuts->count = 0;
        size_t start = 0;
        for (size_t k = 0; k < now.count && !c; k++) {
            if (s->special)
                cut_digits(text, start, now.end[k], !strcmp(s->special, PRETOK_THOUSANDS), cuts);
            else
                c = cut_regex(p, s, found, text, start, now.end[k], cuts, e);
            start = now.end[k];
        }
    }
    pcre2_match_data_free(found);
    pretok_cuts_release(&now);
    return c;
}
