/* embeddings -- /v1/embeddings: texts or token ids in, a vector for each out (docs/embeddings.md). */
#include "api/vectors.h"

#include "api/fields.h"
#include "api/writer.h"
#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const struct api_field fields[] = {
    { "model", 1, STRING, NULL },
    { "input", 1, READ, NULL },
    { "encoding_format", 1, READ, NULL },
    { "dimensions", 1, READ, NULL },
    { "pooling", 1, READ, NULL },
    { "normalize", 1, READ, NULL },
    { "truncate_prompt_tokens", 1, READ, NULL },
    { "truncation_side", 1, READ, NULL },
    { "lora", 1, READ, NULL },
    { "user", 1, STRING, NULL },
    { NULL, 0, READ, NULL },
};

static bool read_format(struct api_job *j, const json_t *body, struct api_error *error)
{
    const struct api_pooling *p = &j->model->pooling;
    struct api_vectors *x = j->vectors;
    const char *format = "float";
    struct err e;
    int64_t dimensions = 0;
    if (jsonx_get_string(body, "encoding_format", &format, &e) || (strcmp(format, "float") && strcmp(format, "base64")))
        return api_refuse(error, 400, "encoding_format", "invalid_value", "'encoding_format' must be float or base64");
    if (jsonx_get_bool(body, "normalize", &x->normalize, &e))
        return api_refuse(error, 400, "normalize", "invalid_type", "%s", e.text);
    if (jsonx_get_int(body, "dimensions", 1, p->dim, &dimensions, &e))
        return api_refuse(error, 400, "dimensions", "invalid_value", "%s", e.text);
    if (dimensions && dimensions != p->dim && !p->matryoshka)
        return api_refuse(error, 400, "dimensions", "unsupported_value", "vectors of the model '%s' have %d dimensions "
                          "and may not be cut: start the server with --matryoshka if it was trained for that",
                          j->model->id, p->dim);
    x->base64 = !strcmp(format, "base64");
    x->dimensions = (int)dimensions;
    if (x->how == MODEL_POOL_RANK)
        return api_refuse(error, 400, "model", "unsupported_model", "the model '%s' scores pairs of texts: use "
                          "/v1/rerank, or ask for a 'pooling'", j->model->id);
    if (x->how == MODEL_POOL_NONE && (x->base64 || dimensions))
        return api_refuse(error, 400, "pooling", "invalid_value", "a vector for each token comes as floats and whole: "
                          "leave out 'encoding_format' and 'dimensions'");
    x->normalize = x->normalize && x->how != MODEL_POOL_NONE;
    return true;
}

/* The many forms of input: a string, token ids, or an array of either. */
static bool read_inputs(struct api_job *j, const json_t *input, bool many, struct api_error *error)
{
    for (int i = 0; i < j->vectors->room; i++) {
        char param[32] = "input";
        const json_t *one = many ? json_array_get(input, (size_t)i) : input;
        if (many)
            snprintf(param, sizeof param, "input[%d]", i);
        bool ok = json_is_array(one) ? api_vectors_ids(j, one, param, error) :
                  json_is_string(one) ? api_vectors_text(j, json_string_value(one), json_string_length(one), param,
                                                         error) :
                  api_refuse(error, 400, param, "invalid_type", "'input' must be a string, an array of strings, an "
                             "array of token ids or an array of such arrays");
        if (!ok)
            return false;
    }
    return true;
}

static bool fits_answer(const struct api_job *j, struct api_error *error)
{
    int64_t rows = j->prompt_count, dim = j->model->pooling.dim;
    if (j->vectors->how == MODEL_POOL_NONE)
        for (int i = rows = 0; i < j->prompt_count; i++)
            rows += (int64_t)j->prompts[i].count;
    return rows * dim <= API_FLOATS_MAX ||
           api_refuse(error, 400, "input", "invalid_value", "the answer would hold %lld vectors of %lld numbers, %d at "
                      "most together; send fewer texts at once", (long long)rows, (long long)dim, API_FLOATS_MAX);
}

bool api_embeddings_read(struct api_job *j, const json_t *body, struct api_error *error)
{
    const json_t *input = json_object_get(body, "input");
    if (!json_is_object(body))
        return api_refuse(error, 400, "", "invalid_type", "the request body must be a JSON object");
    if (!api_fields_of(body, fields, 1, "", error))
        return false;
    if (!input || json_is_null(input))
        return api_refuse(error, 400, "input", "missing_required_parameter", "'input' is required");
    size_t count = json_array_size(input);
    bool many = json_is_array(input) && !json_is_integer(json_array_get(input, 0));
    if (json_is_array(input) && !count)
        return api_refuse(error, 400, "input", "invalid_value", "'input' must not be an empty array");
    if (many && count > API_INPUTS_MAX)
        return api_refuse(error, 400, "input", "invalid_value", "'input' has %zu texts; at most %d fit one request",
                          count, API_INPUTS_MAX);
    if (!api_vectors_begin(j, body, many ? (int)count : 1, error) || !read_format(j, body, error) ||
        !read_inputs(j, input, many, error) || !fits_answer(j, error))
        return false;
    api_vectors_ready(j);
    return true;
}

/* ---- the answer */

static void put_floats(const float *v, int n, struct buf *out)
{
    for (int i = 0; i < n; i++)
        buf_printf(out, "%s%.9g", i ? "," : "[", (double)v[i]); /* nine digits give a float back */
    buf_putc(out, ']');
}

/* Little-endian floats in base64 (RFC 4648). */
static void put_base64(const float *v, int n, struct buf *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    struct buf raw = { 0 };
    for (int i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &v[i], sizeof bits);
        buf_put_u32(&raw, bits);
    }
    for (size_t i = 0; i < raw.len; i += 3) {
        uint32_t three = 0;
        size_t have = raw.len - i < 3 ? raw.len - i : 3;
        for (size_t k = 0; k < 3; k++)
            three = three << 8 | (k < have ? (unsigned char)raw.data[i + k] : 0);
        for (size_t k = 0; k < 4; k++)
            buf_putc(out, k <= have ? digits[three >> (18 - 6 * k) & 63] : '=');
    }
    buf_release(&raw);
}

void api_vector_write(const struct api_job *j, const struct api_vector *x, struct buf *out)
{
    const struct api_vectors *how = j->vectors;
    int dim = j->model->pooling.dim, n = how->dimensions ? how->dimensions : x->n;
    if (how->normalize)
        api_vector_unit(x->v, n);
    if (how->base64) {
        buf_putc(out, '"');
        put_base64(x->v, n, out);
        buf_putc(out, '"');
    } else if (how->how == MODEL_POOL_NONE) {
        for (int i = 0; i < n; i += dim) {
            buf_putc(out, i ? ',' : '[');
            put_floats(x->v + i, dim, out);
        }
        buf_putc(out, ']');
    } else {
        put_floats(x->v, n, out);
    }
}

static void whole(struct api_job *j, const struct api_usage *u, struct buf *out)
{
    buf_puts(out, "{\"object\":\"list\",\"data\":[");
    for (int i = 0; i < j->prompt_count; i++) {
        buf_printf(out, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":", i ? "," : "", i);
        api_vector_write(j, &j->vectors->of[i], out);
        buf_putc(out, '}');
    }
    buf_puts(out, "],\"model\":");
    api_put_model(j, out);
    buf_printf(out, ",\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d", u->prompt_tokens, u->prompt_tokens);
    if (j->vectors->cut)
        buf_printf(out, ",\"truncated_tokens\":%d", j->vectors->cut_tokens);
    buf_puts(out, "}}");
}

const struct api_writer api_write_embeddings = { .stream_type = "application/json", .whole = whole,
                                                 .error = openai_error };
