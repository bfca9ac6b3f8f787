/* heartbeat -- see heartbeat.h. */
#include "fleet/heartbeat.h"

#include "base/assert.h"
#include "base/mem.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { VERSION = 1, HEX64 = 16, HASH_HEX = 64, TEXT_MAX = 768 << 10, ALIASES_MAX = 64 };
#define COUNT_MAX ((int64_t)1 << 48)

/* The plain counters, written and read alike. */
static const struct counter {
    const char *key;
    size_t at;
} counters[] = {
    { "ctx", offsetof(struct heartbeat_model, ctx) },
    { "running", offsetof(struct heartbeat_model, running) },
    { "waiting", offsetof(struct heartbeat_model, waiting) },
    { "kv_pages", offsetof(struct heartbeat_model, kv_pages) },
    { "kv_pages_free", offsetof(struct heartbeat_model, kv_pages_free) },
    { "prefill_backlog", offsetof(struct heartbeat_model, prefill_backlog) },
    { "steps", offsetof(struct heartbeat_model, steps) },
};

/* ---- writing */

static void write_quoted(const char *key, const char *s, struct buf *out)
{
    buf_printf(out, ",\"%s\":", key);
    jsonx_quote(s, strlen(s), out);
}

static void write_model(const struct heartbeat_model *m, struct buf *out)
{
    ASSERT(m->prefix_count >= 0 && m->prefix_count <= HEARTBEAT_PREFIXES_MAX);
    buf_puts(out, "{\"id\":");
    jsonx_quote(m->id, strnlen(m->id, sizeof m->id), out);
    write_quoted("hash", m->hash, out);
    write_quoted("numerics", m->numerics, out);
    for (size_t i = 0; i < MEM_COUNT(counters); i++) {
        int64_t v;
        memcpy(&v, (const char *)m + counters[i].at, sizeof v);
        buf_printf(out, ",\"%s\":%" PRId64, counters[i].key, v < 0 ? 0 : v > COUNT_MAX ? COUNT_MAX : v);
    }
    double rate = isfinite(m->tokens_per_s) && m->tokens_per_s > 0 ? m->tokens_per_s : 0;
    buf_printf(out, ",\"tokens_per_s\":%.3f,\"prefixes\":[", rate);
    for (int i = 0; i < m->prefix_count; i++)
        buf_printf(out, "%s\"%016" PRIx64 "\"", i ? "," : "", m->prefixes[i]);
    buf_putc(out, ']');
    if (m->outside)
        buf_puts(out, ",\"outside\":true");
    if (m->stands)
        buf_puts(out, ",\"stands\":true");
    if (m->aliases) {
        buf_puts(out, ",\"aliases\":");
        jsonx_dump(m->aliases, out);
    }
    if (m->facts) {
        buf_puts(out, ",\"facts\":");
        jsonx_dump(m->facts, out);
    }
    buf_putc(out, '}');
}

void heartbeat_write(const struct heartbeat *h, struct buf *out)
{
    ASSERT(h->model_count >= 0 && h->model_count <= HEARTBEAT_MODELS_MAX);
    buf_printf(out, "{\"v\":%d,\"boot\":\"%016" PRIx64 "\",\"draining\":%s,\"rate_ms\":%d,\"models\":[", VERSION,
               h->boot, h->draining ? "true" : "false", HEARTBEAT_MS);
    for (int i = 0; i < h->model_count; i++) {
        if (i)
            buf_putc(out, ',');
        write_model(&h->models[i], out);
    }
    buf_puts(out, "]}");
}

/* ---- reading: hostile */

static bool read_hex64(const json_t *v, uint64_t *out)
{
    const char *s = json_string_value(v);
    if (!s || json_string_length(v) != HEX64 || strspn(s, "0123456789abcdef") != HEX64)
        return false;
    uint64_t x = 0;
    for (int i = 0; i < HEX64; i++)
        x = x << 4 | (uint64_t)(s[i] <= '9' ? s[i] - '0' : s[i] - 'a' + 10);
    *out = x;
    return true;
}

/* 64 lower-case hex digits, or "" or nothing. */
static enum err_code read_hash(const json_t *v, const char *key, char out[HASH_HEX + 1], struct err *e)
{
    const json_t *h = json_object_get(v, key);
    if (!h || (json_is_string(h) && !json_string_length(h)))
        return ERR_OK;
    const char *s = json_string_value(h);
    if (!s || json_string_length(h) != HASH_HEX || strspn(s, "0123456789abcdef") != HASH_HEX)
        return err_set(e, ERR_INVALID, "%s is not 64 hex digits", key);
    memcpy(out, s, HASH_HEX + 1);
    return ERR_OK;
}

/* A model's name: 1..255 bytes, none of them a control character. */
static bool name_ok(const json_t *v)
{
    const char *s = json_string_value(v);
    size_t n = json_string_length(v);
    if (!s || !n || n >= HEARTBEAT_ID_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)s[i] < ' ' || s[i] == 127)
            return false;
    return true;
}

static enum err_code read_aliases(json_t *v, struct heartbeat_model *m, struct err *e)
{
    json_t *list = json_object_get(v, "aliases");
    if (!list || json_is_null(list))
        return ERR_OK;
    if (!json_is_array(list) || json_array_size(list) > ALIASES_MAX)
        return err_set(e, ERR_INVALID, "aliases is not a list of at most %d names", ALIASES_MAX);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!name_ok(json_array_get(list, i)))
            return err_set(e, ERR_INVALID, "aliases[%zu] is not a name", i);
    m->aliases = json_incref(list);
    return ERR_OK;
}

static enum err_code read_prefixes(const json_t *v, struct heartbeat_model *m, struct err *e)
{
    const json_t *list = json_object_get(v, "prefixes");
    if (!list || json_is_null(list))
        return ERR_OK;
    if (!json_is_array(list) || json_array_size(list) > HEARTBEAT_PREFIXES_MAX)
        return err_set(e, ERR_INVALID, "prefixes is not a list of at most %d", HEARTBEAT_PREFIXES_MAX);
    int count = (int)json_array_size(list);
    for (int i = 0; i < count; i++)
        if (!read_hex64(json_array_get(list, (size_t)i), &m->prefixes[i]))
            return err_set(e, ERR_INVALID, "prefixes[%d] is not 16 hex digits", i);
    m->prefix_count = count;
    return ERR_OK;
}

static enum err_code read_model(json_t *v, struct heartbeat_model *m, struct err *e)
{
    const json_t *id = json_object_get(v, "id");
    json_t *facts = json_object_get(v, "facts");
    if (!json_is_object(v) || !name_ok(id))
        return err_set(e, ERR_INVALID, "it has no id of 1 to %d bytes", HEARTBEAT_ID_MAX - 1);
    memcpy(m->id, json_string_value(id), json_string_length(id) + 1);
    enum err_code c = read_hash(v, "hash", m->hash, e);
    if (!c)
        c = read_hash(v, "numerics", m->numerics, e);
    for (size_t i = 0; !c && i < MEM_COUNT(counters); i++) {
        int64_t n = 0;
        c = jsonx_get_int(v, counters[i].key, 0, COUNT_MAX, &n, e);
        memcpy((char *)m + counters[i].at, &n, sizeof n);
    }
    if (!c)
        c = jsonx_get_double(v, "tokens_per_s", 0, 1e12, &m->tokens_per_s, e);
    if (!c)
        c = read_prefixes(v, m, e);
    if (!c)
        c = jsonx_get_bool(v, "outside", &m->outside, e);
    if (!c)
        c = jsonx_get_bool(v, "stands", &m->stands, e);
    if (!c)
        c = read_aliases(v, m, e);
    if (!c && facts && !json_is_null(facts)) {
        if (!json_is_object(facts))
            return err_set(e, ERR_INVALID, "facts is not an object");
        m->facts = json_incref(facts);
    }
    return c;
}

static enum err_code read_models(const json_t *list, struct heartbeat *h, struct err *e)
{
    if (!json_is_array(list) || json_array_size(list) > HEARTBEAT_MODELS_MAX)
        return err_set(e, ERR_INVALID, "a heartbeat has no list of at most %d models", HEARTBEAT_MODELS_MAX);
    int count = (int)json_array_size(list);
    h->models = count ? mem_new((size_t)count, sizeof *h->models) : NULL;
    for (int i = 0; i < count; i++) {
        h->model_count = i + 1; /* released from here on, whole or not */
        if (read_model(json_array_get(list, (size_t)i), &h->models[i], e)) {
            err_prefix(e, "models[%d] of a heartbeat", i);
            return ERR_INVALID;
        }
        for (int k = 0; k < i; k++)
            if (!strcmp(h->models[k].id, h->models[i].id))
                return err_set(e, ERR_INVALID, "a heartbeat names the model %.80s twice", h->models[i].id);
    }
    return ERR_OK;
}

static enum err_code read_all(const json_t *v, struct heartbeat *h, struct err *e)
{
    int64_t version = 0;
    if (!json_is_object(v))
        return err_set(e, ERR_INVALID, "a heartbeat is not a JSON object");
    if (jsonx_get_int(v, "v", 1, INT32_MAX, &version, e) || jsonx_get_bool(v, "draining", &h->draining, e)) {
        err_prefix(e, "a heartbeat");
        return ERR_INVALID;
    }
    if (version != VERSION)
        return err_set(e, ERR_INVALID, "a heartbeat of version %d; this program speaks version %d", (int)version,
                       VERSION);
    if (!read_hex64(json_object_get(v, "boot"), &h->boot))
        return err_set(e, ERR_INVALID, "a heartbeat's boot is not 16 hex digits");
    return read_models(json_object_get(v, "models"), h, e);
}

enum err_code heartbeat_read(const char *text, size_t n, struct heartbeat *out, struct err *e)
{
    if (n > TEXT_MAX)
        return err_set(e, ERR_INVALID, "a heartbeat of %zu bytes; at most %d are allowed", n, TEXT_MAX);
    json_t *v = jsonx_parse(text, n, e);
    if (!v) {
        err_prefix(e, "a heartbeat");
        return ERR_INVALID;
    }
    struct heartbeat h = { 0 };
    enum err_code c = read_all(v, &h, e);
    json_decref(v);
    if (c) {
        heartbeat_release(&h);
        return ERR_INVALID;
    }
    *out = h;
    return ERR_OK;
}

void heartbeat_release(struct heartbeat *h)
{
    for (int i = 0; i < h->model_count; i++) {
        json_decref(h->models[i].aliases);
        json_decref(h->models[i].facts);
    }
    mem_free(h->models);
    *h = (struct heartbeat){ 0 };
}
