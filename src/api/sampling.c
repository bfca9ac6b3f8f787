/* sampling -- the fields both dialects share: how tokens are drawn, when to stop, how the answer is sent. */
#include "api/job.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum { TOKENS_MAX = 1 << 30 };

/* One field as a number within [min, max]; absent leaves *out alone. */
static bool read_double(const json_t *body, const char *key, double min, double max, float *out,
                        struct api_error *error)
{
    struct err e;
    double v = (double)*out;
    if (jsonx_get_double(body, key, min, max, &v, &e))
        return api_refuse(error, 400, key, "invalid_value", "%s", e.text);
    *out = (float)v;
    return true;
}

static bool read_int(const json_t *body, const char *key, int min, int max, int *out, struct api_error *error)
{
    struct err e;
    int64_t v = *out;
    if (jsonx_get_int(body, key, min, max, &v, &e))
        return api_refuse(error, 400, key, "invalid_value", "%s", e.text);
    *out = (int)v;
    return true;
}

static bool read_bool(const json_t *body, const char *key, bool *out, struct api_error *error)
{
    struct err e;
    return !jsonx_get_bool(body, key, out, &e) || api_refuse(error, 400, key, "invalid_type", "%s", e.text);
}

static bool present(const json_t *body, const char *key)
{
    const json_t *v = json_object_get(body, key);
    return v && !json_is_null(v);
}

static bool read_lengths(struct api_job *j, const json_t *body, struct api_error *error)
{
    int max = j->dialect == API_COMPLETION ? API_COMPLETION_TOKENS_DEFAULT : 0, newer = 0;
    if (!read_int(body, "max_tokens", 1, TOKENS_MAX, &max, error) ||
        !read_int(body, "max_completion_tokens", 1, TOKENS_MAX, &newer, error) ||
        !read_int(body, "min_tokens", 0, TOKENS_MAX, &j->params.min_tokens, error) ||
        !read_bool(body, "ignore_eos", &j->params.ignore_eos, error))
        return false;
    if (newer && max && newer != max)
        return api_refuse(error, 400, "max_tokens", "invalid_value",
                          "'max_tokens' (%d) and 'max_completion_tokens' (%d) differ; send only the latter", max,
                          newer);
    j->params.max_tokens = newer ? newer : max;
    if (j->params.max_tokens && j->params.min_tokens > j->params.max_tokens)
        return api_refuse(error, 400, "min_tokens", "invalid_value", "'min_tokens' (%d) must not be above the most "
                          "tokens asked for (%d)", j->params.min_tokens, j->params.max_tokens);
    return true;
}

static bool read_logprobs(struct api_job *j, const json_t *body, struct api_error *error)
{
    if (j->dialect == API_COMPLETION)
        return read_int(body, "logprobs", 0, INFER_TOP_LOGPROBS_MAX, &j->params.top_logprobs, error);
    bool wanted = false;
    int top = 0;
    if (!read_bool(body, "logprobs", &wanted, error) ||
        !read_int(body, "top_logprobs", 0, INFER_TOP_LOGPROBS_MAX, &top, error))
        return false;
    if (!wanted && present(body, "top_logprobs") && top > 0)
        return api_refuse(error, 400, "top_logprobs", "invalid_value",
                          "'top_logprobs' needs 'logprobs' to be true");
    j->params.top_logprobs = wanted ? top : -1;
    return true;
}

static bool read_bias(struct api_job *j, const json_t *body, struct api_error *error)
{
    const json_t *map = json_object_get(body, "logit_bias");
    if (!map || json_is_null(map))
        return true;
    if (!json_is_object(map))
        return api_refuse(error, 400, "logit_bias", "invalid_type",
                          "'logit_bias' must be an object that maps token ids to numbers");
    if (json_object_size(map) > INFER_LOGIT_BIAS_MAX)
        return api_refuse(error, 400, "logit_bias", "invalid_value", "'logit_bias' has more than %d entries",
                          INFER_LOGIT_BIAS_MAX);
    j->params.bias = mem_new(json_object_size(map) + 1, sizeof *j->params.bias);
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)map, key, v) {
        char *end;
        long id = strtol(key, &end, 10);
        if (key[0] < '0' || key[0] > '9' || *end || id >= vocab_size(j->model->vocab))
            return api_refuse(error, 400, "logit_bias", "invalid_value", "'logit_bias' key '%.40s' is no token id of "
                              "this model (0 to %d)", key, vocab_size(j->model->vocab) - 1);
        double bias = json_number_value(v);
        if (!json_is_number(v) || !(bias >= -100 && bias <= 100))
            return api_refuse(error, 400, "logit_bias", "invalid_value",
                              "'logit_bias' of token %ld must be a number between -100 and 100", id);
        j->params.bias[j->params.bias_count++] = (struct infer_logit_bias){ (int32_t)id, (float)bias };
    }
    return true;
}

static bool add_stop(struct api_job *j, const json_t *v, struct api_error *error)
{
    size_t n = json_string_length(v);
    if (!json_is_string(v) || !n || n > API_STOP_BYTES_MAX)
        return api_refuse(error, 400, "stop", "invalid_value",
                          "each string in 'stop' must have 1 to %d bytes", API_STOP_BYTES_MAX);
    if (j->stops.count == API_STOPS_MAX)
        return api_refuse(error, 400, "stop", "invalid_value", "'stop' may hold at most %d strings", API_STOPS_MAX);
    stop_set_add(&j->stops, json_string_value(v), (int)n);
    return true;
}

static bool read_stops(struct api_job *j, const json_t *body, struct api_error *error)
{
    const json_t *v = json_object_get(body, "stop"), *one;
    size_t i;
    if (!v || json_is_null(v))
        return true;
    if (json_is_string(v))
        return add_stop(j, v, error);
    if (!json_is_array(v))
        return api_refuse(error, 400, "stop", "invalid_type", "'stop' must be a string or an array of strings");
    json_array_foreach(v, i, one)
        if (!add_stop(j, one, error))
            return false;
    return true;
}

static bool read_stream(struct api_job *j, const json_t *body, struct api_error *error)
{
    if (!read_bool(body, "stream", &j->stream, error))
        return false;
    const json_t *options = json_object_get(body, "stream_options");
    if (!options || json_is_null(options))
        return true;
    if (!json_is_object(options))
        return api_refuse(error, 400, "stream_options", "invalid_type", "'stream_options' must be an object");
    if (!j->stream)
        return api_refuse(error, 400, "stream_options", "invalid_value",
                          "'stream_options' is only allowed when 'stream' is true");
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)options, key, v) {
        bool pads = !strcmp(key, "include_obfuscation") && (json_is_false(v) || json_is_null(v));
        if (strcmp(key, "include_usage") && !pads)
            return api_refuse(error, 400, "stream_options", "unsupported_parameter",
                              "'stream_options.%.60s' is not supported; leave it out", key);
    }
    return read_bool(options, "include_usage", &j->include_usage, error);
}

static bool read_counts(struct api_job *j, const json_t *body, struct api_error *error)
{
    j->n = 1;
    if (!read_int(body, "n", 1, API_CHOICES_MAX, &j->n, error))
        return false;
    int best_of = j->n;
    if (!read_int(body, "best_of", 1, API_CHOICES_MAX, &best_of, error))
        return false;
    if (best_of != j->n)
        return api_refuse(error, 400, "best_of", "unsupported_parameter",
                          "'best_of' other than 'n' (%d) is not supported; leave it out", j->n);
    if (!read_bool(body, "echo", &j->echo, error))
        return false;
    if (j->echo && j->params.top_logprobs >= 0)
        return api_refuse(error, 400, "logprobs", "unsupported_parameter",
                          "'logprobs' of the prompt ('echo' with 'logprobs') is not supported; drop one of them");
    return true;
}

static bool read_draw(struct api_job *j, const json_t *body, struct api_error *error)
{
    struct infer_params *p = &j->params;
    return read_double(body, "temperature", 0, 2, &p->temperature, error) &&
           read_double(body, "top_p", 0, 1, &p->top_p, error) &&
           read_double(body, "min_p", 0, 1, &p->min_p, error) &&
           read_int(body, "top_k", -1, TOKENS_MAX, &p->top_k, error) &&
           read_double(body, "frequency_penalty", -2, 2, &p->frequency_penalty, error) &&
           read_double(body, "presence_penalty", -2, 2, &p->presence_penalty, error) &&
           read_double(body, "repetition_penalty", 0.01, 100, &p->repetition_penalty, error);
}

bool api_sampling_read(struct api_job *j, const json_t *body, const struct api_request *r, struct api_error *error)
{
    /* A seed the server chose has 53 bits: it survives a JavaScript client that sends it back. */
    j->params = (struct infer_params){ .temperature = 1, .top_p = 1, .repetition_penalty = 1, .top_logprobs = -1,
                                       .top_k = j->model->top_k_default, .seed = r->seed & ((1ull << 53) - 1) };
    struct err e;
    int64_t seed = (int64_t)j->params.seed;
    if (jsonx_get_int(body, "seed", INT64_MIN, INT64_MAX, &seed, &e))
        return api_refuse(error, 400, "seed", "invalid_value", "%s", e.text);
    j->params.seed = (uint64_t)seed;
    if (!read_draw(j, body, error) || !read_lengths(j, body, error) || !read_logprobs(j, body, error) ||
        !read_bias(j, body, error) || !read_stops(j, body, error) || !read_stream(j, body, error) ||
        !read_counts(j, body, error))
        return false;
    if (j->params.top_k < 0)
        j->params.top_k = 0;
    return true;
}
