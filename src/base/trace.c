/* trace -- see trace.h. A line is a request; the first wrong line is named. */
#include "base/trace.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FILE_MAX = 1 << 30, LINE_MAX_BYTES = 1 << 20, BLOCKS_MAX = 1 << 26, NS_DIGITS = 9 };
static const int64_t ns_per_s = 1000000000;

void trace_release(struct trace *t)
{
    mem_free(t->request);
    mem_free(t->block);
    *t = (struct trace){ 0 };
}

static struct trace_request *add(struct trace *t)
{
    if (t->count == t->cap) {
        t->cap = t->cap ? t->cap * 2 : 1024;
        t->request = mem_grow(t->request, t->cap, sizeof(*t->request));
    }
    struct trace_request *r = &t->request[t->count++];
    *r = (struct trace_request){ .first_block = (uint32_t)t->block_count };
    return r;
}

static void add_block(struct trace *t, int64_t id)
{
    if (t->block_count == t->block_cap) {
        t->block_cap = t->block_cap ? t->block_cap * 2 : 1024;
        t->block = mem_grow(t->block, t->block_cap, sizeof(*t->block));
    }
    t->block[t->block_count++] = id;
}

/* "2023-11-16 18:15:46.6805900", in UTC, with any number of decimals. */
static bool parse_time(const char *s, int64_t *ns)
{
    int year, month, day, hour, minute, second, used = 0;
    if (sscanf(s, "%4d-%2d-%2d%*1[ T]%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second, &used) < 6 || !used)
        return false;
    if (year < 1970 || year > 2200)
        return false;
    struct tm tm = { .tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day, .tm_hour = hour, .tm_min = minute,
                     .tm_sec = second };
    int64_t fraction = 0;
    int digits = 0;
    for (s += used; (*s == '.' && !digits) || (*s >= '0' && *s <= '9'); s++)
        if (*s != '.' && digits < NS_DIGITS) {
            fraction = fraction * 10 + (*s - '0');
            digits++;
        }
    for (; digits < NS_DIGITS; digits++)
        fraction *= 10;
    *ns = (int64_t)timegm(&tm) * ns_per_s + fraction;
    return true;
}

static bool parse_csv(char *line, struct trace *t, int64_t *ns)
{
    char *prompt = strchr(line, ','), *output = prompt ? strchr(prompt + 1, ',') : NULL, *end;
    if (!output || !parse_time(line, ns))
        return false;
    long p = strtol(prompt + 1, &end, 10);
    if (end == prompt + 1 || end != output)
        return false;
    long o = strtol(output + 1, &end, 10);
    if (end == output + 1 || *end || p < 0 || o < 0 || p > TRACE_TOKENS_MAX || o > TRACE_TOKENS_MAX)
        return false;
    struct trace_request *r = add(t);
    r->prompt_tokens = (int32_t)p;
    r->output_tokens = (int32_t)o;
    return true;
}

static bool parse_json(const char *line, size_t n, struct trace *t, int64_t *ns, struct err *e)
{
    json_t *j = jsonx_parse(line, n, e), *id;
    int64_t ms = -1, p = -1, o = -1;
    size_t i;
    bool ok = json_is_object(j) && !jsonx_get_int(j, "timestamp", 0, INT64_MAX / 1000000, &ms, e) &&
              !jsonx_get_int(j, "input_length", 0, TRACE_TOKENS_MAX, &p, e) &&
              !jsonx_get_int(j, "output_length", 0, TRACE_TOKENS_MAX, &o, e) && ms >= 0 && p >= 0 && o >= 0;
    if (ok) {
        struct trace_request *r = add(t);
        r->prompt_tokens = (int32_t)p;
        r->output_tokens = (int32_t)o;
        *ns = ms * 1000000;
        json_array_foreach(json_object_get(j, "hash_ids"), i, id)
            if (t->block_count < BLOCKS_MAX) {
                add_block(t, json_integer_value(id));
                r->blocks++;
            }
    }
    json_decref(j);
    return ok;
}

static int by_time(const void *a, const void *b)
{
    const struct trace_request *x = a, *y = b;
    if (x->at_ns != y->at_ns)
        return x->at_ns < y->at_ns ? -1 : 1;
    return x->first_block < y->first_block ? -1 : x->first_block > y->first_block;
}

enum err_code trace_parse(const char *text, size_t n, const char *name, size_t most, struct trace *out, struct err *e)
{
    struct trace t = { 0 };
    bool json = n && text[0] == '{';
    size_t at = 0, limit = most && most < TRACE_REQUESTS_MAX ? most : TRACE_REQUESTS_MAX;
    for (int line = 1; at < n && t.count < limit; line++) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - text) - at : n - at, next = at + len + (end != NULL);
        if (len && text[at + len - 1] == '\r')
            len--;
        int64_t ns = 0;
        struct err why = { 0 };
        if (len && !(line == 1 && !json)) { /* CSV: the first line names the columns */
            char *copy = mem_strndup(text + at, len < LINE_MAX_BYTES ? len : LINE_MAX_BYTES);
            bool ok = json ? parse_json(copy, strlen(copy), &t, &ns, &why) : parse_csv(copy, &t, &ns);
            mem_free(copy);
            if (!ok) {
                trace_release(&t);
                return err_set(e, ERR_CORRUPT, "%s: line %d is no request of a trace%s%.200s", name, line,
                               why.text[0] ? ": " : " (timestamp,prompt tokens,generated tokens)", why.text);
            }
            t.request[t.count - 1].at_ns = ns;
        }
        at = next;
    }
    if (t.count == 0)
        return err_set(e, ERR_INVALID, "%s: holds no requests", name);
    qsort(t.request, t.count, sizeof(*t.request), by_time);
    int64_t first = t.request[0].at_ns;
    for (size_t i = 0; i < t.count; i++)
        t.request[i].at_ns -= first;
    *out = t;
    return ERR_OK;
}

enum err_code trace_read(const char *path, size_t most, struct trace *out, struct err *e)
{
    struct buf b = { 0 };
    enum err_code c = file_read(path, FILE_MAX, &b, e);
    if (!c)
        c = trace_parse(buf_str(&b), b.len, path, most, out, e);
    buf_release(&b);
    return c;
}
