/* ollama_test -- /api/chat and /api/generate: what their bodies mean as a chat body, and their objects as Ollama's
 * docs/api.md and api/types.go have them. */
#include "dialect.h"

#define CHAT "/api/chat"
#define GENERATE "/api/generate"
#define HI "\"model\":\"m:latest\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"
/* What Ollama assumes where options are silent. */
#define USUAL "\"temperature\":0.80000000000000004,\"top_k\":40,\"top_p\":0.90000000000000002,\"min_p\":0.0," \
              "\"repetition_penalty\":1.0,\"presence_penalty\":0.0,\"frequency_penalty\":0.0"

static void bodies_become_chat_bodies(void)
{
    CANONICAL(CHAT, "{" HI "}", "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"stream\":true," USUAL "}");
    CANONICAL(CHAT, "{" HI ",\"stream\":false,\"format\":\"json\",\"think\":\"low\",\"options\":{\"temperature\":0,"
        "\"top_k\":5,\"top_p\":1,\"min_p\":0.1,\"repeat_penalty\":1.5,\"presence_penalty\":1,\"frequency_penalty\":-1,"
        "\"num_predict\":7,\"seed\":3,\"num_ctx\":99,\"num_gpu\":1,\"stop\":[\"x\"]}}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"stream\":false,\"temperature\":0,\"top_k\":5,\"top_p\":"
        "1,\"min_p\":0.10000000000000001,\"repetition_penalty\":1.5,\"presence_penalty\":1,\"frequency_penalty\":-1,"
        "\"seed\":3,\"stop\":[\"x\"],\"max_tokens\":7,\"response_format\":{\"type\":\"json_object\"},"
        "\"reasoning_effort\":\"low\"}");
    CANONICAL(CHAT, "{\"messages\":[{\"role\":\"Assistant\",\"content\":\"\",\"thinking\":\"hm\",\"tool_calls\":[{"
        "\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1}}}]},{\"role\":\"tool\",\"content\":\"22\",\"tool_name\":"
        "\"f\"}],\"options\":{\"num_predict\":-1,\"seed\":-1},\"think\":false}",
        "{\"messages\":[{\"role\":\"assistant\",\"content\":\"\",\"reasoning_content\":\"hm\",\"tool_calls\":[{\"type\":"
        "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"x\\\":1}\"}}]},{\"role\":\"tool\",\"content\":"
        "\"22\",\"name\":\"f\"}],\"stream\":true," USUAL ",\"enable_thinking\":false}");
    CANONICAL(GENERATE, "{\"prompt\":\"p\",\"system\":\"s\",\"logprobs\":true,\"top_logprobs\":2}",
        "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"p\"}],\"stream\":true,"
        "\"logprobs\":true,\"top_logprobs\":2," USUAL "}");
}

static void refusals_speak_ollama(void)
{
    REFUSES(CHAT, "{" HI ",\"options\":{\"temperature\":9}}", "options.temperature", "'options.temperature'");
    REFUSES(CHAT, "{" HI ",\"options\":{\"num_predict\":0}}", "options.num_predict", "'options.num_predict'");
    REFUSES(CHAT, "{" HI ",\"options\":{\"mirostat\":1}}", "options.mirostat", "not supported");
    REFUSES(CHAT, "{" HI ",\"options\":{\"unheard_of\":1}}", "options.unheard_of", "unknown parameter");
    REFUSES(CHAT, "{" HI ",\"options\":{\"repeat_last_n\":64,\"repeat_penalty\":1.1}}", "options.repeat_last_n",
            "whole text");
    REFUSES(CHAT, "{" HI ",\"format\":{\"type\":\"nonsense\"}}", "format", "'format'");
    REFUSES(CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"images\":[\"aGk=\"]}]}", "messages[0].images",
            "not supported");
    REFUSES(GENERATE, "{\"prompt\":\"p\",\"suffix\":\"s\"}", "suffix", "not supported");
    REFUSES(GENERATE, "{\"prompt\":\"p\",\"context\":[1,99999]}", "context", "no token 1");
    REFUSES(GENERATE, "{\"keep_alive\":0}", "keep_alive", "operator");
}

#define TIMES "\"total_duration\":6000,\"load_duration\":1000,\"prompt_eval_count\":9,\"prompt_eval_duration\":2000," \
              "\"eval_count\":7,\"eval_duration\":3000}\n"
#define OPEN "{\"model\":\"m:latest\",\"created_at\":\"2023-11-14T22:13:20Z\","
#define CALLS "\"tool_calls\":[{\"id\":\"call_1\",\"function\":{\"index\":0,\"name\":\"weather\",\"arguments\":" \
              "{\"city\":\"Paris\"}}}]"

static void streamed_chat(void)
{
    struct api_job *j = post(CHAT, "{" HI "}", "");
    CHECK_STR(api_job_content_type(j), "application/x-ndjson");
    char *got = answer(j);
    CHECK_STR(got, OPEN "\"message\":{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"Hm\"},\"done\":false}\n"
        OPEN "\"message\":{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"m.\"},\"done\":false}\n"
        OPEN "\"message\":{\"role\":\"assistant\",\"content\":\"Let me look.\"},\"done\":false}\n"
        OPEN "\"message\":{\"role\":\"assistant\",\"content\":\"\"," CALLS "},\"done\":false}\n"
        OPEN "\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\"," TIMES);
    mem_free(got);
}

static void whole_answers(void)
{
    char *got = answer(post(CHAT, "{" HI ",\"stream\":false}", ""));
    CHECK_STR(got, OPEN "\"message\":{\"role\":\"assistant\",\"content\":\"Let me look.\",\"thinking\":\"Hmm.\"," CALLS
                   "},\"done\":true,\"done_reason\":\"stop\"," TIMES);
    mem_free(got);
    got = answer(post(GENERATE, "{\"model\":\"m:latest\",\"prompt\":\"p\",\"raw\":true,\"stream\":false}", ""));
    CHECK_STR(got, OPEN "\"response\":\"Let me look.\",\"thinking\":\"Hmm.\",\"done\":true,\"done_reason\":\"stop\","
                   TIMES);
    mem_free(got);
}

/* "context" holds every token, and sent back it comes before the next prompt, begun once. */
static void context_goes_round(void)
{
    struct api_job *j = post(GENERATE, "{\"prompt\":\"p\",\"stream\":false}", "");
    struct vocab_ids ids = fake_ids("<s><|im_start|>user\np<|im_end|>\n<|im_start|>assistant\n");
    struct buf b = { 0 }, body = { 0 };
    api_choice_token(j, 0, &(struct infer_token){ .id = FAKE_HELLO }, &b);
    api_choice_token(j, 0, &(struct infer_token){ .id = FAKE_IM_END }, &b);
    vocab_ids_push(&ids, FAKE_HELLO);
    vocab_ids_push(&ids, FAKE_IM_END);
    api_choice_finish(j, 0, INFER_STOP, &b);
    api_job_end(j, &(struct api_usage){ 9, 0, 2 }, &b);
    api_job_free(j);
    json_t *v = jsonx_parse(buf_str(&b), b.len, NULL);
    const json_t *context = json_object_get(v, "context");
    CHECK_INT(json_array_size(context), ids.count);
    for (size_t i = 0; i < ids.count; i++)
        CHECK_INT(json_integer_value(json_array_get(context, i)), ids.v[i]);
    buf_puts(&body, "{\"prompt\":\"q\",\"context\":");
    jsonx_dump(context, &body);
    buf_puts(&body, "}");
    j = post(GENERATE, buf_str(&body), "");
    struct vocab_ids next = fake_ids("<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n");
    const struct vocab_ids *prompt = api_job_prompt(j, 0);
    CHECK_INT(prompt->count, ids.count + next.count);
    for (size_t i = 0; i < prompt->count; i++)
        CHECK_INT(prompt->v[i], i < ids.count ? ids.v[i] : next.v[i - ids.count]);
    vocab_ids_release(&ids);
    vocab_ids_release(&next);
    json_decref(v);
    buf_release(&b);
    buf_release(&body);
    api_job_free(j);
}

static void an_empty_request_loads(void)
{
    struct api_job *j = post(CHAT, "{\"model\":\"m:latest\"}", "");
    struct buf b = { 0 };
    CHECK_INT(api_job_choices(j), 0);
    api_job_end(j, &(struct api_usage){ 0, 0, 0 }, &b);
    CHECK_STR(buf_str(&b), OPEN "\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":"
                           "\"load\"}\n");
    buf_release(&b);
    api_job_free(j);
}

static void logprobs_and_length(void)
{
    struct api_job *j = post(GENERATE, "{\"prompt\":\"p\",\"logprobs\":true,\"raw\":true}", "");
    struct buf b = { 0 };
    api_choice_token(j, 0, &(struct infer_token){ .id = 'x', .logprob = -0.5f }, &b);
    CHECK(strstr(buf_str(&b), "\"response\":\"x\",\"logprobs\":[{\"token\":\"x\",\"logprob\":-0.5,\"bytes\":[120],"
                              "\"top_logprobs\":[]}],\"done\":false}\n"));
    buf_clear(&b);
    api_choice_finish(j, 0, INFER_LENGTH, &b);
    api_job_end(j, &(struct api_usage){ 9, 0, 1 }, &b);
    CHECK(strstr(buf_str(&b), "\"done\":true,\"done_reason\":\"length\",\"total_duration\""));
    buf_clear(&b);
    api_job_free(j);
    j = post(CHAT, "{" HI "}", "");
    api_choice_finish(j, 0, INFER_FAILED, &b);
    CHECK(!strncmp(buf_str(&b), "{\"error\":\"", 10));
    buf_release(&b);
    api_job_free(j);
}

int main(void)
{
    RUN(bodies_become_chat_bodies);
    RUN(refusals_speak_ollama);
    RUN(streamed_chat);
    RUN(whole_answers);
    RUN(context_goes_round);
    RUN(an_empty_request_loads);
    RUN(logprobs_and_length);
    DONE();
}
