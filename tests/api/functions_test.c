/* functions_test -- the older names of tools: the same prompt as today's names make, and answers in the older shape, as
 * OpenAI's reference of `function_call` shows it. */
#include "dialect.h"

#define CHAT "/v1/chat/completions"
#define F "{\"name\":\"weather\",\"parameters\":{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"}}}}"
#define ASKED "{\"role\":\"user\",\"content\":\"Rain?\"}"
#define OLD "\"messages\":[" ASKED "],\"functions\":[" F "]"

static void same_prompt(const char *old, const char *today)
{
    struct api_job *a = post(CHAT, old, "r"), *b = post(CHAT, today, "r");
    CHECK(a && b);
    if (a && b) {
        const struct vocab_ids *p = api_job_prompt(a, 0), *q = api_job_prompt(b, 0);
        CHECK(p->count > 10 && p->count == q->count && !memcmp(p->v, q->v, p->count * sizeof *p->v));
        CHECK_INT(a->tools.choice, b->tools.choice);
        CHECK_INT(a->tools.many, b->tools.many);
        CHECK_INT(json_array_size(a->tools.allowed), json_array_size(b->tools.allowed));
    }
    api_job_free(a);
    api_job_free(b);
}

static void older_names_are_todays(void)
{
#define TODAY "\"tools\":[{\"type\":\"function\",\"function\":" F "}],\"parallel_tool_calls\":false"
    same_prompt("{" OLD "}", "{\"messages\":[" ASKED "]," TODAY "}");
    same_prompt("{" OLD ",\"function_call\":\"none\"}",
                "{\"messages\":[" ASKED "]," TODAY ",\"tool_choice\":\"none\"}");
    same_prompt("{" OLD ",\"function_call\":\"auto\"}", "{\"messages\":[" ASKED "]," TODAY ","
                "\"tool_choice\":\"auto\"}");
    same_prompt("{" OLD ",\"function_call\":{\"name\":\"weather\"}}", "{\"messages\":[" ASKED "]," TODAY
                ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"weather\"}}}");
    same_prompt("{\"functions\":[" F "],\"messages\":[" ASKED ",{\"role\":\"assistant\",\"content\":null,"
                "\"function_call\":"
                "{\"name\":\"weather\",\"arguments\":\"{\\\"city\\\":\\\"Paris\\\"}\"}},{\"role\":"
                "\"function\",\"name\":"
                "\"weather\",\"content\":\"Sun\"}]}",
                "{" TODAY ",\"messages\":[" ASKED ",{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":"
                "\"x\",\"type\":\"function\",\"function\":{\"name\":\"weather\",\"arguments\":"
                "\"{\\\"city\\\":\\\"Paris\\\"}"
                "\"}}]},{\"role\":\"tool\",\"name\":\"weather\",\"tool_call_id\":\"x\",\"content\":\"Sun\"}]}");
}

static void whole_answer(void)
{
    char *got = answer(post(CHAT, "{" OLD "}", "r"));
    CHECK(strstr(got, "\"message\":{\"role\":\"assistant\",\"content\":\"Let me look.\",\"reasoning_content\":\"Hmm.\","
                      "\"function_call\":{\"name\":\"weather\",\"arguments\":\"{\\\"city\\\":\\\"Paris\\\"}\"},"
                      "\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"function_call\"}]"));
    CHECK(!strstr(got, "tool_calls"));
    mem_free(got);
}

static void streamed_answer(void)
{
    char *got = answer(post(CHAT, "{" OLD ",\"stream\":true}", "r"));
    const char *open = strstr(got, "\"delta\":{\"function_call\":{\"name\":\"weather\",\"arguments\":\"\"}}");
    const char *first = strstr(got, "\"delta\":{\"function_call\":{\"arguments\":\"{\\\"city\\\":\"}}");
    const char *second = strstr(got, "\"delta\":{\"function_call\":{\"arguments\":\"\\\"Paris\\\"}\"}}");
    const char *end = strstr(got, "\"finish_reason\":\"function_call\"");
    CHECK(open && first && second && end && open < first && first < second && second < end);
    CHECK(!strstr(got, "tool_calls"));
    mem_free(got);
}

/* The shape has room for one call. */
static void a_second_call_is_not_told(void)
{
    struct api_job *j = post(CHAT, "{" OLD ",\"stream\":true}", "r");
    struct buf b = { 0 }, *out = &b;
    if (!j)
        return;
    for (int i = 0; i < 2; i++) {
        DELTA(API_CALL_OPEN, .call = i, .id = "call_1", .name = i ? "second" : "first");
        DELTA(API_CALL_ARGS, .call = i, SAYS("{}"));
        DELTA(API_CALL_CLOSE, .call = i);
    }
    CHECK(strstr(buf_str(&b), "first") && !strstr(buf_str(&b), "second"));
    buf_release(&b);
    api_job_free(j);
}

/* Refusals name the field as the client wrote it. */
static void refusals_say_functions(void)
{
    REFUSES(CHAT, "{\"messages\":[" ASKED "],\"functions\":[{\"name\":\"a b\"}]}", "functions[0]", "'a b'");
    REFUSES(CHAT, "{" OLD ",\"function_call\":{\"name\":\"g\"}}", "function_call", "'function_call' names 'g', which "
            "'functions' does not have");
    REFUSES(CHAT, "{" OLD ",\"tool_choice\":\"auto\",\"function_call\":\"auto\"}", "function_call", "'tool_choice'");
}

static void thoughts_are_in_the_usage(void)
{
    struct api_job *j = post(CHAT, "{\"messages\":[" ASKED "],\"n\":2}", "r");
    struct buf b = { 0 };
    if (!j)
        return;
    for (int i = 0; i < 2; i++) {
        j->choices[i].thought_tokens = 3 + i;
        api_choice_finish(j, i, INFER_STOP, &b);
    }
    api_job_guessed(j, 5, 1);
    api_job_end(j, &(struct api_usage){ 9, 4, 42 }, &b);
    CHECK(strstr(buf_str(&b), "\"completion_tokens_details\":{\"reasoning_tokens\":7,\"accepted_prediction_tokens\":5,"
                              "\"rejected_prediction_tokens\":1}},\"seed\""));
    buf_release(&b);
    api_job_free(j);
}

int main(void)
{
    RUN(older_names_are_todays);
    RUN(whole_answer);
    RUN(streamed_answer);
    RUN(a_second_call_is_not_told);
    RUN(refusals_say_functions);
    RUN(thoughts_are_in_the_usage);
    DONE();
}
