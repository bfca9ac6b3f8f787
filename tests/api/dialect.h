/* dialect -- what the tests of the other dialects share: a model, a request, an answer made of deltas. */
#ifndef TESTS_API_DIALECT_H
#define TESTS_API_DIALECT_H
#include "../test.h"
#include "fake_template.h"
#include "fake_vocab.h"

#include "api/translate.h"
#include "api/writer.h"

static const struct vocab vocab = { .add_bos = true };
static const struct template chatml = { .knows = "enable_thinking" };
static const struct api_model model = { .id = "tiny", .vocab = &vocab, .chat = &chatml, .ctx = 4096 };

static struct api_error refused; /* by the latest ask() that gave NULL */

static inline struct api_job *ask(const struct api_request *r)
{
    refused = (struct api_error){ 0 };
    struct api_request with = *r;
    with.body_len = r->body ? strlen(r->body) : 0;
    with.created = 1700000000;
    with.seed = 5;
    return api_job_parse(&model, &with, &refused);
}

static inline struct api_job *post(const char *path, const char *body, const char *id)
{
    struct api_job *j = ask(&(struct api_request){ .path = path, .body = body, .response_id = id });
    if (!j)
        printf("# %s refused: %s\n", body, refused.message);
    return j;
}

/* The canonical body a route makes of this one, as text; "" and `refused` when it does not. */
static inline char *canonical(const char *path, const char *body)
{
    struct buf b = { 0 };
    struct err e;
    json_t *chat = NULL, *v = jsonx_parse(body, strlen(body), &e);
    struct api_job j = { .route = api_route_find("POST", path), .model = &model };
    j.dialect = j.route->form;
    refused = (struct api_error){ 0 };
    if (v && j.route->translate(&j, v, &chat, &refused) && chat)
        jsonx_dump(chat, &b);
    json_decref(chat);
    json_decref(v);
    json_decref(j.origins);
    json_decref(j.conversation);
    json_decref(j.ask);
    buf_release(&j.ready);
    buf_puts(&b, "");
    return buf_take(&b);
}

#define CANONICAL(path, body, want)                                                                                    \
    do {                                                                                                               \
        char *got_ = canonical(path, body);                                                                            \
        CHECK_STR(got_, want);                                                                                         \
        if (refused.message[0])                                                                                        \
            printf("# refused: %s\n", refused.message);                                                                \
        mem_free(got_);                                                                                                \
    } while (0)

/* Refused, naming param, with this in the sentence. */
#define REFUSES(path_, body_, param_, says)                                                                            \
    do {                                                                                                               \
        struct api_job *j_ = ask(&(struct api_request){ .path = path_, .body = body_, .response_id = "r" });           \
        CHECK(j_ == NULL);                                                                                             \
        api_job_free(j_);                                                                                              \
        CHECK_STR(refused.param, param_);                                                                              \
        if (!strstr(refused.message, says))                                                                            \
            printf("# said: %s\n", refused.message);                                                                   \
        CHECK(strstr(refused.message, says) != NULL);                                                                  \
    } while (0)

#define DELTA(k, ...) api_choice_delta(j, 0, &(struct api_delta){ .kind = k, __VA_ARGS__ }, out)
#define SAYS(s) .text = s, .length = sizeof s - 1

/* What a model that thinks, speaks and calls once says. */
static inline void think_speak_call(struct api_job *j, struct buf *out)
{
    DELTA(API_REASONING, SAYS("Hm"));
    DELTA(API_REASONING, SAYS("m."));
    DELTA(API_TEXT, SAYS("Let me look."));
    DELTA(API_CALL_OPEN, .call = 0, .id = "call_1", .name = "weather");
    DELTA(API_CALL_ARGS, .call = 0, SAYS("{\"city\":"));
    DELTA(API_CALL_ARGS, .call = 0, SAYS("\"Paris\"}"));
    DELTA(API_CALL_CLOSE, .call = 0);
    api_choice_finish(j, 0, INFER_STOP, out);
}

/* The whole exchange: begin, the answer above, end. */
static inline char *answer(struct api_job *j)
{
    struct buf b = { 0 };
    struct api_measure m = { .cached_tokens = 4, .queue_ns = 1000, .prefill_ns = 2000, .decode_ns = 3000,
                             .total_ns = 6000 };
    if (!j)
        return mem_strdup("");
    api_job_measured(j, &m);
    api_job_begin(j, &b);
    think_speak_call(j, &b);
    api_job_end(j, &(struct api_usage){ 9, 4, 7 }, &b);
    api_job_free(j);
    return buf_take(&b);
}
#endif
