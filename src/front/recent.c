/* recent -- see recent.h. */
#include "front/recent.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKEN_FIGURES = 3, TIME_FIGURES = 4 };
static const char *const token_names[TOKEN_FIGURES] = { "prompt_tokens", "cached_tokens", "completion_tokens" };
static const char *const time_names[TIME_FIGURES] = { "queue_ms", "prefill_ms", "decode_ms", "total_ms" };

struct recent_line {
    enum { LINE_FREE, LINE_WAITING, LINE_RUNNING, LINE_DONE } state;
    char id[64], model[96], tenant[64];
    const char *path;
    int status;
    bool counted;                           /* the engine has its prompt */
    int64_t priority, deadline_ms;
    int64_t started_ms, started_ns, serial; /* serial: of its start while it runs, then of its end */
    int64_t tokens[TOKEN_FIGURES];
    double times[TIME_FIGURES];
    struct recents *all;
};

struct recents {
    struct recent_line lines[RECENT_LINES];
    int64_t serial;
};

struct recents *recents_new(void)
{
    return MEM_NEW(struct recents);
}

void recents_free(struct recents *r)
{
    mem_free(r);
}

struct recent_line *recent_open(struct recents *r, const char *id, const char *path, const char *model)
{
    struct recent_line *l = NULL;
    for (int i = 0; i < RECENT_LINES; i++) {
        struct recent_line *c = &r->lines[i];
        bool over = c->state == LINE_FREE || c->state == LINE_DONE;
        if (over && (!l || (c->state != l->state ? c->state == LINE_FREE : c->serial < l->serial)))
            l = c;
    }
    if (!l)
        return NULL;
    *l = (struct recent_line){ .state = LINE_WAITING, .path = path, .started_ms = clock_wall_ns() / 1000000, .all = r,
                               .started_ns = clock_mono_ns(), .serial = ++r->serial };
    snprintf(l->id, sizeof l->id, "%s", id);
    snprintf(l->model, sizeof l->model, "%s", model);
    return l;
}

void recent_tenant(struct recent_line *l, const char *name)
{
    if (l)
        snprintf(l->tenant, sizeof l->tenant, "%s", name ? name : "");
}

void recent_claim(struct recent_line *l, int64_t priority, int64_t deadline_ms)
{
    if (!l)
        return;
    l->priority = priority;
    l->deadline_ms = deadline_ms;
}

void recent_figures(struct recent_line *l, const json_t *frame)
{
    if (!l)
        return;
    const json_t *usage = json_object_get(frame, "usage");
    for (int i = 0; i < TOKEN_FIGURES; i++)
        l->tokens[i] = json_integer_value(json_object_get(usage ? usage : frame, token_names[i]));
    for (int i = 0; i < TIME_FIGURES; i++)
        l->times[i] = json_number_value(json_object_get(frame, time_names[i]));
    l->counted = true;
    l->state = json_is_true(json_object_get(frame, "queued")) ? LINE_WAITING : LINE_RUNNING;
}

void recent_close(struct recent_line *l, int status)
{
    if (!l)
        return;
    l->state = LINE_DONE;
    l->status = status;
    l->serial = ++l->all->serial;
    if (l->times[TIME_FIGURES - 1] <= 0)
        l->times[TIME_FIGURES - 1] = (double)(clock_mono_ns() - l->started_ns) / 1e6;
}

static int newest_first(const void *a, const void *b)
{
    const struct recent_line *x = *(struct recent_line *const *)a, *y = *(struct recent_line *const *)b;
    int done = (x->state == LINE_DONE) - (y->state == LINE_DONE);
    return done ? done : x->serial < y->serial ? 1 : -1;
}

static void put_line(const struct recent_line *l, struct buf *out)
{
    static const char *const states[] = { "", "waiting", "running", "done" };
    const char *why = l->state != LINE_WAITING ? "" : l->counted ? "its turn" : "the model";
    const char *const texts[][2] = { { "id", l->id }, { "path", l->path }, { "model", l->model },
                                     { "tenant", l->tenant }, { "state", states[l->state] }, { "waits_for", why } };
    for (size_t i = 0; i < MEM_COUNT(texts); i++) {
        buf_printf(out, "%s\"%s\":", i ? "," : "{", texts[i][0]);
        jsonx_quote(texts[i][1], strlen(texts[i][1]), out);
    }
    buf_printf(out, ",\"status\":%d,\"started_ms\":%lld", l->status, (long long)l->started_ms);
    buf_printf(out, ",\"priority\":%lld,\"deadline_ms\":%lld", (long long)l->priority, (long long)l->deadline_ms);
    for (int i = 0; i < TOKEN_FIGURES; i++)
        buf_printf(out, ",\"%s\":%lld", i == TOKEN_FIGURES - 1 ? "output_tokens" : token_names[i],
                   (long long)l->tokens[i]);
    for (int i = 0; i < TIME_FIGURES; i++)
        buf_printf(out, ",\"%s\":%.1f", time_names[i], l->times[i]);
    buf_putc(out, '}');
}

void recents_json(const struct recents *r, const char *tenant, struct buf *out)
{
    const struct recent_line *order[RECENT_LINES];
    size_t n = 0;
    for (int i = 0; i < RECENT_LINES; i++)
        if (r->lines[i].state != LINE_FREE && (!tenant || !strcmp(tenant, r->lines[i].tenant)))
            order[n++] = &r->lines[i];
    qsort(order, n, sizeof *order, newest_first);
    buf_puts(out, "{\"requests\":[");
    for (size_t i = 0; i < n; i++) {
        buf_puts(out, i ? "," : "");
        put_line(order[i], out);
    }
    buf_puts(out, "]}");
}
