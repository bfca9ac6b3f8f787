/* cut -- where to cut a model's layers for several processes: by the bytes its tensors have in the file.
 *
 * Packed weights are about as large. The first part has the model's own tensors besides (embedding, output), so it gets
 * fewer layers. The least largest part is searched for by halving: a capacity is enough when filling part after part up
 * to it takes no more parts than there are. */
#include "model/parts.h"

#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct sizes {
    int layers, parts;
    size_t own;            /* bytes of the tensors that are no layer's */
    size_t *layer;         /* [layers] */
};

/* "blk.N.": N, or -1. */
static int layer_of(struct gguf_str name, int layers)
{
    char text[16];
    size_t n = name.len < sizeof text - 1 ? name.len : sizeof text - 1;
    memcpy(text, name.data, n);
    text[n] = '\0';
    if (strncmp(text, "blk.", 4) || text[4] < '0' || text[4] > '9')
        return -1;
    char *end;
    long v = strtol(text + 4, &end, 10);
    return *end == '.' && v < layers ? (int)v : -1;
}

/* Fills parts one after the other; each of them has a layer at least, and leaves one to each that follows. */
static bool fits(const struct sizes *s, size_t capacity, int *cut)
{
    int at = 0;
    for (int i = 0; i < s->parts; i++) {
        size_t sum = i ? 0 : s->own;
        cut[i] = at;
        for (int n = 0; at < s->layers - (s->parts - 1 - i); n++, at++) {
            if (n && sum + s->layer[at] > capacity)
                break;
            sum += s->layer[at];
        }
        if (sum > capacity)
            return false;
    }
    cut[s->parts] = at;
    return at == s->layers;
}

static enum err_code count_layers(const struct gguf_file *f, int *layers, struct err *e)
{
    struct gguf_str name;
    char key[GGUF_NAME_MAX];
    int64_t n;
    const struct model_arch *a = NULL;
    if (gguf_value_string(gguf_find(f, "general.architecture"), &name))
        a = model_arch_find(name);
    if (!a || a->encoder)
        return err_set(e, ERR_INVALID, "%s: only models that generate are cut into parts", gguf_name(f));
    snprintf(key, sizeof key, "%s.block_count", a->name);
    enum err_code c = gguf_get_int(f, key, 1, MODEL_LAYERS_MAX, &n, e);
    if (!c)
        *layers = (int)n;
    return c;
}

enum err_code model_cut(const struct gguf_file *f, int parts, int *cut, struct err *e)
{
    struct sizes s = { .parts = parts };
    enum err_code c = count_layers(f, &s.layers, e);
    if (c)
        return c;
    if (parts < 1 || parts > s.layers)
        return err_set(e, ERR_INVALID, "%s: its %d layers cannot be cut into %d parts", gguf_name(f), s.layers, parts);
    s.layer = mem_new((size_t)s.layers, sizeof *s.layer);
    size_t low = 0, high = 0; /* too small, or 0; large enough */
    for (int i = 0; i < gguf_tensor_count(f); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(f, i);
        int layer = layer_of(t->name, s.layers);
        *(layer < 0 ? &s.own : &s.layer[layer]) += t->bytes;
        high += t->bytes;
    }
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (fits(&s, middle, cut))
            high = middle;
        else
            low = middle;
    }
    fits(&s, high, cut);
    mem_free(s.layer);
    return ERR_OK;
}
