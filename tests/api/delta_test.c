/* delta_test -- deltas to the chat dialect's objects: reasoning and calls as OpenAI's reference and vLLM's
 * reasoning_content show them, streamed and whole, from the same deltas. */
#include "../test.h"
#include "fake_template.h"
#include "fake_vocab.h"

#include "api/writer.h"

static const struct vocab vocab = { .add_bos = true };
static const struct template chatml = { .knows = NULL };
static const struct api_model model = { .id = "tiny", .vocab = &vocab, .chat = &chatml, .ctx = 4096 };

static struct api_job *parse(const char *path, const char *body)
{
    struct api_error e = { 0 };
    struct api_request r = { .path = path, .body = body, .body_len = strlen(body), .response_id = "r-1",
                             .created = 1700000000, .seed = 5 };
    struct api_job *j = api_job_parse(&model, &r, &e);
    if (!j)
        printf("# %s refused: %s\n", body, e.message);
    return j;
}

#define DELTA(k, ...) api_choice_delta(j, 0, &(struct api_delta){ .kind = k, __VA_ARGS__ }, out)
#define SAYS(s) .text = s, .length = sizeof s - 1

/* What a model that thinks, speaks and calls twice says. */
static void thought_word_and_two_calls(struct api_job *j, struct buf *out)
{
    DELTA(API_REASONING, SAYS("Hm"));
    DELTA(API_REASONING, SAYS("m."));
    DELTA(API_TEXT, SAYS("Let me "));
    DELTA(API_TEXT, SAYS("look."));
    DELTA(API_CALL_OPEN, .call = 0, .id = "call_1", .name = "weather");
    DELTA(API_CALL_ARGS, .call = 0, SAYS("{\"city\":"));
    DELTA(API_CALL_ARGS, .call = 0, SAYS("\"Paris\"}"));
    DELTA(API_CALL_CLOSE, .call = 0);
    DELTA(API_CALL_OPEN, .call = 1, .id = "call_2", .name = "time");
    DELTA(API_CALL_ARGS, .call = 1, SAYS("{}"));
    DELTA(API_CALL_CLOSE, .call = 1);
    api_choice_finish(j, 0, INFER_STOP, out);
}

static void whole_message_with_calls(void)
{
    struct api_job *j = parse("/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}");
    struct buf b = { 0 };
    thought_word_and_two_calls(j, &b);
    CHECK_INT(b.len, 0);
    api_job_end(j, &(struct api_usage){ 9, 0, 9 }, &b);
    CHECK(strstr(buf_str(&b), "{\"role\":\"assistant\",\"content\":\"Let me look.\",\"reasoning_content\":\"Hmm.\","
        "\"tool_calls\":[{\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":\"weather\",\"arguments\":"
        "\"{\\\"city\\\":\\\"Paris\\\"}\"}},{\"id\":\"call_2\",\"type\":\"function\",\"function\":{\"name\":\"time\","
        "\"arguments\":\"{}\"}}],\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"tool_calls\"}"));
    buf_release(&b);
    api_job_free(j);
}

static void streamed_message_with_calls(void)
{
    struct api_job *j = parse("/v1/chat/completions",
                              "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"stream\":true}");
    struct buf b = { 0 };
    thought_word_and_two_calls(j, &b);
    static const char *const want[] = {
        "\"delta\":{\"reasoning_content\":\"Hm\"}", "\"delta\":{\"reasoning_content\":\"m.\"}",
        "\"delta\":{\"content\":\"Let me \"}", "\"delta\":{\"content\":\"look.\"}",
        "\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"call_1\",\"type\":\"function\",\"function\":{\"name\":"
        "\"weather\",\"arguments\":\"\"}}]}",
        "\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"{\\\"city\\\":\"}}]}",
        "\"delta\":{\"tool_calls\":[{\"index\":0,\"function\":{\"arguments\":\"\\\"Paris\\\"}\"}}]}",
        "\"delta\":{\"tool_calls\":[{\"index\":1,\"id\":\"call_2\",\"type\":\"function\",\"function\":{\"name\":"
        "\"time\",\"arguments\":\"\"}}]}",
        "\"delta\":{\"tool_calls\":[{\"index\":1,\"function\":{\"arguments\":\"{}\"}}]}",
        "\"delta\":{},\"logprobs\":null,\"finish_reason\":\"tool_calls\"}",
    };
    const char *p = buf_str(&b);
    for (size_t i = 0; i < MEM_COUNT(want) && p; i++)
        if (!(p = strstr(p, want[i])))
            printf("# missing: %s\n", want[i]);
    CHECK(p != NULL);
    buf_release(&b);
    api_job_free(j);
}

/* A message that is calls alone has no content: null, as OpenAI sends it. */
static void calls_alone(void)
{
    struct api_job *j = parse("/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}");
    struct buf b = { 0 }, *out = &b;
    DELTA(API_CALL_OPEN, .call = 0, .id = "a", .name = "f");
    DELTA(API_CALL_ARGS, .call = 0, SAYS("{}"));
    DELTA(API_CALL_CLOSE, .call = 0);
    api_choice_finish(j, 0, INFER_LENGTH, &b);
    api_job_end(j, &(struct api_usage){ 9, 0, 9 }, &b);
    CHECK(strstr(buf_str(&b), "\"content\":null,\"tool_calls\":[{\"id\":\"a\""));
    CHECK(strstr(buf_str(&b), "\"finish_reason\":\"length\""));
    buf_release(&b);
    api_job_free(j);
}

int main(void)
{
    RUN(whole_message_with_calls);
    RUN(streamed_message_with_calls);
    RUN(calls_alone);
    DONE();
}
