/* batch_line -- an input file's lines: {"custom_id", "method", "url", "body"}, all checked before any is run. Of a body
 * nothing is looked at but that it is an object. */
#include "base/mem.h"
#include "front/batches_impl.h"
#include "net/digest.h"

#include <stdlib.h>
#include <string.h>

enum { CUSTOM_ID, METHOD, URL, BODY, MEMBERS, CUSTOM_ID_MAX = 256 };
static const char *const members[MEMBERS] = { "custom_id", "method", "url", "body" };

static bool quoted_is(struct http_slice s, const char *text)
{
    size_t n = strlen(text);
    return s.n == n + 2 && s.p[0] == '"' && !memcmp(s.p + 1, text, n);
}

static enum err_code read_line(const char *text, size_t n, const char *endpoint, struct batch_line *out, struct err *e)
{
    struct http_slice m[MEMBERS];
    if (envelope_members(text, n, members, MEMBERS, m, e))
        return ERR_INVALID;
    if (!m[CUSTOM_ID].p || m[CUSTOM_ID].p[0] != '"' || m[CUSTOM_ID].n < 3 || m[CUSTOM_ID].n > CUSTOM_ID_MAX + 2)
        return err_set(e, ERR_INVALID, "'custom_id' must be text of 1 to %d bytes", CUSTOM_ID_MAX);
    if (m[METHOD].p && !quoted_is(m[METHOD], "POST"))
        return err_set(e, ERR_INVALID, "'method' must be POST");
    if (!m[URL].p || !quoted_is(m[URL], endpoint))
        return err_set(e, ERR_INVALID, "'url' must be the batch's endpoint, %s", endpoint);
    if (!m[BODY].p || m[BODY].p[0] != '{')
        return err_set(e, ERR_INVALID, "'body' must be an object");
    *out = (struct batch_line){ m[CUSTOM_ID], { m[URL].p + 1, m[URL].n - 2 }, m[BODY] };
    return ERR_OK;
}

/* A line's place and the beginning of its custom_id's digest, for finding twins. */
struct mark {
    uint64_t digest;
    int line;
};

static int by_digest(const void *a, const void *b)
{
    const struct mark *x = a, *y = b;
    return x->digest != y->digest ? x->digest < y->digest ? -1 : 1 : (x->line > y->line) - (x->line < y->line);
}

static enum err_code refuse_twins(const struct batch_line *lines, int count, int *line, struct err *e)
{
    struct mark *marks = mem_new((size_t)count, sizeof *marks);
    enum err_code c = ERR_OK;
    for (int i = 0; i < count; i++) {
        uint8_t digest[DIGEST_BYTES];
        digest_sha256(lines[i].custom_id.p, lines[i].custom_id.n, digest);
        memcpy(&marks[i].digest, digest, sizeof marks[i].digest);
        marks[i].line = i + 1;
    }
    qsort(marks, (size_t)count, sizeof *marks, by_digest);
    for (int i = 1; i < count && !c; i++)
        if (marks[i].digest == marks[i - 1].digest) {
            *line = marks[i].line;
            c = err_set(e, ERR_INVALID, "its custom_id is that of line %d too", marks[i - 1].line);
        }
    mem_free(marks);
    return c;
}

enum err_code batch_lines_read(const char *text, size_t n, const char *endpoint, struct batch_line **out, int *count,
                               int *line, struct err *e)
{
    struct batch_line *lines = NULL;
    enum err_code c = ERR_OK;
    int found = 0, cap = 0;
    *line = 0;
    for (const char *p = text, *end = text + n; p < end && !c;) {
        const char *lf = memchr(p, '\n', (size_t)(end - p));
        size_t len = (size_t)((lf ? lf : end) - p);
        size_t blank = 0;
        while (blank < len && strchr(" \t\r", p[blank]))
            blank++;
        ++*line;
        if (blank < len && found == BATCH_LINES_MAX)
            c = err_set(e, ERR_LIMIT, "a batch has at most %d lines", BATCH_LINES_MAX);
        if (blank < len && !c) {
            if (found == cap) {
                cap = cap ? cap * 2 : 64;
                lines = mem_grow(lines, (size_t)cap, sizeof *lines);
            }
            c = read_line(p, len, endpoint, &lines[found++], e);
        }
        p += len + (lf != NULL);
    }
    if (!c && !found)
        c = err_set(e, ERR_INVALID, "the file has no line");
    if (!c)
        c = refuse_twins(lines, found, line, e);
    if (c) {
        mem_free(lines);
        return c;
    }
    *out = lines;
    *count = found;
    return ERR_OK;
}
