/* prefix -- see prefix.h. */
#include "api/prefix.h"

#include "base/json.h"
#include "base/mem.h"

#include <string.h>

/* Canonical text goes through here block by block: nothing the size of the prompt is kept. */
struct chain {
    const uint8_t *salt;
    uint8_t block[8 + API_PREFIX_BLOCK_BYTES]; /* the previous hash, then the block being filled */
    size_t filled;
    struct api_prefix *out;
};

static void put_le(uint64_t v, uint8_t out[8])
{
    for (int i = 0; i < 8; i++)
        out[i] = (uint8_t)(v >> (8 * i));
}

static int feed(const char *data, size_t n, void *arg)
{
    struct chain *c = arg;
    while (n && c->out->count < API_PREFIX_BLOCKS_MAX) {
        size_t room = API_PREFIX_BLOCK_BYTES - c->filled, take = n < room ? n : room;
        memcpy(c->block + 8 + c->filled, data, take);
        c->filled += take;
        data += take;
        n -= take;
        if (c->filled < API_PREFIX_BLOCK_BYTES)
            continue;
        uint64_t h = siphash(c->salt, c->block, sizeof c->block);
        put_le(h, c->block);
        c->filled = 0;
        struct api_prefix *p = c->out;
        if ((p->count & (p->count - 1)) == 0) /* the next power of two */
            p->hash = mem_grow(p->hash, p->count ? (size_t)p->count * 2 : 1, sizeof *p->hash);
        p->hash[p->count++] = h;
    }
    return 0;
}

static void feed_json(const json_t *v, struct chain *c)
{
    json_dump_callback(v, feed, c, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    feed("\n", 1, c);
}

static bool feed_body(const json_t *body, struct chain *c)
{
    const json_t *messages = json_object_get(body, "messages"), *prompt = json_object_get(body, "prompt"), *m;
    size_t i;
    if (json_is_array(messages)) {
        json_t *tools = json_object_get(body, "tools"), *none = json_null();
        feed_json(tools ? tools : none, c);
        json_array_foreach(messages, i, m)
            feed_json(m, c);
        return true;
    }
    if (json_is_array(prompt))
        prompt = json_array_get(prompt, 0);
    if (!json_is_string(prompt))
        return false;
    feed("p\n", 2, c);
    feed(json_string_value(prompt), json_string_length(prompt), c);
    return true;
}

enum err_code api_prefix_of(const uint8_t salt[SIPHASH_KEY_BYTES], const char *body, size_t n,
                            struct api_prefix *out, struct err *e)
{
    json_t *v = jsonx_parse(body, n, e);
    if (!v)
        return ERR_INVALID;
    struct api_prefix p = { 0 };
    struct chain c = { .salt = salt, .out = &p };
    bool ok = feed_body(v, &c);
    json_decref(v);
    if (!ok) {
        api_prefix_release(&p);
        return err_set(e, ERR_INVALID, "a request without messages or a text prompt has no prefix");
    }
    *out = p;
    return ERR_OK;
}

void api_prefix_release(struct api_prefix *p)
{
    mem_free(p->hash);
    *p = (struct api_prefix){ 0 };
}

int api_prefix_common(const struct api_prefix *a, const struct api_prefix *b)
{
    int n = a->count < b->count ? a->count : b->count, i = 0;
    while (i < n && a->hash[i] == b->hash[i])
        i++;
    return i;
}
