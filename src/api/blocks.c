/* blocks -- see blocks.h. */
#include "api/blocks.h"

void api_blocks_finish(struct api_job *j, const struct api_block_writer *w, struct buf *out)
{
    if (!j->blocks.open)
        return;
    int index = j->blocks.opened - 1;
    j->blocks.open = false;
    w->close(j, index, &j->choices[0].parts.v[index], out);
}

void api_blocks_delta(struct api_job *j, const struct api_delta *d, const struct api_block_writer *w,
                      struct buf *out)
{
    const struct api_parts *p = &j->choices[0].parts;
    if (p->count > j->blocks.opened) { /* the delta began a part */
        api_blocks_finish(j, w, out);
        j->blocks.opened = p->count;
        j->blocks.open = true;
        w->open(j, p->count - 1, &p->v[p->count - 1], out);
    }
    if (d->kind == API_CALL_CLOSE)
        api_blocks_finish(j, w, out);
    else if (j->blocks.open && d->kind != API_CALL_OPEN && d->length)
        w->piece(j, j->blocks.opened - 1, &p->v[j->blocks.opened - 1], d, out);
}
