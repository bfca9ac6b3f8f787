/* responses_test -- /v1/responses: what its bodies mean as a chat body, its object and events as OpenAI's reference has
 * them (Responses, Streaming events), and conversations that go on. */
#include "dialect.h"

#include "api/store.h"

#define PATH "/v1/responses"

static void bodies_become_chat_bodies(void)
{
    CANONICAL(PATH, "{\"input\":\"Hi\",\"instructions\":\"Be kind.\",\"max_output_tokens\":9,\"reasoning\":{\"effort\":"
        "\"low\",\"summary\":\"auto\"},\"store\":false,\"include\":[\"reasoning.encrypted_content\"]}",
        "{\"max_tokens\":9,\"messages\":[{\"role\":\"system\",\"content\":\"Be kind.\"},{\"role\":\"user\",\"content\":"
        "\"Hi\"}],\"reasoning_effort\":\"low\"}");
    CANONICAL(PATH, "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"a\"}]},"
        "{\"type\":\"reasoning\",\"id\":\"rs_1\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\",\"text\":"
        "\"hm\"}]},{\"type\":\"message\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"b\"}]},"
        "{\"type\":\"function_call\",\"call_id\":\"c1\",\"name\":\"f\",\"arguments\":\"{}\"},{\"type\":\"function_call\","
        "\"call_id\":\"c2\",\"name\":\"g\",\"arguments\":\"{}\"},{\"type\":\"function_call_output\",\"call_id\":\"c1\","
        "\"output\":\"22\"}]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]},{\"role\":\"assistant\","
        "\"reasoning_content\":\"hm\",\"content\":[{\"type\":\"text\",\"text\":\"b\"}],\"tool_calls\":[{\"type\":"
        "\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"},\"id\":\"c1\"},{\"type\":\"function\","
        "\"function\":{\"name\":\"g\",\"arguments\":\"{}\"},\"id\":\"c2\"}]},{\"role\":\"tool\",\"tool_call_id\":\"c1\","
        "\"content\":\"22\"}]}");
    CANONICAL(PATH, "{\"input\":\"Hi\",\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"parameters\":{},\"strict\":true},"
        "{\"type\":\"function\",\"name\":\"g\"}],\"tool_choice\":{\"type\":\"allowed_tools\",\"mode\":\"required\","
        "\"tools\":[{\"type\":\"function\",\"name\":\"g\"}]},\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":"
        "\"n\",\"schema\":{}}}}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"tools\":[{\"type\":\"function\",\"function\":{\"name\":"
        "\"g\"}}],\"tool_choice\":\"required\",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":"
        "{},\"name\":\"n\"}}}");
}

static void refusals_speak_responses(void)
{
    REFUSES(PATH, "{\"input\":\"Hi\",\"background\":true}", "background", "not supported");
    REFUSES(PATH, "{\"input\":\"Hi\",\"max_output_tokens\":0}", "max_output_tokens", "'max_output_tokens'");
    REFUSES(PATH, "{\"input\":\"Hi\",\"text\":{\"verbosity\":\"high\"}}", "text.verbosity", "not supported");
    REFUSES(PATH, "{\"input\":\"Hi\",\"text\":{\"format\":{\"type\":\"xml\"}}}", "text.format", "'text.format.type'");
    REFUSES(PATH, "{\"input\":\"Hi\",\"tools\":[{\"type\":\"web_search\"}]}", "tools[0]", "web_search");
    REFUSES(PATH, "{\"input\":[{\"type\":\"item_reference\",\"id\":\"x\"}]}", "input[0]", "item_reference");
    REFUSES(PATH, "{\"input\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_image\"}]}]}", "input[0].content[0]",
            "text only");
    REFUSES(PATH, "{\"input\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":5}]}",
            "input[1].content", "string");
    REFUSES(PATH, "{\"input\":\"Hi\",\"previous_response_id\":\"resp_0\"}", "previous_response_id", "resp_0");
    REFUSES(PATH, "{\"input\":\"Hi\",\"unheard_of\":1}", "unheard_of", "unknown");
}

static const char *string_at(const json_t *v, const char *key)
{
    const char *s = json_string_value(json_object_get(v, key));
    return s ? s : "";
}

static void whole_response(void)
{
    char *got = answer(post(PATH, "{\"input\":\"Hi\",\"metadata\":{\"a\":\"b\"}}", "resp_1"));
    json_t *v = jsonx_parse(got, strlen(got), NULL);
    struct buf output = { 0 }, usage = { 0 };
    jsonx_dump(json_object_get(v, "output"), &output);
    jsonx_dump(json_object_get(v, "usage"), &usage);
    CHECK_STR(buf_str(&output), "[{\"id\":\"rs_1_0\",\"type\":\"reasoning\",\"status\":\"completed\",\"summary\":[],"
        "\"content\":[{\"type\":\"reasoning_text\",\"text\":\"Hmm.\"}]},{\"id\":\"msg_1_1\",\"type\":\"message\","
        "\"status\":\"completed\",\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":"
        "\"Let me look.\",\"annotations\":[],\"logprobs\":[]}]},{\"id\":\"fc_1_2\",\"type\":\"function_call\","
        "\"status\":\"completed\",\"call_id\":\"call_1\",\"name\":\"weather\",\"arguments\":\"{\\\"city\\\":"
        "\\\"Paris\\\"}\"}]");
    CHECK_STR(buf_str(&usage), "{\"input_tokens\":9,\"input_tokens_details\":{\"cached_tokens\":4},\"output_tokens\":7,"
                               "\"output_tokens_details\":{\"reasoning_tokens\":0},\"total_tokens\":16}");
    CHECK_STR(string_at(v, "status"), "completed");
    CHECK_STR(string_at(json_object_get(v, "metadata"), "a"), "b");
    CHECK(json_is_false(json_object_get(v, "store"))); /* there is nowhere to */
    buf_release(&output);
    buf_release(&usage);
    json_decref(v);
    mem_free(got);
}

/* The order of events, their numbers, and that what they build is what the last one shows. */
static void streamed_response(void)
{
    static const char *const want[] = {
        "response.created", "response.in_progress",
        "response.output_item.added", "response.content_part.added", "response.reasoning_text.delta",
        "response.reasoning_text.delta", "response.reasoning_text.done", "response.content_part.done",
        "response.output_item.done",
        "response.output_item.added", "response.content_part.added", "response.output_text.delta",
        "response.output_text.done", "response.content_part.done", "response.output_item.done",
        "response.output_item.added", "response.function_call_arguments.delta",
        "response.function_call_arguments.delta", "response.function_call_arguments.done",
        "response.output_item.done", "response.completed",
    };
    char *got = answer(post(PATH, "{\"input\":\"Hi\",\"stream\":true}", "resp_1")), *p = got;
    json_t *items = json_array(), *last = NULL;
    for (size_t i = 0; i < MEM_COUNT(want); i++) {
        char name[80];
        snprintf(name, sizeof name, "event: %s\ndata: ", want[i]);
        CHECK(!strncmp(p, name, strlen(name)));
        p += strlen(name);
        char *end = strstr(p, "\n\n");
        json_t *v = jsonx_parse(p, (size_t)(end - p), NULL);
        CHECK_STR(string_at(v, "type"), want[i]);
        CHECK_INT(json_integer_value(json_object_get(v, "sequence_number")), i);
        if (!strcmp(want[i], "response.output_item.done"))
            json_array_append(items, json_object_get(v, "item"));
        json_decref(last);
        last = v;
        p = end + 2;
    }
    CHECK_STR(p, "data: [DONE]\n\n");
    CHECK_INT(json_array_size(items), 3);
    CHECK(json_equal(items, json_object_get(json_object_get(last, "response"), "output")));
    json_decref(items);
    json_decref(last);
    mem_free(got);
}

static void cut_and_failed(void)
{
    struct buf b = { 0 }, *out = &b;
    struct api_job *j = post(PATH, "{\"input\":\"Hi\",\"stream\":true,\"max_output_tokens\":1}", "resp_1");
    DELTA(API_TEXT, SAYS("x"));
    api_choice_finish(j, 0, INFER_LENGTH, &b);
    api_job_end(j, &(struct api_usage){ 9, 0, 1 }, &b);
    CHECK(strstr(buf_str(&b), "event: response.incomplete\n"));
    CHECK(strstr(buf_str(&b), "\"incomplete_details\":{\"reason\":\"max_output_tokens\"}"));
    buf_clear(&b);
    api_job_free(j);
    j = post(PATH, "{\"input\":\"Hi\",\"stream\":true}", "resp_1");
    api_choice_finish(j, 0, INFER_FAILED, &b);
    api_job_end(j, &(struct api_usage){ 9, 0, 0 }, &b);
    CHECK(strstr(buf_str(&b), "event: response.failed\n") && strstr(buf_str(&b), "\"code\":\"server_error\""));
    CHECK(!strstr(buf_str(&b), "response.completed") && !strstr(buf_str(&b), "[DONE]"));
    buf_release(&b);
    api_job_free(j);
}

/* ---- conversations */

/* The whole answer, "Let me look.", as JSON. */
static char *exchange(struct api_store *s, uint64_t space, const char *body, const char *id)
{
    struct api_job *j = ask(&(struct api_request){ .path = PATH, .body = body, .response_id = id, .store = s,
                                                   .space = space });
    struct buf b = { 0 }, *out = &b;
    CHECK(j != NULL);
    DELTA(API_TEXT, SAYS("Let me look."));
    api_choice_finish(j, 0, INFER_STOP, &b);
    api_job_end(j, &(struct api_usage){ 9, 4, 7 }, &b);
    api_job_free(j);
    return buf_take(&b);
}

static struct api_job *by_id(struct api_store *s, uint64_t space, const char *method, const char *path)
{
    return ask(&(struct api_request){ .method = method, .path = path, .response_id = "x", .store = s, .space = space });
}

static char *ready(struct api_job *j)
{
    struct buf b = { 0 };
    CHECK(j != NULL);
    if (!j)
        return mem_strdup("");
    CHECK_INT(api_job_choices(j), 0);
    api_job_begin(j, &b);
    api_job_end(j, &(struct api_usage){ 0, 0, 0 }, &b);
    api_job_free(j);
    return buf_take(&b);
}

static void a_conversation_goes_on(void)
{
    struct api_store *s = api_store_new();
    char *first = exchange(s, 7, "{\"input\":\"Hi\",\"instructions\":\"Be kind.\"}", "resp_1"), *got;
    CHECK(ask(&(struct api_request){ .path = PATH, .body = "{\"input\":\"On\",\"previous_response_id\":\"resp_1\"}",
                                     .response_id = "resp_2", .store = s, .space = 8 }) == NULL); /* another tenant */
    struct api_job *j = ask(&(struct api_request){ .path = PATH, .response_id = "resp_2", .store = s, .space = 7,
        .body = "{\"input\":\"On\",\"previous_response_id\":\"resp_1\",\"store\":false}" });
    struct vocab_ids want = fake_ids("<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nLet me look.<|im_end|>\n"
                                     "<|im_start|>user\nOn<|im_end|>\n<|im_start|>assistant\n");
    CHECK(j != NULL); /* and the instructions were those of the first turn alone */
    CHECK_INT(api_job_prompt(j, 0)->count, want.count);
    CHECK(!memcmp(api_job_prompt(j, 0)->v, want.v, want.count * sizeof *want.v));
    vocab_ids_release(&want);
    mem_free(answer(j));
    got = ready(by_id(s, 7, "GET", PATH "/resp_1"));
    CHECK_STR(got, first);
    mem_free(got);
    got = ready(by_id(s, 7, "GET", PATH "/resp_1/input_items"));
    CHECK_STR(got, "{\"object\":\"list\",\"first_id\":\"in_resp_1_0\",\"last_id\":\"in_resp_1_0\",\"has_more\":false,"
        "\"data\":[{\"type\":\"message\",\"role\":\"user\",\"content\":[{\"type\":\"input_text\",\"text\":\"Hi\"}],"
        "\"id\":\"in_resp_1_0\"}]}");
    mem_free(got);
    CHECK(!by_id(s, 7, "GET", PATH "/resp_2") && refused.status == 404); /* store: false */
    CHECK(!by_id(s, 8, "DELETE", PATH "/resp_1") && refused.status == 404);
    got = ready(by_id(s, 7, "DELETE", PATH "/resp_1"));
    CHECK_STR(got, "{\"id\":\"resp_1\",\"object\":\"response\",\"deleted\":true}");
    mem_free(got);
    CHECK(!by_id(s, 7, "GET", PATH "/resp_1") && refused.status == 404);
    mem_free(first);
    api_store_free(s);
}

/* T2: a tenant's old ones go before another's new ones do. */
static void the_store_is_bounded(void)
{
    struct api_store *s = api_store_new();
    struct buf texts[API_STORED_KINDS] = { { 0 } }, out = { 0 };
    char *big = mem_new(5 << 20, 1);
    memset(big, 'x', 5 << 20);
    buf_append(&texts[0], big, 5 << 20);
    CHECK(api_store_put(s, 1, "other", texts));
    for (int i = 0; i < 6; i++) {
        char id[8];
        snprintf(id, sizeof id, "r%d", i);
        CHECK(api_store_put(s, 2, id, texts));
        CHECK(api_store_get(s, 2, "r0", 0, &out) == (i < 5)); /* used each time, so it stays until... */
        if (i == 4)
            CHECK(api_store_put(s, 2, "r9", texts) && api_store_put(s, 2, "r8", texts) &&
                  api_store_put(s, 2, "r7", texts));
        buf_clear(&out);
    }
    CHECK(api_store_get(s, 2, "r5", 0, &out) && !api_store_get(s, 2, "r1", 0, &out));
    CHECK(api_store_get(s, 1, "other", 0, &out));
    buf_append(&texts[1], big, 5 << 20);
    buf_append(&texts[1], big, 5 << 20);
    buf_append(&texts[1], big, 5 << 20);
    CHECK(!api_store_put(s, 3, "huge", texts));
    for (int i = 0; i < API_STORED_KINDS; i++)
        buf_release(&texts[i]);
    buf_release(&out);
    mem_free(big);
    api_store_free(s);
}

int main(void)
{
    RUN(bodies_become_chat_bodies);
    RUN(refusals_speak_responses);
    RUN(whole_response);
    RUN(streamed_response);
    RUN(cut_and_failed);
    RUN(a_conversation_goes_on);
    RUN(the_store_is_bounded);
    DONE();
}
