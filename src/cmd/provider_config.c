/* provider_config -- see provider_config.h. */
#include "cmd/provider_config.h"

#include "ledger/price.h"

#include <stdio.h>
#include <string.h>

enum { CTX_MAX = 1 << 24, AT_ONCE_MAX = 4096, TIMEOUT_S_MAX = 86400, CTX_DEFAULT = 131072 };

static enum err_code text(const struct yaml_doc *d, const json_t *o, const char *key, bool needed, const char **out,
                          struct err *e)
{
    const json_t *v = json_object_get(o, key);
    *out = NULL;
    if (!v && !needed)
        return ERR_OK;
    if (!v)
        return yaml_err(d, yaml_line_of(d, o), e, "'%s' is missing", key);
    if (!json_is_string(v) || !json_string_length(v))
        return yaml_err(d, yaml_line(d, o, key), e, "'%s' must be text", key);
    *out = json_string_value(v);
    return ERR_OK;
}

static enum err_code whole(const struct yaml_doc *d, const json_t *o, const char *key, int64_t max, int64_t *out,
                           struct err *e)
{
    const json_t *v = json_object_get(o, key);
    if (!v)
        return ERR_OK;
    if (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > max)
        return yaml_err(d, yaml_line(d, o, key), e, "'%s' must be a whole number between 1 and %lld", key,
                        (long long)max);
    *out = json_integer_value(v);
    return ERR_OK;
}

static enum err_code real(const struct yaml_doc *d, const json_t *o, const char *key, double max, double *out,
                          struct err *e)
{
    const json_t *v = json_object_get(o, key);
    if (!v)
        return ERR_OK;
    if (!json_is_number(v) || json_number_value(v) <= 0 || json_number_value(v) > max)
        return yaml_err(d, yaml_line(d, o, key), e, "'%s' must be a number above 0 and at most %g", key, max);
    *out = json_number_value(v);
    return ERR_OK;
}

static enum err_code price(const struct yaml_doc *d, const json_t *o, const char *key, int64_t *out, struct err *e)
{
    const json_t *v = json_object_get(o, key);
    char number[64];
    struct err why = { 0 };
    if (!v)
        return ERR_OK;
    snprintf(number, sizeof number, "%.6f", json_number_value(v));
    if (json_is_string(v))
        snprintf(number, sizeof number, "%.60s", json_string_value(v));
    if ((!json_is_string(v) && !json_is_number(v)) || price_parse(number, PRICE_MICROS_MAX, out, &why))
        return yaml_err(d, yaml_line(d, o, key), e, "'%s' must be a price for a million tokens, such as 0.25", key);
    return ERR_OK;
}

static enum err_code prices(const struct yaml_doc *d, const json_t *model, struct provider_model *m, struct err *e)
{
    static const char *const known[] = { "prompt", "cached", "completion", NULL };
    const json_t *o = json_object_get(model, "price");
    if (!o)
        return ERR_OK;
    if (!json_is_object(o))
        return yaml_err(d, yaml_line(d, model, "price"), e, "'price' must be { prompt, cached, completion }");
    enum err_code c = yaml_refuse_unknown(d, o, known, e);
    c = c ? c : price(d, o, "prompt", &m->prompt, e);
    m->cached = m->prompt;
    c = c ? c : price(d, o, "cached", &m->cached, e);
    return c ? c : price(d, o, "completion", &m->output, e);
}

static enum err_code models(const struct yaml_doc *d, struct provider_options *o, struct err *e)
{
    static const char *const known[] = { "id", "upstream", "ctx", "price", NULL };
    const json_t *list = json_object_get(d->root, "models");
    size_t n = json_array_size(list);
    if (!n || n > PROVIDER_MODELS_MAX)
        return yaml_err(d, yaml_line(d, d->root, "models"), e, "'models' must be a list of 1 to %d models",
                        PROVIDER_MODELS_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        struct provider_model *m = &o->models[o->model_count++];
        *m = (struct provider_model){ .ctx = CTX_DEFAULT };
        if (!json_is_object(v))
            return yaml_err(d, yaml_line_at(d, list, i), e, "a model is { id, upstream, ctx, price }");
        enum err_code c = yaml_refuse_unknown(d, v, known, e);
        c = c ? c : text(d, v, "id", true, &m->id, e);
        c = c ? c : text(d, v, "upstream", false, &m->upstream, e);
        c = c ? c : whole(d, v, "ctx", CTX_MAX, &m->ctx, e);
        c = c ? c : prices(d, v, m, e);
        if (c)
            return c;
        m->upstream = m->upstream ? m->upstream : m->id;
        if (strlen(m->id) >= HEARTBEAT_ID_MAX)
            return yaml_err(d, yaml_line(d, v, "id"), e, "the id is longer than %d bytes", HEARTBEAT_ID_MAX - 1);
    }
    return ERR_OK;
}

static enum err_code group(const struct yaml_doc *d, const char *key, const char *const *known, const json_t **out,
                           struct err *e)
{
    *out = json_object_get(d->root, key);
    if (*out && !json_is_object(*out))
        return yaml_err(d, yaml_line(d, d->root, key), e, "'%s' must be a mapping", key);
    return *out ? yaml_refuse_unknown(d, *out, known, e) : ERR_OK;
}

enum err_code provider_config_read(const char *path, struct yaml_doc *doc, struct provider_options *o,
                                   const char **key_file, struct err *e)
{
    static const char *const known[] = { "url", "key-file", "ca", "models", "promised", "limits", NULL };
    static const char *const promises[] = { "availability", "ttft-ms", "tokens-per-s", NULL };
    static const char *const bounds[] = { "at-once", "timeout-s", NULL };
    const json_t *promised, *limits;
    int64_t timeout_s = 600;
    *o = (struct provider_options){ .at_once = 64 };
    enum err_code c = yaml_parse_file(path, doc, e);
    if (!c && !json_is_object(doc->root))
        c = yaml_err(doc, 1, e, "this must be a mapping with url and models");
    c = c ? c : yaml_refuse_unknown(doc, doc->root, known, e);
    c = c ? c : text(doc, doc->root, "url", true, &o->url, e);
    c = c ? c : text(doc, doc->root, "key-file", false, key_file, e);
    c = c ? c : text(doc, doc->root, "ca", false, &o->ca_file, e);
    c = c ? c : models(doc, o, e);
    c = c ? c : group(doc, "promised", promises, &promised, e);
    c = c ? c : real(doc, promised, "availability", 100, &o->availability, e);
    c = c ? c : real(doc, promised, "ttft-ms", 1e9, &o->ttft_ms, e);
    c = c ? c : real(doc, promised, "tokens-per-s", 1e9, &o->tokens_per_s, e);
    c = c ? c : group(doc, "limits", bounds, &limits, e);
    c = c ? c : whole(doc, limits, "at-once", AT_ONCE_MAX, &o->at_once, e);
    c = c ? c : whole(doc, limits, "timeout-s", TIMEOUT_S_MAX, &timeout_s, e);
    o->timeout_ms = timeout_s * 1000;
    return c;
}
