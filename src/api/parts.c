/* parts -- see parts.h. */
#include "api/parts.h"

#include "base/mem.h"

static struct api_part *last_of(struct api_parts *p, enum api_delta_kind kind)
{
    for (int i = p->count; i-- > 0;)
        if (p->v[i].kind == kind)
            return &p->v[i];
    return NULL;
}

static struct api_part *push(struct api_parts *p, enum api_delta_kind kind)
{
    if (p->count == API_ANSWER_PARTS_MAX)
        return last_of(p, kind);
    if (p->count == p->cap) {
        p->cap = p->cap ? p->cap * 2 : 2;
        p->v = mem_grow(p->v, (size_t)p->cap, sizeof *p->v);
    }
    p->v[p->count] = (struct api_part){ .kind = kind };
    return &p->v[p->count++];
}

void api_parts_add(struct api_parts *p, const struct api_delta *d)
{
    struct api_part *last = p->count ? &p->v[p->count - 1] : NULL;
    if (d->kind == API_CALL_OPEN) {
        if (p->count == API_ANSWER_PARTS_MAX)
            return;
        last = push(p, API_CALL_OPEN);
        last->id = mem_strdup(d->id);
        last->name = mem_strdup(d->name);
    } else if (d->kind == API_CALL_ARGS) {
        if ((last = last_of(p, API_CALL_OPEN)))
            buf_append(&last->text, d->text, d->length);
    } else if (d->kind != API_CALL_CLOSE && d->length) {
        last = last && last->kind == d->kind ? last : push(p, d->kind);
        if (last)
            buf_append(&last->text, d->text, d->length);
    }
}

void api_parts_join(const struct api_parts *p, enum api_delta_kind kind, struct buf *out)
{
    for (int i = 0; i < p->count; i++)
        if (p->v[i].kind == kind)
            buf_append(out, p->v[i].text.data, p->v[i].text.len);
}

int api_parts_count(const struct api_parts *p, enum api_delta_kind kind)
{
    int n = 0;
    for (int i = 0; i < p->count; i++)
        n += p->v[i].kind == kind;
    return n;
}

void api_parts_release(struct api_parts *p)
{
    for (int i = 0; i < p->count; i++) {
        mem_free(p->v[i].id);
        mem_free(p->v[i].name);
        buf_release(&p->v[i].text);
    }
    mem_free(p->v);
    *p = (struct api_parts){ 0 };
}
