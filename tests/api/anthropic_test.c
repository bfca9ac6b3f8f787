/* anthropic_test -- /v1/messages: what its bodies mean as a chat body, and its messages and events as Anthropic's
 * reference documents them (platform.claude.com: Messages, Streaming messages). */
#include "dialect.h"

#define PATH "/v1/messages"
#define COUNT "/v1/messages/count_tokens"
#define HI "\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"

static void bodies_become_chat_bodies(void)
{
    CANONICAL(PATH, "{" HI ",\"system\":\"Be kind.\",\"stop_sequences\":[\"x\"],\"top_k\":3}",
        "{\"max_tokens\":9,\"top_k\":3,\"stop\":[\"x\"],\"messages\":[{\"role\":\"system\",\"content\":\"Be kind.\"},"
        "{\"role\":\"user\",\"content\":\"Hi\"}],\"enable_thinking\":false}");
    CANONICAL(PATH, "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},"
        "{\"type\":\"tool_result\",\"tool_use_id\":\"t1\",\"content\":[{\"type\":\"text\",\"text\":\"22 C\"}]},"
        "{\"type\":\"tool_result\",\"tool_use_id\":\"t2\",\"content\":\"gone\",\"is_error\":true},"
        "{\"type\":\"text\",\"text\":\"b\"}]}],\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}}",
        "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"t1\",\"content\":[{\"type\":\"text\",\"text\":\"22 C\"}]},"
        "{\"role\":\"tool\",\"tool_call_id\":\"t2\",\"content\":[{\"type\":\"text\",\"text\":\"The tool failed:\"},"
        "{\"type\":\"text\",\"text\":\"gone\"}]},{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"b\"}]}],"
        "\"enable_thinking\":true,\"thinking_budget\":1024}");
    CANONICAL(PATH, "{\"max_tokens\":1,\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\","
        "\"thinking\":\"hm\",\"signature\":\"\"},{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"tool_use\",\"id\":\"t1\","
        "\"name\":\"f\",\"input\":{\"x\":1}}]}]}",
        "{\"max_tokens\":1,\"messages\":[{\"role\":\"assistant\",\"reasoning_content\":\"hm\",\"content\":[{\"type\":"
        "\"text\",\"text\":\"a\"}],\"tool_calls\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":"
        "\"{\\\"x\\\":1}\"},\"id\":\"t1\"}]}],\"enable_thinking\":false}");
    CANONICAL(PATH, "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\","
        "\"content\":\"The\"}],\"output_config\":{\"effort\":\"low\",\"format\":{\"type\":\"json_schema\",\"schema\":{}}}}",
        "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"assistant\",\"content\":"
        "\"The\"}],\"continue_final_message\":true,\"enable_thinking\":false,\"reasoning_effort\":\"low\","
        "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{},\"name\":\"answer\"}}}");
}

static void tools_become_functions(void)
{
    static const char *const choices[][2] = {
        { "{\"type\":\"any\",\"disable_parallel_tool_use\":true}",
          "\"parallel_tool_calls\":false,\"tool_choice\":\"required\"" },
        { "{\"type\":\"auto\"}", "\"tool_choice\":\"auto\"" },
        { "{\"type\":\"tool\",\"name\":\"f\"}",
          "\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}" },
    };
    for (size_t i = 0; i < MEM_COUNT(choices); i++) {
        struct buf body = { 0 }, want = { 0 };
        buf_printf(&body, "{" HI ",\"tools\":[{\"name\":\"f\",\"description\":\"does\",\"input_schema\":{\"type\":"
                   "\"object\"}}],\"tool_choice\":%s}", choices[i][0]);
        buf_printf(&want, "{\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"tools\":[{\"type\":"
                   "\"function\",\"function\":{\"name\":\"f\",\"description\":\"does\",\"parameters\":{\"type\":"
                   "\"object\"}}}],%s,\"enable_thinking\":false}", choices[i][1]);
        CANONICAL(PATH, buf_str(&body), buf_str(&want));
        buf_release(&body);
        buf_release(&want);
    }
}

/* The field is named as the client wrote it, also where the reader of chat bodies refused. */
static void refusals_speak_anthropic(void)
{
    REFUSES(PATH, "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}", "max_tokens", "required");
    REFUSES(PATH, "{" HI ",\"n\":2}", "n", "unknown parameter 'n'");
    REFUSES(PATH, "{" HI ",\"stop_sequences\":\"\"}", "stop_sequences", "each string in 'stop_sequences'");
    REFUSES(PATH, "{" HI ",\"temperature\":3}", "temperature", "temperature");
    REFUSES(PATH, "{\"max_tokens\":1,\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"image\"}]}]}",
            "messages[0].content[0]", "this server takes text only");
    REFUSES(PATH, "{" HI ",\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}]}", "tools[0]",
            "web_search_20250305");
    REFUSES(PATH, "{\"max_tokens\":1,\"system\":\"s\",\"messages\":[{\"role\":\"robot\",\"content\":\"x\"}]}",
            "messages[0]", "user or assistant");
    REFUSES(COUNT, "{\"max_tokens\":1}", "max_tokens", "unknown");
    CANONICAL(COUNT, "{\"thread\":null,\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}",
              "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"enable_thinking\":false}");
    REFUSES(PATH, "{" HI ",\"thread\":{\"type\":\"create\"}}", "thread", "send all its messages");
    CHECK_STR(refused.code, "thread_unsupported_request"); /* what their client's loop listens for */
}

static void whole_message(void)
{
    char *got = answer(post(PATH, "{" HI "}", "msg_1"));
    CHECK_STR(got, "{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"tiny\",\"content\":[{\"type\":"
        "\"thinking\",\"thinking\":\"Hmm.\",\"signature\":\"\"},{\"type\":\"text\",\"text\":\"Let me look.\"},{\"type\":"
        "\"tool_use\",\"id\":\"call_1\",\"name\":\"weather\",\"input\":{\"city\":\"Paris\"}}],\"stop_reason\":"
        "\"tool_use\",\"stop_sequence\":null,\"usage\":{\"input_tokens\":5,\"cache_creation_input_tokens\":0,"
        "\"cache_read_input_tokens\":4,\"output_tokens\":7}}");
    mem_free(got);
}

#define EVENT(type, rest) "event: " type "\ndata: {\"type\":\"" type "\"" rest "}\n\n"
#define DELTA_OF(index, kind, field, text)                                                                             \
    EVENT("content_block_delta", ",\"index\":" index ",\"delta\":{\"type\":\"" kind "\",\"" field "\":\"" text "\"}")

static void streamed_message(void)
{
    char *got = answer(post(PATH, "{" HI ",\"stream\":true}", "msg_1"));
    CHECK_STR(got, EVENT("message_start", ",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\","
            "\"model\":\"tiny\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":"
            "18,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":4,\"output_tokens\":0}}")
        EVENT("ping", "")
        EVENT("content_block_start", ",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\","
            "\"signature\":\"\"}")
        DELTA_OF("0", "thinking_delta", "thinking", "Hm") DELTA_OF("0", "thinking_delta", "thinking", "m.")
        EVENT("content_block_stop", ",\"index\":0")
        EVENT("content_block_start", ",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}")
        DELTA_OF("1", "text_delta", "text", "Let me look.")
        EVENT("content_block_stop", ",\"index\":1")
        EVENT("content_block_start", ",\"index\":2,\"content_block\":{\"type\":\"tool_use\",\"id\":\"call_1\",\"name\":"
            "\"weather\",\"input\":{}}")
        DELTA_OF("2", "input_json_delta", "partial_json", "{\\\"city\\\":")
        DELTA_OF("2", "input_json_delta", "partial_json", "\\\"Paris\\\"}")
        EVENT("content_block_stop", ",\"index\":2")
        EVENT("message_delta", ",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},\"usage\":{"
            "\"input_tokens\":5,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":4,\"output_tokens\":7}")
        EVENT("message_stop", ""));
    mem_free(got);
}

static void stop_reasons(void)
{
    struct api_job *j = post(PATH, "{" HI ",\"stop_sequences\":[\"STOP\"]}", "msg_1");
    struct buf b = { 0 };
    CHECK(!api_choice_token(j, 0, &(struct infer_token){ .id = FAKE_ST }, &b));
    CHECK(api_choice_token(j, 0, &(struct infer_token){ .id = FAKE_OP }, &b));
    api_choice_finish(j, 0, INFER_STOP, &b);
    api_job_end(j, &(struct api_usage){ 9, 0, 2 }, &b);
    CHECK(strstr(buf_str(&b), "\"content\":[],\"stop_reason\":\"stop_sequence\",\"stop_sequence\":\"STOP\""));
    buf_clear(&b);
    api_job_free(j);
    for (int tokens = 8; tokens <= 9; tokens++) { /* fewer than asked for: the context is full */
        j = post(PATH, "{" HI "}", "msg_1");
        for (int i = 0; i < tokens; i++)
            api_choice_token(j, 0, &(struct infer_token){ .id = 'x' }, &b);
        api_choice_finish(j, 0, INFER_LENGTH, &b);
        api_job_end(j, &(struct api_usage){ 9, 0, tokens }, &b);
        CHECK(strstr(buf_str(&b), tokens == 9 ? "\"max_tokens\"" : "\"model_context_window_exceeded\""));
        buf_clear(&b);
        api_job_free(j);
    }
    buf_release(&b);
}

static void tokens_are_counted_without_an_answer(void)
{
    struct api_job *j = post(COUNT, "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]}", "msg_1");
    struct buf b = { 0 };
    CHECK_INT(api_job_choices(j), 0);
    api_job_begin(j, &b);
    api_job_end(j, &(struct api_usage){ 0, 0, 0 }, &b);
    struct vocab_ids ids = fake_ids("<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
    struct buf want = { 0 };
    buf_printf(&want, "{\"input_tokens\":%zu}", ids.count);
    CHECK_STR(buf_str(&b), buf_str(&want));
    vocab_ids_release(&ids);
    buf_release(&b);
    buf_release(&want);
    api_job_free(j);
}

static void failures(void)
{
    struct api_job *j = post(PATH, "{" HI ",\"stream\":true}", "msg_1");
    struct buf b = { 0 };
    api_choice_finish(j, 0, INFER_FAILED, &b);
    api_job_end(j, &(struct api_usage){ 9, 0, 0 }, &b);
    CHECK(strstr(buf_str(&b), "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",") == b.data);
    CHECK(!strstr(buf_str(&b), "message_stop"));
    buf_release(&b);
    api_job_free(j);
}

int main(void)
{
    RUN(bodies_become_chat_bodies);
    RUN(tools_become_functions);
    RUN(refusals_speak_anthropic);
    RUN(whole_message);
    RUN(streamed_message);
    RUN(stop_reasons);
    RUN(tokens_are_counted_without_an_answer);
    RUN(failures);
    DONE();
}
