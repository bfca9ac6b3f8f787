/* reply -- see reply.h: thoughts and text. Calls are read in reply_call.c. */
#include "api/reply_run.h"

#include "base/mem.h"

#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

/* ---- tags */

enum match reply_match(const char *want, const struct buf *raw, size_t *used)
{
    size_t i = 0;
    for (; *want; ) {
        if (i == raw->len)
            return MATCH_PART;
        if (raw->data[i] == *want)
            i++, want++;
        else if (is_space(*want))
            want++;
        else if (is_space(raw->data[i]))
            i++;
        else
            return MATCH_NO;
    }
    *used = i;
    return MATCH_YES;
}

size_t reply_held(const char *text, size_t n, const char *tag)
{
    size_t len = strlen(tag), most = n < len ? n : len ? len - 1 : 0;
    for (size_t k = most; k; k--)
        if (!memcmp(text + n - k, tag, k))
            return k;
    return 0;
}

void reply_text(struct reply *r, enum api_delta_kind kind, const char *text, size_t n)
{
    if (n)
        r->emit(r->user, &(struct api_delta){ .kind = kind, .call = r->calls - 1, .text = text, .length = n });
}

static size_t find(const struct buf *b, const char *tag)
{
    const char *at = *tag && b->len ? memmem(b->data, b->len, tag, strlen(tag)) : NULL;
    return at ? (size_t)(at - b->data) : SIZE_MAX;
}

static size_t spaces_before(const struct buf *b, size_t n)
{
    size_t k = 0;
    while (k < n && is_space(b->data[n - 1 - k]))
        k++;
    return k;
}

static size_t spaces_at_front(const struct buf *b)
{
    size_t k = 0;
    while (k < b->len && is_space(b->data[k]))
        k++;
    return k;
}

/* ---- thoughts */

static bool step_thought(struct reply *r)
{
    const char *close = r->s.form->think_close;
    if (r->trim)
        buf_drop_front(&r->raw, spaces_at_front(&r->raw));
    size_t at = find(&r->raw, close);
    bool found = at != SIZE_MAX;
    size_t n = found ? at : r->raw.len - (r->ended ? 0 : reply_held(buf_str(&r->raw), r->raw.len, close));
    n -= spaces_before(&r->raw, n);
    reply_text(r, API_REASONING, buf_str(&r->raw), n);
    r->trim = r->trim && !n;
    buf_drop_front(&r->raw, found ? at + strlen(close) : n);
    if (found) {
        r->at = REPLY_BODY;
        r->fresh = r->trim = true;
    }
    return found;
}

/* ---- text */

static const char *marker(const struct reply *r)
{
    return r->s.tools && r->s.form->shape != CALLS_NONE ? r->s.form->marker : NULL;
}

/* What may begin at the front of an answer. */
enum front { FRONT_TEXT, FRONT_THOUGHT, FRONT_CALL, FRONT_TAG };
struct finding {
    enum front kind;
    size_t used;    /* bytes of the longest that is there */
    bool part;      /* something longer may still come */
};

static void look_for(const struct buf *text, const char *tag, enum front kind, struct finding *f)
{
    size_t used = 0;
    enum match m = tag ? reply_match(tag, text, &used) : MATCH_NO;
    f->part |= m == MATCH_PART;
    if (m == MATCH_YES && used > f->used) {
        f->kind = kind;
        f->used = used;
    }
}

/* true: a thought, a call or a tag is there, or the text goes on as text; false: more is needed. */
static bool step_fresh(struct reply *r)
{
    const struct calls_form *f = r->s.form;
    size_t lead = spaces_at_front(&r->raw);
    struct buf rest = { .data = r->raw.data ? r->raw.data + lead : NULL, .len = r->raw.len - lead };
    struct finding found = { .part = !rest.len };
    if (r->s.thoughts) {
        look_for(&rest, f->think_open, FRONT_THOUGHT, &found);
        look_for(&rest, f->think_close, FRONT_TAG, &found); /* the end of no thought at all */
    }
    look_for(&rest, marker(r), FRONT_CALL, &found);
    for (int i = 0; i < f->skips; i++)
        look_for(&rest, f->skip[i], FRONT_TAG, &found);
    if (found.part && !r->ended)
        return false;
    if (found.kind == FRONT_CALL) {
        buf_drop_front(&r->raw, lead);
        reply_call_begin(r, true);
        return true;
    }
    if (found.kind == FRONT_TEXT) {
        r->fresh = false;
        return true;
    }
    buf_drop_front(&r->raw, lead + found.used);
    r->trim = true;
    if (found.kind == FRONT_THOUGHT)
        r->at = REPLY_THOUGHT;
    return true;
}

/* White space before a tag goes with the tag; a bare marker is none within a text. */
static bool step_text(struct reply *r)
{
    const struct calls_form *f = r->s.form;
    if (r->trim)
        buf_drop_front(&r->raw, spaces_at_front(&r->raw));
    const char *call = f->bare ? NULL : marker(r);
    size_t at = call ? find(&r->raw, call) : SIZE_MAX, n = r->raw.len, held = 0;
    int skip = -1;
    for (int i = 0; i < f->skips; i++) {
        size_t k = find(&r->raw, f->skip[i]);
        if (k < at) {
            at = k;
            skip = i;
        }
        size_t h = reply_held(buf_str(&r->raw), r->raw.len, f->skip[i]);
        held = h > held ? h : held;
    }
    if (call) {
        size_t h = reply_held(buf_str(&r->raw), r->raw.len, call);
        held = h > held ? h : held;
    }
    n = at != SIZE_MAX ? at : r->ended ? n : n - held;
    if (at != SIZE_MAX || (call && !r->ended))
        n -= spaces_before(&r->raw, n);
    reply_text(r, API_TEXT, buf_str(&r->raw), n);
    r->trim = r->trim && !n;
    if (at == SIZE_MAX) {
        buf_drop_front(&r->raw, n);
        return false;
    }
    buf_drop_front(&r->raw, skip >= 0 ? at + strlen(f->skip[skip]) : at);
    r->fresh = r->trim = skip >= 0;
    if (skip < 0)
        reply_call_begin(r, true);
    return true;
}

static bool step_body(struct reply *r)
{
    if (r->fresh && !step_fresh(r))
        return false;
    if (r->at != REPLY_BODY || r->fresh)
        return true;
    return step_text(r);
}

/* ---- the machine */

static bool step(struct reply *r)
{
    switch (r->at) {
    case REPLY_START:
        r->at = r->s.in_thought ? REPLY_THOUGHT : REPLY_BODY;
        r->fresh = true;
        r->trim = r->s.in_thought;
        return true;
    case REPLY_THOUGHT: return step_thought(r);
    case REPLY_BODY: return step_body(r);
    default: return reply_call_step(r);
    }
}

struct reply *reply_new(const struct reply_spec *s)
{
    struct reply *r = MEM_NEW(struct reply);
    r->s = *s;
    return r;
}

void reply_free(struct reply *r)
{
    if (!r)
        return;
    struct buf *own[] = { &r->raw, &r->past, &r->want, &r->name, &r->key, &r->args, &r->end };
    for (size_t i = 0; i < MEM_COUNT(own); i++)
        buf_release(own[i]);
    mem_free(r);
}

void reply_feed(struct reply *r, const char *text, size_t n, reply_emit *emit, void *user)
{
    r->emit = emit;
    r->user = user;
    buf_append(&r->raw, text, n);
    while (step(r)) /* each step that says true has read bytes or changed the state forwards */
        ;
}

void reply_finish(struct reply *r, reply_emit *emit, void *user)
{
    r->ended = true;
    reply_feed(r, "", 0, emit, user);
    if (r->at >= REPLY_CALL)
        reply_call_finish(r);
    buf_clear(&r->raw);
}

int reply_calls(const struct reply *r)
{
    return r->calls;
}
