/* window -- prompts that do not fit: refused with both numbers, unless the request says what may be left out; what was
 * left out is said in the answer (docs/api.md, Context).
 *
 *   truncate_prompt_tokens N    the prompt keeps its last N tokens; -1: as many as leave room for the answer
 *   context_overflow "rolling"  the conversation loses its oldest turns: a turn is a user's message and what follows
 *                               it up to the next one. Instructions at the beginning and the last turn always stay. */
#include "api/window.h"

#include "base/assert.h"
#include "base/mem.h"

#include <string.h>

/* Tokens that the answer should find free: what it may have, or a quarter of the context. */
static int reserve_of(const struct api_job *j)
{
    int ctx = j->model->ctx, want = j->params.max_tokens;
    return want <= 0 ? ctx / 4 : want < ctx ? want : ctx - 1;
}

bool api_window_read(struct api_job *j, const json_t *body, struct api_error *error)
{
    const char *overflow = "refuse";
    int64_t keep = 0;
    struct err e;
    if (jsonx_get_int(body, "truncate_prompt_tokens", -1, INT32_MAX, &keep, &e))
        return api_refuse(error, 400, "truncate_prompt_tokens", "invalid_value", "%s", e.text);
    if (keep >= j->model->ctx)
        return api_refuse(error, 400, "truncate_prompt_tokens", "invalid_value", "'truncate_prompt_tokens' is %lld; "
                          "the context of the model '%s' holds %d with the answer", (long long)keep, j->model->id,
                          j->model->ctx);
    if (jsonx_get_string(body, "context_overflow", &overflow, &e) ||
        (strcmp(overflow, "refuse") && strcmp(overflow, "rolling")))
        return api_refuse(error, 400, "context_overflow", "invalid_value",
                          "'context_overflow' must be refuse or rolling");
    j->window.rolling = !strcmp(overflow, "rolling");
    j->window.keep = (int)keep;
    j->window.asked = keep || j->window.rolling;
    return true;
}

void api_window_cut(struct api_job *j)
{
    int ctx = j->model->ctx, keep = j->window.keep < 0 ? ctx - reserve_of(j) : j->window.keep;
    keep = j->window.keep && keep < 1 ? 1 : keep;
    for (int i = 0; keep && i < j->prompt_count; i++) {
        struct vocab_ids *ids = &j->prompts[i];
        size_t drop = ids->count > (size_t)keep ? ids->count - (size_t)keep : 0;
        memmove(ids->v, ids->v + drop, (ids->count - drop) * sizeof *ids->v);
        ids->count -= drop;
        j->window.cut_tokens += (int)drop;
    }
}

/* ---- the rolling window */

static bool role_is(const json_t *message, const char *role)
{
    const char *r = json_string_value(json_object_get(message, "role"));
    return r && !strcmp(r, role);
}

/* Where each turn begins, the first instruction-free message included: at[0..count). */
static int find_turns(const json_t *messages, size_t *at)
{
    size_t n = json_array_size(messages), first = 0;
    int count = 0;
    while (first < n && role_is(json_array_get(messages, first), "system"))
        first++;
    for (size_t i = first; i < n; i++)
        if (i == first || role_is(json_array_get(messages, i), "user"))
            at[count++] = i;
    return count;
}

/* The messages without those from at[0] up to at[turns]. */
static json_t *without(const json_t *messages, const size_t *at, int turns)
{
    json_t *kept = json_array();
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (i < at[0] || i >= at[turns])
            json_array_append(kept, json_array_get(messages, i));
    return kept;
}

static bool fits(struct api_job *j, json_t *context, const json_t *messages, const size_t *at, int turns,
                 api_count_fn *count)
{
    json_t *kept = without(messages, at, turns);
    json_object_set_new(context, "messages", kept);
    long tokens = count(j, context);
    return tokens >= 0 && tokens + reserve_of(j) <= j->model->ctx;
}

void api_window_roll(struct api_job *j, json_t *context, json_t *messages, api_count_fn *count)
{
    if (!j->window.rolling)
        return;
    size_t *at = mem_new(json_array_size(messages) + 1, sizeof *at);
    int turns = find_turns(messages, at), lo = 0, hi = turns > 0 ? turns - 1 : 0; /* fewest dropped that fit */
    if (hi && !fits(j, context, messages, at, 0, count)) {
        while (hi - lo > 1) { /* lo turns are too few */
            int mid = lo + (hi - lo) / 2;
            if (fits(j, context, messages, at, mid, count))
                hi = mid;
            else
                lo = mid;
        }
        j->window.dropped_messages = (int)(at[hi] - at[0]);
        for (size_t i = at[hi]; i > at[0]; i--)
            json_array_remove(messages, at[0]);
    }
    json_object_set(context, "messages", messages);
    mem_free(at);
}

void api_window_report(const struct api_job *j, struct buf *out)
{
    if (j->window.asked)
        buf_printf(out, ",\"context\":{\"truncated_tokens\":%d,\"dropped_messages\":%d}", j->window.cut_tokens,
                   j->window.dropped_messages);
}
