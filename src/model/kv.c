/* kv -- where the keys and values of every layer that is here lie in a page of KERN_PAGE_TOKENS positions: layer after
 * layer. */
#include "model/parts.h"

#include "base/mem.h"

#include <strings.h>

bool model_kv_type_by_name(const char *name, enum kern_type *out)
{
    static const enum kern_type types[] = { KERN_F16, KERN_BF16, KERN_F32, KERN_Q8_0 };
    for (size_t i = 0; i < MEM_COUNT(types); i++)
        if (!strcasecmp(name, kern_type_info((int)types[i])->name)) {
            *out = types[i];
            return true;
        }
    return false;
}

static bool type_ok(enum kern_type type, const struct model_dims *d)
{
    if (type == KERN_F16 || type == KERN_BF16 || type == KERN_F32)
        return true;
    return type == KERN_Q8_0 && d->k_dim % 32 == 0 && d->v_dim % 32 == 0;
}

enum err_code kv_layout(struct model *m, enum kern_type type, struct err *e)
{
    const struct model_dims *d = &m->d;
    if (m->arch->encoder)
        type = KERN_F32; /* kept for the time of a layer: no reason to round */
    if (!type_ok(type, d))
        return err_set(e, ERR_INVALID, "keys and values of %d and %d cannot be stored as %s: choose F16, BF16 or F32",
                       d->k_dim, d->v_dim, kern_type_info((int)type) ? kern_type_info((int)type)->name : "that");
    m->kv = mem_new((size_t)d->layers, sizeof *m->kv);
    m->kv_page_bytes = 0;
    for (int i = 0; i < d->layers; i++) {
        struct kern_kv *kv = &m->kv[i];
        *kv = (struct kern_kv){ .type = type, .kv_heads = d->kv_heads, .k_dim = d->k_dim, .v_dim = d->v_dim };
        if (i < m->part.first || i >= m->part.end)
            continue;
        kv->k_offset = m->kv_page_bytes;
        kv->v_offset = kv->k_offset + kern_kv_k_bytes(kv);
        if (m->arch->encoder) { /* nothing is kept: each layer overwrites the one before */
            kv->v_offset = kern_kv_k_bytes(kv);
            kv->k_offset = 0;
        }
        m->kv_page_bytes = kv->v_offset + kern_kv_v_bytes(kv);
    }
    return ERR_OK;
}
