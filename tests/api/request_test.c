/* request_test -- bodies to jobs: what a request asks for arrives, what is refused is named. */
#include "../test.h"
#include "fake_template.h"
#include "fake_vocab.h"

#include "api/job.h"
#include "base/rng.h"

#include <stdlib.h>

static const struct vocab vocab = { .add_bos = true }, vocab_without_bos = { .add_bos = false };
static const struct template chatml = { .knows = "enable_thinking" };
static const struct api_model model = { .id = "tiny", .vocab = &vocab, .chat = &chatml, .ctx = 200 };

static struct api_job *parse_as(const struct api_model *m, const char *path, const char *body, struct api_error *e)
{
    struct api_request r = { .path = path, .body = body, .body_len = strlen(body), .response_id = "x-1",
                             .created = 1700000000, .seed = 0xFFFFFFFFFFFFFFFFull };
    *e = (struct api_error){ 0 };
    return api_job_parse(m, &r, e);
}

static struct api_job *parse(const char *path, const char *body)
{
    struct api_error e;
    struct api_job *j = parse_as(&model, path, body, &e);
    if (!j)
        printf("# %s\n# refused: %d %s: %s\n", body, e.status, e.param, e.message);
    return j;
}

#define CHAT "/v1/chat/completions"
#define TEXT "/v1/completions"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"
#define FN(name) "{\"type\":\"function\",\"function\":{\"name\":\"" name "\"}}"

static void check_prompt(const struct api_job *j, int choice, const char *want)
{
    struct vocab_ids ids = fake_ids(want);
    const struct vocab_ids *got = api_job_prompt(j, choice);
    CHECK_INT(got->count, ids.count);
    CHECK(got->count == ids.count && !memcmp(got->v, ids.v, ids.count * sizeof *ids.v));
    vocab_ids_release(&ids);
}

static void every_field_arrives(void)
{
    struct api_job *j = parse(CHAT, "{" HI ",\"model\":\"tiny\",\"stream\":true,\"stream_options\":{\"include_usage\":"
        "true,\"include_obfuscation\":false},\"stop\":[\"a\",\"bc\"],\"max_completion_tokens\":7,\"min_tokens\":2,"
        "\"ignore_eos\":true,\"temperature\":0.5,\"top_p\":0.25,\"top_k\":40,\"min_p\":0.125,\"seed\":42,"
        "\"logprobs\":true,\"top_logprobs\":3,\"logit_bias\":{\"7\":-100,\"260\":1.5},\"frequency_penalty\":-0.5,"
        "\"presence_penalty\":0.5,\"repetition_penalty\":1.25,\"n\":2,\"user\":\"u\",\"metadata\":{\"a\":\"b\"},"
        "\"service_tier\":\"auto\",\"safety_identifier\":\"s\",\"prompt_cache_key\":\"k\",\"store\":false,"
        "\"tools\":[],\"tool_choice\":\"none\",\"response_format\":{\"type\":\"text\"},\"parallel_tool_calls\":true,"
        "\"enable_thinking\":true,\"functions\":null,\"function_call\":\"none\"}");
    CHECK(j != NULL);
    if (!j)
        return;
    const struct infer_params *p = api_job_params(j);
    CHECK(api_job_stream(j) && j->include_usage);
    CHECK_STR(api_job_content_type(j), "text/event-stream");
    CHECK_INT(api_job_choices(j), 2);
    CHECK_INT(p->max_tokens, 7);
    CHECK_INT(p->min_tokens, 2);
    CHECK(p->ignore_eos);
    CHECK_NEAR(p->temperature, 0.5, 0);
    CHECK_NEAR(p->top_p, 0.25, 0);
    CHECK_NEAR(p->min_p, 0.125, 0);
    CHECK_INT(p->top_k, 40);
    CHECK_INT(p->seed, 42);
    CHECK_INT(p->top_logprobs, 3);
    CHECK_INT(p->bias_count, 2);
    CHECK_INT(p->bias[0].token, 7);
    CHECK_NEAR(p->bias[1].bias, 1.5, 0);
    CHECK_NEAR(p->frequency_penalty, -0.5, 0);
    CHECK_NEAR(p->presence_penalty, 0.5, 0);
    CHECK_NEAR(p->repetition_penalty, 1.25, 0);
    CHECK_INT(j->stops.count, 2);
    check_prompt(j, 1, "<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>");
    api_job_free(j);
}

static void defaults_are_openais(void)
{
    struct api_job *j = parse(CHAT, "{" HI ",\"temperature\":null,\"stop\":null,\"n\":null}");
    const struct infer_params *p = api_job_params(j);
    CHECK_NEAR(p->temperature, 1, 0);
    CHECK_NEAR(p->top_p, 1, 0);
    CHECK_NEAR(p->repetition_penalty, 1, 0);
    CHECK_INT(p->top_k, 0);
    CHECK_INT(p->max_tokens, 0);
    CHECK_INT(p->top_logprobs, -1);
    CHECK_INT(p->seed, (1ll << 53) - 1); /* what a JavaScript client can send back */
    CHECK_STR(api_job_content_type(j), "application/json");
    api_job_free(j);
    j = parse(TEXT, "{\"prompt\":\"a\"}");
    CHECK_INT(api_job_params(j)->max_tokens, 16);
    api_job_free(j);
}

static void every_form_of_prompt(void)
{
    struct api_job *j = parse(TEXT, "{\"prompt\":\"ab\"}");
    check_prompt(j, 0, "<s>ab");
    api_job_free(j);
    j = parse(TEXT, "{\"prompt\":\"<s>ab\"}"); /* its own BOS is enough */
    check_prompt(j, 0, "<s>ab");
    api_job_free(j);
    j = parse(TEXT, "{\"prompt\":[\"a\",\"bc\"],\"n\":2}");
    CHECK_INT(api_job_choices(j), 4);
    check_prompt(j, 1, "<s>a");
    check_prompt(j, 2, "<s>bc");
    api_job_free(j);
    j = parse(TEXT, "{\"prompt\":[97,260]}"); /* ids are taken as they are */
    CHECK_INT(api_job_prompt(j, 0)->count, 2);
    CHECK_INT(api_job_prompt(j, 0)->v[1], 260);
    api_job_free(j);
    j = parse(TEXT, "{\"prompt\":[[97],[98,99]]}");
    CHECK_INT(api_job_choices(j), 2);
    check_prompt(j, 1, "bc");
    api_job_free(j);
    j = parse(TEXT, "{\"prompt\":\"\"}");
    check_prompt(j, 0, "<s>");
    api_job_free(j);
    struct api_error e;
    struct api_model m = model;
    m.vocab = &vocab_without_bos;
    j = parse_as(&m, TEXT, "{\"prompt\":\"ab\"}", &e);
    check_prompt(j, 0, "ab");
    api_job_free(j);
}

static void messages_become_a_prompt(void)
{
    struct api_job *j = parse(CHAT, "{\"messages\":[{\"role\":\"developer\",\"content\":\"Be\"},"
        "{\"role\":\"user\",\"name\":\"ann\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\""
        ":\"b\"}]},{\"role\":\"assistant\",\"content\":\"c\",\"refusal\":null,\"tool_calls\":[],\"annotations\":[]}]}");
    check_prompt(j, 0, "<s><|im_start|>system\nBe<|im_end|>\n<|im_start|>user\na\nb<|im_end|>\n"
                       "<|im_start|>assistant\nc<|im_end|>\n<|im_start|>assistant\n");
    api_job_free(j);
    j = parse(CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"q\"},{\"role\":\"assistant\",\"content\":"
                    "\"The answer \"}],\"continue_final_message\":true}");
    check_prompt(j, 0, "<s><|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nThe answer ");
    api_job_free(j);
    j = parse(CHAT, "{" HI ",\"add_generation_prompt\":false}");
    check_prompt(j, 0, "<s><|im_start|>user\nHi<|im_end|>\n");
    api_job_free(j);
    j = parse(CHAT, "{" HI ",\"chat_template_kwargs\":{\"enable_thinking\":true}}");
    check_prompt(j, 0, "<s><|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n<think>");
    api_job_free(j);
}

static const struct refusal {
    const char *path, *body, *param, *code; /* code NULL: any */
} refusals[] = {
    { CHAT, "[]", "", "invalid_type" },
    { CHAT, "{", "", "invalid_json" },
    { CHAT, "{" HI "," HI "}", "", "invalid_json" },
    { CHAT, "{}", "messages", "missing_required_parameter" },
    { CHAT, "{\"messages\":[]}", "messages", NULL },
    { CHAT, "{\"messages\":\"Hi\"}", "messages", NULL },
    { CHAT, "{\"messages\":[3]}", "messages[0].role", NULL },
    { CHAT, "{\"messages\":[{\"role\":\"robot\",\"content\":\"\"}]}", "messages[0].role", "invalid_value" },
    { CHAT, "{\"messages\":[{\"role\":\"user\"}]}", "messages[0].content", "missing_required_parameter" },
    { CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":1}]}", "messages[0].content", "invalid_type" },
    { CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"\",\"colour\":1}]}", "messages[0].colour",
      "unknown_parameter" },
    { CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":"
            "\"image_url\",\"image_url\":{\"url\":\"x\"}}]}]}", "messages[0].content[1].type", "unsupported_value" },
    { CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"input_audio\"}]}]}",
      "messages[0].content[0].type", "unsupported_value" },
    { CHAT, "{\"messages\":[{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{}]}]}",
      "messages[0].tool_calls", "invalid_value" },
    { CHAT, "{" HI ",\"frobnicate\":1}", "frobnicate", "unknown_parameter" },
    { CHAT, "{" HI ",\"prompt\":\"a\"}", "prompt", "unknown_parameter" },
    { CHAT, "{" HI ",\"tools\":[{\"type\":\"function\"}]}", "tools[0]", "invalid_value" },
    { CHAT, "{" HI ",\"tools\":[{\"type\":\"custom\",\"custom\":{\"name\":\"f\"}}]}", "tools[0]", "unsupported_value" },
    { CHAT, "{" HI ",\"tools\":[" FN("a b") "]}", "tools[0]", "invalid_value" },
    { CHAT, "{" HI ",\"tools\":[" FN("f") "," FN("f") "]}", "tools[1]", "invalid_value" },
    { CHAT, "{" HI ",\"tools\":{}}", "tools", "invalid_type" },
    { CHAT, "{" HI ",\"tools\":[" FN("f") "],\"tool_choice\":\"maybe\"}", "tool_choice", "invalid_value" },
    { CHAT, "{" HI ",\"tools\":[" FN("f") "],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}}}",
      "tool_choice", "invalid_value" },
    { CHAT, "{" HI ",\"tools\":[" FN("f") "],\"tool_choice\":\"required\",\"stop\":\"x\"}", "stop", "invalid_value" },
    { CHAT, "{" HI ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"strict\":true,\"parameters\":"
      "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"pattern\":\"(a)\\\\1\"}}}}}]}",
      "tools[0].function.parameters", "unsupported_schema" },
    { CHAT, "{" HI ",\"tool_choice\":\"required\"}", "tool_choice", "invalid_value" },
    { CHAT, "{" HI ",\"parallel_tool_calls\":1}", "parallel_tool_calls", "invalid_type" },
    { CHAT, "{" HI ",\"functions\":{}}", "functions", "invalid_type" },
    { CHAT, "{" HI ",\"functions\":[{}]}", "functions[0]", "invalid_value" },
    { CHAT, "{" HI ",\"functions\":[{\"name\":\"f\"}],\"tools\":[" FN("f") "]}", "functions", "invalid_value" },
    { CHAT, "{" HI ",\"functions\":[{\"name\":\"f\"}],\"function_call\":{\"name\":\"g\"}}", "function_call",
      "invalid_value" },
    { CHAT, "{" HI ",\"functions\":[{\"name\":\"f\"}],\"function_call\":\"required\"}", "function_call",
      "invalid_value" },
    { CHAT, "{" HI ",\"function_call\":{\"name\":\"f\"}}", "function_call", "invalid_value" },
    { CHAT, "{\"messages\":[{\"role\":\"assistant\",\"function_call\":{\"name\":\"f\"}}]}", "messages[0].content",
      "missing_required_parameter" },
    { CHAT, "{" HI ",\"thinking_budget\":100}", "thinking_budget", "unsupported_parameter" },
    { CHAT, "{" HI ",\"reasoning\":{\"summary\":\"auto\"}}", "reasoning", "unknown_parameter" },
    { CHAT, "{" HI ",\"response_format\":{\"type\":\"yaml\"}}", "response_format", "invalid_value" },
    { CHAT, "{" HI ",\"response_format\":{\"type\":\"json_schema\"}}", "response_format", "invalid_value" },
    { CHAT, "{" HI ",\"guided_regex\":\"(a\"}", "guided_regex", "unsupported_schema" },
    { CHAT, "{" HI ",\"guided_json\":{\"unevaluatedItems\":false}}", "guided_json", "unsupported_schema" },
    { CHAT, "{" HI ",\"guided_choice\":[\"a\"],\"guided_regex\":\"a\"}", "guided_choice", "invalid_value" },
    { CHAT, "{" HI ",\"guided_choice\":[\"a\"],\"ignore_eos\":true}", "ignore_eos", "invalid_value" },
    { CHAT, "{" HI ",\"store\":true}", "store", "unsupported_parameter" },
    { CHAT, "{" HI ",\"audio\":{}}", "audio", "unsupported_parameter" },
    { CHAT, "{" HI ",\"model\":3}", "model", "invalid_type" },
    { CHAT, "{" HI ",\"user\":3}", "user", "invalid_type" },
    { CHAT, "{" HI ",\"temperature\":2.5}", "temperature", "invalid_value" },
    { CHAT, "{" HI ",\"temperature\":\"hot\"}", "temperature", "invalid_value" },
    { CHAT, "{" HI ",\"top_p\":-1}", "top_p", "invalid_value" },
    { CHAT, "{" HI ",\"max_tokens\":0}", "max_tokens", "invalid_value" },
    { CHAT, "{" HI ",\"max_tokens\":3,\"max_completion_tokens\":4}", "max_tokens", "invalid_value" },
    { CHAT, "{" HI ",\"max_tokens\":3,\"min_tokens\":4}", "min_tokens", "invalid_value" },
    { CHAT, "{" HI ",\"n\":129}", "n", "invalid_value" },
    { CHAT, "{" HI ",\"seed\":1.5}", "seed", "invalid_value" },
    { CHAT, "{" HI ",\"stop\":[\"\"]}", "stop", "invalid_value" },
    { CHAT, "{" HI ",\"stop\":4}", "stop", "invalid_type" },
    { CHAT, "{" HI ",\"top_logprobs\":4}", "top_logprobs", "invalid_value" },
    { CHAT, "{" HI ",\"logprobs\":true,\"top_logprobs\":21}", "top_logprobs", "invalid_value" },
    { CHAT, "{" HI ",\"logit_bias\":{\"999\":1}}", "logit_bias", "invalid_value" },
    { CHAT, "{" HI ",\"logit_bias\":{\"-1\":1}}", "logit_bias", "invalid_value" },
    { CHAT, "{" HI ",\"logit_bias\":{\"1\":101}}", "logit_bias", "invalid_value" },
    { CHAT, "{" HI ",\"stream_options\":{\"include_usage\":true}}", "stream_options", "invalid_value" },
    { CHAT, "{" HI ",\"stream\":true,\"stream_options\":{\"x\":1}}", "stream_options", "unsupported_parameter" },
    { CHAT, "{" HI ",\"continue_final_message\":true}", "continue_final_message", "invalid_value" },
    { CHAT, "{" HI ",\"chat_template_kwargs\":{\"colour\":true}}", "chat_template_kwargs", "unsupported_parameter" },
    { CHAT, "{" HI ",\"chat_template_kwargs\":{\"messages\":[]}}", "chat_template_kwargs", "invalid_value" },
    { CHAT, "{" HI ",\"reasoning_effort\":\"high\"}", "reasoning_effort", "unsupported_parameter" },
    { TEXT, "{}", "prompt", "missing_required_parameter" },
    { TEXT, "{\"prompt\":[]}", "prompt", "invalid_value" },
    { TEXT, "{\"prompt\":[[]]}", "prompt", "invalid_value" },
    { TEXT, "{\"prompt\":[1,\"a\"]}", "prompt", "invalid_value" },
    { TEXT, "{\"prompt\":[1,-1]}", "prompt", "invalid_value" },
    { TEXT, "{\"prompt\":[100000]}", "prompt", "invalid_value" },
    { TEXT, "{\"prompt\":{}}", "prompt", "invalid_type" },
    { TEXT, "{\"prompt\":\"a\",\"suffix\":\"b\"}", "suffix", "unsupported_parameter" },
    { TEXT, "{\"prompt\":\"a\",\"best_of\":2}", "best_of", "unsupported_parameter" },
    { TEXT, "{\"prompt\":\"a\",\"echo\":true,\"logprobs\":1}", "logprobs", "unsupported_parameter" },
    { TEXT, "{\"prompt\":\"a\",\"logprobs\":true}", "logprobs", "invalid_value" },
    { TEXT, "{\"prompt\":\"a\",\"messages\":[]}", "messages", "unknown_parameter" },
    { TEXT, "{\"prompt\":[\"a\",\"b\"],\"n\":65}", "n", "invalid_value" },
};

static void refusals_name_the_field(void)
{
    for (size_t i = 0; i < MEM_COUNT(refusals); i++) {
        struct api_error e;
        struct api_job *j = parse_as(&model, refusals[i].path, refusals[i].body, &e);
        if (j || e.status != 400 || strcmp(e.param, refusals[i].param) ||
            (refusals[i].code && strcmp(e.code, refusals[i].code))) {
            printf("# %s: %s, status %d, param \"%s\", code \"%s\"\n", refusals[i].body, j ? "accepted" : e.message,
                   e.status, e.param, e.code);
            CHECK(!"refused as expected");
        }
        CHECK(j || e.message[0]);
        CHECK(j || !strcmp(e.type, "invalid_request_error"));
        api_job_free(j);
    }
}

static void other_refusals(void)
{
    struct api_error e;
    CHECK(!parse_as(&model, "/v1/other", "{}", &e));
    CHECK_INT(e.status, 404);
    struct api_model plain = model;
    plain.chat = NULL;
    CHECK(!parse_as(&plain, CHAT, "{" HI "}", &e));
    CHECK_STR(e.code, "no_chat_template");
    struct buf b = { 0 };
    buf_puts(&b, "{\"prompt\":\"");
    for (int i = 0; i < 200; i++)
        buf_putc(&b, 'x');
    buf_puts(&b, "\"}");
    CHECK(!parse_as(&model, TEXT, buf_str(&b), &e)); /* 200 and BOS */
    CHECK_STR(e.code, "context_length_exceeded");
    CHECK(strstr(e.message, "201") && strstr(e.message, "200"));
    buf_release(&b);
    api_refuse(&e, 400, "", "", "say \"%s\"", "so");
    api_error_json(&e, &b);
    CHECK_STR(buf_str(&b), "{\"error\":{\"message\":\"say \\\"so\\\"\",\"type\":\"invalid_request_error\","
                           "\"param\":null,\"code\":null}}");
    buf_release(&b);
}

/* Every accepted body of the table above, its bytes changed, cut and repeated at random. */
static void a_thousand_mutations_survive(void)
{
    static const char *const seeds[] = {
        "{" HI ",\"stream\":true,\"stop\":[\"a\",\"bc\"],\"logit_bias\":{\"7\":-100},\"logprobs\":true,\"n\":2}",
        "{\"prompt\":[[97],[98,99]],\"echo\":true,\"seed\":-5,\"temperature\":0.5,\"max_tokens\":7}",
        ("{\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"\\u00e9\"}],\"tool_calls\":"
        "[{\"id\":\"1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}}]}]}"),
    };
    struct rng r = { .seed = 20261121 };
    int accepted = 0;
    for (int i = 0; i < 3000; i++) {
        char body[512];
        const char *seed = seeds[i % 3];
        size_t n = strlen(seed);
        memcpy(body, seed, n);
        for (uint64_t k = rng_below(&r, 4); k-- > 0;) {
            size_t at = rng_below(&r, n);
            static const char alphabet[] = "\"{}[]:,0129eE.-\\u x\x80\xFF";
            if (rng_below(&r, 8) == 0 && n > 8)
                n -= rng_below(&r, 8);
            else
                body[at] = alphabet[rng_below(&r, sizeof alphabet)];
        }
        struct api_error e = { 0 };
        char *exact = mem_dup(body, n ? n : 1); /* so that a sanitizer sees a byte too many */
        struct api_request q = { .path = i % 3 == 1 ? TEXT : CHAT, .body = exact, .body_len = n, .response_id = "id" };
        struct api_job *j = api_job_parse(&model, &q, &e);
        CHECK(j || (e.status == 400 && e.message[0]));
        struct buf out = { 0 };
        if (j) {
            accepted++;
            api_job_begin(j, &out);
            for (int c = 0; c < api_job_choices(j); c++) {
                api_choice_token(j, c, &(struct infer_token){ .id = FAKE_HELLO }, &out);
                api_choice_finish(j, c, INFER_LENGTH, &out);
            }
            api_job_end(j, &(struct api_usage){ 1, 0, 1 }, &out);
            CHECK(out.len > 0);
        } else {
            api_error_json(&e, &out);
        }
        buf_release(&out);
        api_job_free(j);
        mem_free(exact);
    }
    CHECK(accepted > 300 && accepted < 2700); /* the mutations neither all fail nor all pass */
}

int main(void)
{
    RUN(every_field_arrives);
    RUN(defaults_are_openais);
    RUN(every_form_of_prompt);
    RUN(messages_become_a_prompt);
    RUN(refusals_name_the_field);
    RUN(other_refusals);
    RUN(a_thousand_mutations_survive);
    DONE();
}
