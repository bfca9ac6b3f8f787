/* rerank -- /v1/rerank (and /v2/rerank, /rerank): documents in order of what they have to do with a query, in the shape
 * Jina and Cohere share. A model with a classification head scores each pair; any other compares embeddings by their
 * cosine, and the answer says which: "method": "cross-encoder" or "cosine". */
#include "api/vectors.h"

#include "api/fields.h"
#include "api/writer.h"
#include "base/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct api_field fields[] = {
    { "model", 1, STRING, NULL },
    { "query", 1, READ, NULL },
    { "documents", 1, READ, NULL },
    { "top_n", 1, READ, NULL },
    { "return_documents", 1, READ, NULL },
    { "pooling", 1, READ, NULL },
    { "truncate_prompt_tokens", 1, READ, NULL },
    { "truncation_side", 1, READ, NULL },
    { "user", 1, STRING, NULL },
    { NULL, 0, READ, NULL },
};

/* A head that gives one score, and nobody asked for the vectors instead. */
static bool crosses(const struct api_job *j)
{
    return j->vectors->how == MODEL_POOL_RANK;
}

/* The text of a document: a string, or an object with one. NULL: it is neither. */
static const json_t *text_of(const json_t *document)
{
    const json_t *text = json_is_object(document) ? json_object_get(document, "text") : document;
    return json_is_string(text) ? text : NULL;
}

static bool read_text(struct api_job *j, const json_t *text, const char *param, struct api_error *error)
{
    return api_vectors_text(j, json_string_value(text), json_string_length(text), param, error);
}

static bool read_documents(struct api_job *j, const json_t *query, const json_t *documents, struct api_error *error)
{
    size_t i;
    const json_t *d;
    if (!crosses(j) && !read_text(j, query, "query", error))
        return false;
    json_array_foreach(documents, i, d) {
        char param[40];
        const json_t *text = text_of(d);
        snprintf(param, sizeof param, "documents[%zu]", i);
        if (!text)
            return api_refuse(error, 400, param, "invalid_type", "each document must be a string or an object with a "
                              "'text'");
        if (!(crosses(j) ? api_vectors_pair(j, query, text, param, error) : read_text(j, text, param, error)))
            return false;
    }
    return true;
}

/* Which model can do it, and how. */
static bool choose_method(struct api_job *j, const json_t *body, struct api_error *error)
{
    const json_t *asked = json_object_get(body, "pooling");
    const struct api_pooling *p = &j->model->pooling;
    bool vectors = asked && !json_is_null(asked);
    if (p->labels == 1 && !vectors)
        j->vectors->how = MODEL_POOL_RANK;
    if (crosses(j) && p->labels != 1)
        return api_refuse(error, 400, "model", "unsupported_model", "the classification head of the model '%s' gives "
                          "%d scores; one is needed to rank by", j->model->id, p->labels);
    return j->vectors->how != MODEL_POOL_NONE ||
           api_refuse(error, 400, "pooling", "invalid_value", "the model '%s' makes a vector for each token: ask for a "
                      "'pooling' of mean, cls or last", j->model->id);
}

bool api_rerank_read(struct api_job *j, const json_t *body, struct api_error *error)
{
    const json_t *query = json_object_get(body, "query");
    json_t *documents = json_object_get(body, "documents");
    struct err e;
    int64_t top_n = 0;
    bool shown = false;
    if (!json_is_object(body))
        return api_refuse(error, 400, "", "invalid_type", "the request body must be a JSON object");
    if (!api_fields_of(body, fields, 1, "", error))
        return false;
    if (!json_is_string(query))
        return api_refuse(error, 400, "query", "missing_required_parameter",
                          "'query' is required and must be a string");
    size_t count = json_array_size(documents);
    if (!count || count >= API_INPUTS_MAX)
        return api_refuse(error, 400, "documents", "invalid_value", "'documents' must be an array of 1 to %d texts",
                          API_INPUTS_MAX - 1);
    if (jsonx_get_int(body, "top_n", 1, INT32_MAX, &top_n, &e))
        return api_refuse(error, 400, "top_n", "invalid_value", "%s", e.text);
    if (jsonx_get_bool(body, "return_documents", &shown, &e))
        return api_refuse(error, 400, "return_documents", "invalid_type", "%s", e.text);
    if (!api_vectors_begin(j, body, (int)count + 1, error) || !choose_method(j, body, error))
        return false;
    j->vectors->room -= crosses(j); /* no vector for the query alone */
    j->vectors->documents = json_incref(documents);
    j->vectors->top_n = top_n && top_n < (int64_t)count ? (int)top_n : (int)count;
    j->vectors->return_documents = shown;
    if (!read_documents(j, query, documents, error))
        return false;
    api_vectors_ready(j);
    return true;
}

/* ---- the answer */

struct scored {
    double score;
    int index;
};

static int better_first(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    return x->score != y->score ? x->score < y->score ? 1 : -1 : x->index - y->index;
}

static double cosine(struct api_job *j, int document)
{
    const struct api_vector *q = &j->vectors->of[0], *d = &j->vectors->of[document + 1];
    double sum = 0;
    api_vector_unit(d->v, d->n);
    for (int i = 0; i < q->n; i++)
        sum += (double)q->v[i] * (double)d->v[i];
    return sum;
}

static void put_results(struct api_job *j, const struct scored *list, struct buf *out)
{
    for (int i = 0; i < j->vectors->top_n; i++) {
        buf_printf(out, "%s{\"index\":%d,\"relevance_score\":%.9g", i ? "," : "", list[i].index, list[i].score);
        if (j->vectors->return_documents) {
            const json_t *text = text_of(json_array_get(j->vectors->documents, (size_t)list[i].index));
            buf_puts(out, ",\"document\":{\"text\":");
            jsonx_quote(json_string_value(text), json_string_length(text), out);
            buf_putc(out, '}');
        }
        buf_putc(out, '}');
    }
}

static void whole(struct api_job *j, const struct api_usage *u, struct buf *out)
{
    int count = (int)json_array_size(j->vectors->documents);
    struct scored *list = mem_new((size_t)count, sizeof *list);
    bool cross = crosses(j);
    if (!cross)
        api_vector_unit(j->vectors->of[0].v, j->vectors->of[0].n);
    for (int i = 0; i < count; i++) {
        double score = cross ? 1 / (1 + exp(-(double)j->vectors->of[i].v[0])) : cosine(j, i);
        list[i] = (struct scored){ score, i };
    }
    qsort(list, (size_t)count, sizeof *list, better_first);
    buf_puts(out, "{\"id\":");
    jsonx_quote(j->id, strlen(j->id), out);
    buf_puts(out, ",\"model\":");
    api_put_model(j, out);
    buf_printf(out, ",\"method\":\"%s\",\"results\":[", cross ? "cross-encoder" : "cosine");
    put_results(j, list, out);
    buf_printf(out, "],\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d", u->prompt_tokens, u->prompt_tokens);
    if (j->vectors->cut)
        buf_printf(out, ",\"truncated_tokens\":%d", j->vectors->cut_tokens);
    buf_printf(out, "},\"meta\":{\"tokens\":{\"input_tokens\":%d}}}", u->prompt_tokens);
    mem_free(list);
}

const struct api_writer api_write_rerank = { .stream_type = "application/json", .whole = whole, .error = openai_error };
