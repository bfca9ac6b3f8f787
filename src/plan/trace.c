/* trace -- see trace.h. */
#include "plan/trace.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "plan/prefix.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TRACE_REQUESTS_MAX = 1 << 24, TRACE_HASHES_MAX = 1 << 26 };

static struct trace_request *add_request(struct trace *t, int *cap)
{
    if (t->count == *cap) {
        *cap = *cap ? 2 * *cap : 1024;
        t->requests = mem_grow(t->requests, (size_t)*cap, sizeof *t->requests);
    }
    t->requests[t->count] = (struct trace_request){ 0 };
    return &t->requests[t->count++];
}

/* Days since 1970-01-01 of a Gregorian date (Howard Hinnant's days_from_civil). */
static int64_t days_of(int y, int m, int d)
{
    y -= m <= 2;
    int era = (y >= 0 ? y : y - 399) / 400, yoe = y - era * 400;
    int doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1, doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return (int64_t)era * 146097 + doe - 719468;
}

/* "2023-11-16 18:17:03.9799600,4808,10" */
static enum err_code csv_line(const char *line, int number, struct trace *t, int *cap, struct err *e)
{
    int y, mo, d, h, mi, s, used = 0, input, output;
    if (sscanf(line, "%4d-%2d-%2d %2d:%2d:%2d%n", &y, &mo, &d, &h, &mi, &s, &used) != 6 || mo < 1 || mo > 12)
        return err_set(e, ERR_INVALID, "line %d: no time like 2023-11-16 18:17:03.97", number);
    int64_t ns = ((days_of(y, mo, d) * 24 + h) * 60 + mi) * 60 + s, scale = 100000000;
    ns *= 1000000000;
    const char *p = line + used;
    for (p += *p == '.'; *p >= '0' && *p <= '9'; p++, scale /= 10)
        ns += (*p - '0') * scale;
    if (sscanf(p, ",%9d,%9d", &input, &output) != 2 || input < 0 || output < 0)
        return err_set(e, ERR_INVALID, "line %d: wants TIMESTAMP,ContextTokens,GeneratedTokens", number);
    struct trace_request *r = add_request(t, cap);
    r->at_ns = ns;
    r->input = input > 0 ? input : 1;
    r->output = output > 0 ? output : 1;
    return ERR_OK;
}

static enum err_code json_line(const char *line, size_t n, int number, struct trace *t, int caps[2], struct err *e)
{
    int64_t at = 0, input = 0, output = 0;
    json_t *v = jsonx_parse(line, n, e);
    enum err_code c = !v ? ERR_INVALID : jsonx_get_int(v, "timestamp", 0, INT64_MAX / 1000000, &at, e);
    c = c ? c : jsonx_get_int(v, "input_length", 0, INT32_MAX, &input, e);
    c = c ? c : jsonx_get_int(v, "output_length", 0, INT32_MAX, &output, e);
    if (!c) {
        const json_t *ids = json_object_get(v, "hash_ids");
        struct trace_request *r = add_request(t, &caps[0]);
        *r = (struct trace_request){ at * 1000000, (int32_t)(input ? input : 1), (int32_t)(output ? output : 1),
                                     t->hash_count, (int32_t)json_array_size(ids) };
        for (size_t i = 0; i < json_array_size(ids) && t->hash_count < TRACE_HASHES_MAX; i++) {
            if (t->hash_count == caps[1]) {
                caps[1] = caps[1] ? 2 * caps[1] : 4096;
                t->hashes = mem_grow(t->hashes, (size_t)caps[1], sizeof *t->hashes);
            }
            t->hashes[t->hash_count++] = json_integer_value(json_array_get(ids, i));
        }
        r->hash_count = t->hash_count - r->first_hash;
    }
    json_decref(v);
    return c ? err_prefix(e, "line %d", number) : ERR_OK;
}

static int by_time(const void *a, const void *b)
{
    const struct trace_request *x = a, *y = b;
    return x->at_ns < y->at_ns ? -1 : x->at_ns > y->at_ns;
}

static enum err_code read_lines(char *text, struct trace *t, struct err *e)
{
    int caps[2] = { 0, 0 }, number = 0, csv_cap = 0;
    bool json = *text == '{';
    for (char *line = text, *next; line && *line; line = next) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        number++;
        size_t n = strcspn(line, "\r");
        line[n] = '\0';
        if (!n || (number == 1 && !json && (line[0] < '0' || line[0] > '9')))
            continue; /* a heading */
        if (t->count == TRACE_REQUESTS_MAX)
            return err_set(e, ERR_LIMIT, "more than %d requests", TRACE_REQUESTS_MAX);
        enum err_code c = json ? json_line(line, n, number, t, caps, e) : csv_line(line, number, t, &csv_cap, e);
        if (c)
            return c;
    }
    return t->count ? ERR_OK : err_set(e, ERR_INVALID, "there is no request in it");
}

enum err_code trace_read(const char *path, struct trace *out, struct err *e)
{
    struct buf b = { 0 };
    *out = (struct trace){ 0 };
    enum err_code c = file_read(path, TRACE_BYTES_MAX, &b, e);
    if (!c && (c = b.len ? read_lines(b.data, out, e) : err_set(e, ERR_INVALID, "the file is empty")))
        err_prefix(e, "%s", path);
    buf_release(&b);
    if (c) {
        trace_release(out);
        return c;
    }
    qsort(out->requests, (size_t)out->count, sizeof *out->requests, by_time);
    int64_t start = out->requests[0].at_ns;
    for (int i = 0; i < out->count; i++)
        out->requests[i].at_ns -= start;
    return ERR_OK;
}

void trace_release(struct trace *t)
{
    mem_free(t->requests);
    mem_free(t->hashes);
    *t = (struct trace){ 0 };
}

static int by_value(const void *a, const void *b)
{
    return (*(const int32_t *)a > *(const int32_t *)b) - (*(const int32_t *)a < *(const int32_t *)b);
}

static double median(int32_t *v, int n)
{
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2.0;
}

void trace_facts(const struct trace *t, struct trace_facts *out)
{
    int32_t *in = mem_new((size_t)t->count, sizeof *in), *gen = mem_new((size_t)t->count, sizeof *gen);
    struct prefix *all = prefix_new(t->hash_count + 1);
    double hits = 0;
    *out = (struct trace_facts){ .requests = t->count, .seconds = (double)t->requests[t->count - 1].at_ns / 1e9 };
    for (int i = 0; i < t->count; i++) {
        const struct trace_request *r = &t->requests[i];
        in[i] = r->input;
        gen[i] = r->output;
        out->input_mean += (double)r->input / t->count;
        out->output_mean += (double)r->output / t->count;
        if (r->hash_count)
            hits += prefix_touch(all, t->hashes + r->first_hash, r->hash_count);
    }
    out->prefix_hit = t->hash_count ? hits / t->hash_count : 0;
    out->input_median = median(in, t->count);
    out->output_median = median(gen, t->count);
    prefix_free(all);
    mem_free(in);
    mem_free(gen);
}
