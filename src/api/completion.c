/* completion -- /v1/completions: its four forms of prompt, each to token ids. */
#include "api/job.h"

#include "base/mem.h"

#include <string.h>

/* An array of token ids, each a whole number the vocabulary has. */
static bool take_ids(struct api_job *j, const json_t *array, struct vocab_ids *out, struct api_error *error)
{
    size_t i;
    const json_t *v;
    json_array_foreach(array, i, v) {
        json_int_t id = json_integer_value(v);
        if (!json_is_integer(v) || id < 0 || id >= vocab_size(j->model->vocab))
            return api_refuse(error, 400, "prompt", "invalid_value", "token %zu of 'prompt' must be a whole number "
                              "from 0 to %d", i, vocab_size(j->model->vocab) - 1);
        vocab_ids_push(out, (int32_t)id);
    }
    return out->count ||
           api_refuse(error, 400, "prompt", "invalid_value", "'prompt' must not be an empty list of tokens");
}

static void echo_ids(struct api_job *j, int prompt)
{
    struct vocab_stream s = { 0 };
    const struct vocab_ids *ids = &j->prompts[prompt];
    for (size_t i = 0; i < ids->count; i++)
        vocab_stream_push(&s, j->model->vocab, ids->v[i], true, &j->echo_text[prompt]);
    vocab_stream_finish(&s, &j->echo_text[prompt]);
}

/* One prompt: a string or an array of ids. */
static bool take_prompt(struct api_job *j, const json_t *v, int prompt, struct api_error *error)
{
    if (json_is_array(v)) {
        if (!take_ids(j, v, &j->prompts[prompt], error))
            return false;
        if (j->echo)
            echo_ids(j, prompt);
        return true;
    }
    if (!json_is_string(v))
        return api_refuse(error, 400, "prompt", "invalid_type", "'prompt' must be a string, an array of strings, an "
                          "array of token ids or an array of such arrays");
    const char *text = json_string_value(v);
    size_t n = json_string_length(v);
    if (j->echo)
        buf_append(&j->echo_text[prompt], text, n);
    return api_prompt_encode(j, text, n, "prompt", &j->prompts[prompt], error);
}

bool api_completion_read(struct api_job *j, const json_t *body, struct api_error *error)
{
    const json_t *prompt = json_object_get(body, "prompt");
    if (!prompt || json_is_null(prompt))
        return api_refuse(error, 400, "prompt", "missing_required_parameter", "'prompt' is required");
    size_t count = json_array_size(prompt);
    bool many = json_is_array(prompt) && !json_is_integer(json_array_get(prompt, 0));
    if (json_is_array(prompt) && !count)
        return api_refuse(error, 400, "prompt", "invalid_value", "'prompt' must not be an empty array");
    if (many && count > API_PROMPTS_MAX)
        return api_refuse(error, 400, "prompt", "invalid_value", "'prompt' has %zu prompts; at most %d fit one "
                          "request", count, API_PROMPTS_MAX);
    j->prompt_count = many ? (int)count : 1;
    j->prompts = mem_new((size_t)j->prompt_count, sizeof *j->prompts);
    j->echo_text = mem_new((size_t)j->prompt_count, sizeof *j->echo_text);
    for (int i = 0; i < j->prompt_count; i++)
        if (!take_prompt(j, many ? json_array_get(prompt, (size_t)i) : prompt, i, error))
            return false;
    return true;
}
