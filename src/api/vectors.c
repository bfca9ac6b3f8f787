/* vectors -- see vectors.h. */
#include "api/vectors.h"

#include "base/assert.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

/* ---- what the runner asks and tells */

bool api_job_pools(const struct api_job *j)
{
    return j->vectors != NULL;
}

enum model_pooling api_choice_pooling(const struct api_job *j, int choice, int *second)
{
    *second = j->vectors->of[choice].second;
    return j->vectors->how;
}

void api_choice_vector(struct api_job *j, int choice, const float *v, int n)
{
    ASSERT(choice >= 0 && choice < j->prompt_count && !j->vectors->of[choice].v);
    struct api_vector *to = &j->vectors->of[choice];
    to->v = mem_dup(v, (size_t)n * sizeof *v);
    to->n = n;
    for (int i = 0; i < n; i++)
        if (!isfinite(v[i]))
            j->failed = INFER_FAILED; /* what is no number must not look like one */
}

void api_vector_unit(float *v, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (int i = 0; i < n; i++)
        v[i] = (float)((double)v[i] * scale);
}

/* ---- how texts are pooled */

static bool read_how(struct api_job *j, const json_t *body, struct api_error *error)
{
    static const struct {
        const char *name;
        enum model_pooling how;
    } names[] = { { "none", MODEL_POOL_NONE }, { "mean", MODEL_POOL_MEAN }, { "cls", MODEL_POOL_CLS },
                  { "last", MODEL_POOL_LAST } };
    const json_t *v = json_object_get(body, "pooling");
    bool encoder = j->model->pooling.encoder, found = false;
    if (!v || json_is_null(v))
        return true;
    for (size_t i = 0; i < MEM_COUNT(names); i++)
        if (json_is_string(v) && !strcmp(json_string_value(v), names[i].name)) {
            j->vectors->how = names[i].how;
            found = true;
        }
    if (!found)
        return api_refuse(error, 400, "pooling", "invalid_value", "'pooling' must be mean, last, cls or none");
    return encoder || j->vectors->how == MODEL_POOL_MEAN || j->vectors->how == MODEL_POOL_LAST ||
           api_refuse(error, 400, "pooling", "unsupported_value", "'pooling' must be mean or last: the model '%s' is "
                      "no encoder", j->model->id);
}

static bool read_cut(struct api_job *j, const json_t *body, struct api_error *error)
{
    struct api_vectors *x = j->vectors;
    const char *side = "left";
    int64_t keep = 0;
    struct err e;
    x->keep = j->model->ctx;
    if (jsonx_get_int(body, "truncate_prompt_tokens", -1, INT32_MAX, &keep, &e))
        return api_refuse(error, 400, "truncate_prompt_tokens", "invalid_value", "%s", e.text);
    if (jsonx_get_string(body, "truncation_side", &side, &e) || (strcmp(side, "left") && strcmp(side, "right")))
        return api_refuse(error, 400, "truncation_side", "invalid_value",
                          "'truncation_side' must be left or right: which end of a long text is dropped");
    x->cut = keep != 0;
    x->cut_end = !strcmp(side, "right");
    if (keep > j->model->ctx)
        return api_refuse(error, 400, "truncate_prompt_tokens", "invalid_value", "'truncate_prompt_tokens' is %lld; "
                          "the context of the model '%s' holds %d", (long long)keep, j->model->id, j->model->ctx);
    if (keep > 0)
        x->keep = (int)keep;
    return true;
}

bool api_vectors_begin(struct api_job *j, const json_t *body, int count, struct api_error *error)
{
    struct api_vectors *x = MEM_NEW(struct api_vectors);
    j->vectors = x;
    j->n = 1;
    j->params = (struct infer_params){ .max_tokens = 1, .temperature = 1, .top_p = 1, .repetition_penalty = 1,
                                       .top_logprobs = -1 };
    x->how = j->model->pooling.how;
    x->room = count;
    x->normalize = true;
    j->prompts = mem_new((size_t)count, sizeof *j->prompts);
    x->of = mem_new((size_t)count, sizeof *x->of);
    return read_how(j, body, error) && read_cut(j, body, error);
}

void api_vectors_ready(struct api_job *j)
{
    ASSERT(j->prompt_count == j->vectors->room);
    j->choices = mem_new((size_t)j->prompt_count, sizeof *j->choices);
}

void api_vectors_free(struct api_job *j)
{
    if (!j->vectors)
        return;
    for (int i = 0; i < j->vectors->room; i++)
        mem_free(j->vectors->of[i].v);
    mem_free(j->vectors->of);
    json_decref(j->vectors->documents);
    mem_free(j->vectors);
}

/* ---- texts */

/* Tokens before and behind a text. */
struct frame {
    int first, last; /* -1: none */
};

static struct frame frame_of(const struct vocab *v)
{
    bool pieces = vocab_family(v) == VOCAB_WORDPIECE;
    return (struct frame){
        .first = pieces || vocab_add_bos(v) ? vocab_bos(v) : -1,
        .last = pieces ? vocab_add_sep(v) ? vocab_sep(v) : -1 : vocab_add_eos(v) ? vocab_eos(v) : -1,
    };
}

/* Appends at most `room` of the ids, as the request wants long texts cut; false: they are too long and it does not. */
static bool add_some(struct api_job *j, const struct vocab_ids *ids, int room, struct vocab_ids *out)
{
    struct api_vectors *x = j->vectors;
    size_t most = room > 0 ? (size_t)room : 0, drop = ids->count > most ? ids->count - most : 0;
    if (drop && !x->cut)
        return false;
    x->cut_tokens += (int)drop;
    for (size_t i = x->cut_end ? 0 : drop; i < ids->count - (x->cut_end ? drop : 0); i++)
        vocab_ids_push(out, ids->v[i]);
    return true;
}

static bool too_long(const struct api_job *j, size_t tokens, const char *param, struct api_error *error)
{
    return api_refuse(error, 400, param, "context_length_exceeded", "'%s' has %zu tokens; the context of the model "
                      "'%s' holds %d. Shorten it, or ask for 'truncate_prompt_tokens': -1", param, tokens,
                      j->model->id, j->model->ctx);
}

static bool encode(const struct api_job *j, const char *text, size_t n, const char *param, struct vocab_ids *ids,
                   struct api_error *error)
{
    struct err e;
    return !vocab_encode(j->model->vocab, text, n, false, ids, &e) || api_refuse_err(error, param, &e);
}

static struct vocab_ids *next_prompt(struct api_job *j)
{
    ASSERT(j->prompt_count < j->vectors->room);
    return &j->prompts[j->prompt_count++];
}

bool api_vectors_text(struct api_job *j, const char *text, size_t n, const char *param, struct api_error *error)
{
    struct frame f = frame_of(j->model->vocab);
    struct vocab_ids *out = next_prompt(j), ids = { 0 };
    int round = (f.first >= 0) + (f.last >= 0);
    bool ok = encode(j, text, n, param, &ids, error);
    if (ok && f.first >= 0)
        vocab_ids_push(out, f.first);
    if (ok && !add_some(j, &ids, j->vectors->keep - round, out))
        ok = too_long(j, ids.count + (size_t)round, param, error);
    if (ok && f.last >= 0)
        vocab_ids_push(out, f.last);
    if (ok && !out->count)
        ok = api_refuse(error, 400, param, "invalid_value", "'%s' is empty and this model has no token to begin with",
                        param);
    vocab_ids_release(&ids);
    return ok;
}

bool api_vectors_ids(struct api_job *j, const json_t *array, const char *param, struct api_error *error)
{
    struct vocab_ids *out = next_prompt(j), ids = { 0 };
    size_t i;
    const json_t *v;
    bool ok = json_array_size(array) || api_refuse(error, 400, param, "invalid_value",
                                                   "'%s' must not be an empty list of tokens", param);
    json_array_foreach(array, i, v) {
        json_int_t id = json_integer_value(v);
        if (ok && (!json_is_integer(v) || id < 0 || id >= vocab_size(j->model->vocab)))
            ok = api_refuse(error, 400, param, "invalid_value", "token %zu of '%s' must be a whole number from 0 to %d",
                            i, param, vocab_size(j->model->vocab) - 1);
        vocab_ids_push(&ids, (int32_t)id);
    }
    if (ok && !add_some(j, &ids, j->vectors->keep, out))
        ok = too_long(j, ids.count, param, error);
    vocab_ids_release(&ids);
    return ok;
}

bool api_vectors_pair(struct api_job *j, const json_t *query, const json_t *document, const char *param,
                      struct api_error *error)
{
    struct frame f = frame_of(j->model->vocab);
    struct api_vector *pair = &j->vectors->of[j->prompt_count];
    struct vocab_ids *out = next_prompt(j), ids = { 0 };
    bool ok = encode(j, json_string_value(query), json_string_length(query), "query", out, error) &&
              encode(j, json_string_value(document), json_string_length(document), param, &ids, error);
    int round = (f.first >= 0) + 2 * (f.last >= 0);
    size_t together = out->count + ids.count + (size_t)round;
    if (ok && f.first >= 0) { /* the query is there already: moves up */
        vocab_ids_push(out, f.first);
        memmove(out->v + 1, out->v, (out->count - 1) * sizeof *out->v);
        out->v[0] = f.first;
    }
    if (ok && f.last >= 0)
        vocab_ids_push(out, f.last);
    pair->second = j->model->pooling.segments ? (int)out->count : 0;
    int room = j->vectors->keep - (int)out->count - (f.last >= 0);
    if (ok && (room < 0 || !add_some(j, &ids, room, out)))
        ok = too_long(j, together, param, error);
    if (ok && f.last >= 0)
        vocab_ids_push(out, f.last);
    vocab_ids_release(&ids);
    return ok;
}
