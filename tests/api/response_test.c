/* response_test -- tokens to bytes: golden objects as OpenAI's reference shows them, stop strings over every way to
 * cut a text into tokens, characters that arrive in parts, logprobs that leave with their text. */
#include "../test.h"
#include "fake_template.h"
#include "fake_vocab.h"

#include "api/job.h"
#include "base/rng.h"

static const struct vocab vocab = { .add_bos = true };
static const struct template chatml = { .knows = NULL };
static const struct api_model model = { .id = "tiny", .vocab = &vocab, .chat = &chatml, .ctx = 4096,
                                        .fingerprint = "fp_1" };

#define CHAT "/v1/chat/completions"
#define TEXT "/v1/completions"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}]"

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

static bool token(struct api_job *j, int choice, int id, struct buf *out)
{
    return api_choice_token(j, choice, &(struct infer_token){ .id = id, .logprob = -0.5f }, out);
}

static void whole_chat_answer(void)
{
    struct api_job *j = parse(CHAT, "{" HI "}");
    struct buf b = { 0 };
    api_job_begin(j, &b);
    token(j, 0, FAKE_HELLO, &b);
    token(j, 0, FAKE_WORLD, &b);
    token(j, 0, FAKE_IM_END, &b);
    api_choice_finish(j, 0, INFER_STOP, &b);
    CHECK_INT(b.len, 0);
    CHECK_INT(api_job_status(j), 200);
    api_job_end(j, &(struct api_usage){ 9, 4, 3 }, &b);
    CHECK_STR(buf_str(&b), "{\"id\":\"r-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"tiny\","
        "\"system_fingerprint\":\"fp_1\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":"
        "\"Hello world\",\"refusal\":null},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,"
        "\"completion_tokens\":3,\"total_tokens\":12,\"prompt_tokens_details\":{\"cached_tokens\":4}},\"seed\":5}");
    buf_release(&b);
    api_job_free(j);
}

static void guesses_are_in_the_usage_when_there_were_any(void)
{
    struct api_job *j = parse(CHAT, "{" HI ",\"n\":2}");
    struct buf b = { 0 };
    api_job_begin(j, &b);
    for (int i = 0; i < 2; i++) {
        api_job_guessed(j, 5, 1 + i);
        api_choice_finish(j, i, INFER_STOP, &b);
    }
    api_job_end(j, &(struct api_usage){ 9, 4, 30 }, &b);
    CHECK(strstr(buf_str(&b), "{\"cached_tokens\":4},\"completion_tokens_details\":{\"accepted_prediction_tokens\":10,"
                              "\"rejected_prediction_tokens\":3}},\"seed\""));
    buf_release(&b);
    api_job_free(j);
}

#define CHUNK "data: {\"id\":\"r-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"tiny\"," \
              "\"system_fingerprint\":\"fp_1\",\"choices\":["

static void streamed_chat_answer(void)
{
    struct api_job *j = parse(CHAT, "{" HI ",\"stream\":true,\"seed\":-7}");
    struct buf b = { 0 };
    api_job_begin(j, &b);
    CHECK_STR(buf_str(&b), CHUNK "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\",\"refusal\":null},"
                           "\"logprobs\":null,\"finish_reason\":null}]}\n\n");
    buf_clear(&b);
    token(j, 0, FAKE_HELLO, &b);
    CHECK_STR(buf_str(&b), CHUNK "{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"logprobs\":null,"
                           "\"finish_reason\":null}]}\n\n");
    buf_clear(&b);
    api_choice_finish(j, 0, INFER_LENGTH, &b);
    CHECK_STR(buf_str(&b), CHUNK "{\"index\":0,\"delta\":{},\"logprobs\":null,\"finish_reason\":\"length\"}],"
                           "\"seed\":-7}\n\n");
    buf_clear(&b);
    api_job_end(j, &(struct api_usage){ 9, 0, 1 }, &b);
    CHECK_STR(buf_str(&b), "data: [DONE]\n\n");
    buf_release(&b);
    api_job_free(j);
}

static void stream_with_usage(void)
{
    struct api_job *j = parse(CHAT, "{" HI ",\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
    struct buf b = { 0 };
    token(j, 0, FAKE_HELLO, &b);
    CHECK_STR(buf_str(&b), CHUNK "{\"index\":0,\"delta\":{\"content\":\"Hello\"},\"logprobs\":null,"
                           "\"finish_reason\":null}],\"usage\":null}\n\n");
    api_choice_finish(j, 0, INFER_STOP, &b);
    buf_clear(&b);
    api_job_end(j, &(struct api_usage){ 9, 8, 1 }, &b);
    CHECK_STR(buf_str(&b), CHUNK "],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":1,\"total_tokens\":10,"
                           "\"prompt_tokens_details\":{\"cached_tokens\":8}},\"seed\":5}\n\ndata: [DONE]\n\n");
    buf_release(&b);
    api_job_free(j);
}

static void completions_echo_and_count_choices(void)
{
    struct api_job *j = parse(TEXT, "{\"prompt\":[\"a\",\"b\"],\"echo\":true}");
    struct buf b = { 0 };
    api_job_begin(j, &b);
    token(j, 1, FAKE_WORLD, &b);
    token(j, 0, FAKE_HELLO, &b);
    api_choice_finish(j, 1, INFER_LENGTH, &b);
    api_choice_finish(j, 0, INFER_STOP, &b);
    api_job_end(j, &(struct api_usage){ 4, 0, 2 }, &b);
    CHECK_STR(buf_str(&b), "{\"id\":\"r-1\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":\"tiny\","
        "\"system_fingerprint\":\"fp_1\",\"choices\":[{\"text\":\"aHello\",\"index\":0,\"logprobs\":null,"
        "\"finish_reason\":\"stop\"},{\"text\":\"b world\",\"index\":1,\"logprobs\":null,\"finish_reason\":\"length\"}],"
        "\"usage\":{\"prompt_tokens\":4,\"completion_tokens\":2,\"total_tokens\":6,\"prompt_tokens_details\":"
        "{\"cached_tokens\":0}},\"seed\":5}");
    buf_clear(&b);
    api_job_free(j);
    j = parse(TEXT, "{\"prompt\":\"a\",\"echo\":true,\"stream\":true}");
    api_job_begin(j, &b);
    CHECK_STR(buf_str(&b), "data: {\"id\":\"r-1\",\"object\":\"text_completion\",\"created\":1700000000,\"model\":"
        "\"tiny\",\"system_fingerprint\":\"fp_1\",\"choices\":[{\"text\":\"a\",\"index\":0,\"logprobs\":null,"
        "\"finish_reason\":null}]}\n\n");
    buf_release(&b);
    api_job_free(j);
}

static void characters_arrive_whole(void)
{
    struct api_job *j = parse(CHAT, "{" HI ",\"stream\":true}");
    struct buf b = { 0 };
    token(j, 0, 0xF0, &b); /* U+1F600 in four tokens */
    token(j, 0, 0x9F, &b);
    token(j, 0, 0x98, &b);
    CHECK_INT(b.len, 0);
    token(j, 0, 0x80, &b);
    CHECK_STR(buf_str(&b), CHUNK "{\"index\":0,\"delta\":{\"content\":\"\xF0\x9F\x98\x80\"},\"logprobs\":null,"
                           "\"finish_reason\":null}]}\n\n");
    token(j, 0, 0xE2, &b);
    buf_clear(&b);
    api_choice_finish(j, 0, INFER_LENGTH, &b); /* cut inside a character: it becomes U+FFFD */
    CHECK(strstr(buf_str(&b), "{\"content\":\"\xEF\xBF\xBD\"}"));
    buf_release(&b);
    api_job_free(j);
}

/* The text a stream's events carry, concatenated. */
static void stream_text(const struct buf *events, struct buf *out)
{
    for (const char *p = buf_str(events); (p = strstr(p, "data: {")) != NULL;) {
        const char *end = strstr(p, "\n\n");
        json_t *v = jsonx_parse(p + 6, (size_t)(end - p - 6), NULL);
        CHECK(v != NULL);
        const json_t *delta = json_object_get(json_array_get(json_object_get(v, "choices"), 0), "delta");
        const char *s = json_string_value(json_object_get(delta, "content"));
        buf_puts(out, s ? s : "");
        json_decref(v);
        p = end;
    }
}

/* Tokens are bytes; `text` arrives with pushes grouped at random; returns the text shown. */
static void run_text(const char *body, const char *text, bool *stopped, struct buf *shown)
{
    struct api_job *j = parse(CHAT, body);
    struct buf b = { 0 };
    *stopped = false;
    for (size_t i = 0; text[i] && !*stopped; i++) {
        *stopped = token(j, 0, (unsigned char)text[i], &b);
        /* I1: nothing of a stop string is ever shown: checked by the caller on the whole */
    }
    api_choice_finish(j, 0, *stopped ? INFER_STOP : INFER_LENGTH, &b);
    api_job_end(j, &(struct api_usage){ 1, 0, 1 }, &b);
    if (api_job_stream(j)) {
        stream_text(&b, shown);
    } else {
        json_t *v = jsonx_parse(buf_str(&b), b.len, NULL);
        const json_t *m = json_object_get(json_array_get(json_object_get(v, "choices"), 0), "message");
        buf_puts(shown, json_string_value(json_object_get(m, "content")));
        json_decref(v);
    }
    buf_release(&b);
    api_job_free(j);
}

static void stop_strings_cut(void)
{
    static const struct { const char *stops, *text, *shown; bool stopped; } cases[] = {
        { "[\"STOP\"]", "go STOP on", "go ", true },
        { "[\"STOP\"]", "go STO", "go STO", false },
        { "\"STOP\"", "STSTOP", "ST", true },            /* the failed beginning overlaps the real one */
        { "[\"aab\"]", "aaaab", "aa", true },
        { "[\"abcd\",\"bc\"]", "xabcd", "xa", true },    /* the first to be complete wins */
        { "[\"abc\",\"c\"]", "xabc", "x", true },        /* complete at once: the longest */
        { "[\"\\n\\n\"]", "a\nb\n\nc", "a\nb", true },
        { "[\"\xC3\xA9\"]", "caf\xC3\xA9s", "caf", true },
        { "[\"\xC3\xA9\"]", "caf\xC3\xA8s", "caf\xC3\xA8s", false }, /* same first byte */
        { "[\"x\"]", "x", "", true },
    };
    for (size_t i = 0; i < MEM_COUNT(cases); i++)
        for (int stream = 0; stream < 2; stream++) {
            struct buf body = { 0 }, shown = { 0 };
            bool stopped;
            buf_printf(&body, "{" HI ",\"stop\":%s,\"stream\":%s}", cases[i].stops, stream ? "true" : "false");
            run_text(buf_str(&body), cases[i].text, &stopped, &shown);
            CHECK_STR(buf_str(&shown), cases[i].shown);
            CHECK_INT(stopped, cases[i].stopped);
            buf_release(&body);
            buf_release(&shown);
        }
}

/* stop_feed against the plain definition, over every way to cut texts of a two-letter alphabet into two pieces. */
static void stop_automata_equal_the_plain_search(void)
{
    struct rng r = { .seed = 7 };
    for (int round = 0; round < 4000; round++) {
        char text[24], stops[3][8];
        int count = 1 + (int)rng_below(&r, 3), n = 4 + (int)rng_below(&r, 20);
        struct stop_set set = { 0 };
        for (int i = 0; i < n; i++)
            text[i] = (char)('a' + rng_below(&r, 2));
        for (int k = 0; k < count; k++) {
            int len = 1 + (int)rng_below(&r, 6);
            for (int i = 0; i < len; i++)
                stops[k][i] = (char)('a' + rng_below(&r, 2));
            stop_set_add(&set, stops[k], len);
        }
        int want_end = -1, want_len = 0;
        for (int end = 1; end <= n && want_end < 0; end++)
            for (int k = 0; k < count; k++)
                if (set.strings[k].len <= end && set.strings[k].len > want_len &&
                    !memcmp(text + end - set.strings[k].len, stops[k], (size_t)set.strings[k].len)) {
                    want_end = end;
                    want_len = set.strings[k].len;
                }
        for (int split = 0; split <= n; split++) {
            struct stop_state st = { { 0 } };
            size_t used = 0, match = 0;
            int end = -1;
            if (stop_feed(&set, &st, text, (size_t)split, &used, &match))
                end = (int)used;
            else if (stop_feed(&set, &st, text + split, (size_t)(n - split), &used, &match))
                end = split + (int)used;
            CHECK_INT(end, want_end);
            CHECK_INT(match, want_len);
        }
        stop_set_release(&set);
    }
}

static void min_tokens_lets_stop_strings_pass(void)
{
    struct buf shown = { 0 };
    bool stopped;
    run_text("{" HI ",\"stop\":\"b\",\"min_tokens\":3}", "abab", &stopped, &shown);
    CHECK_STR(buf_str(&shown), "aba");
    CHECK(stopped);
    buf_release(&shown);
}

static const struct infer_token with_tops = { .id = FAKE_HELLO, .logprob = -0.25f, .top_count = 2, .top = {
    { FAKE_HELLO, -0.25f }, { 0xE9, -1.5f } } };

static void chat_logprobs(void)
{
    struct api_job *j = parse(CHAT, "{" HI ",\"logprobs\":true,\"top_logprobs\":2}");
    struct buf b = { 0 };
    api_choice_token(j, 0, &with_tops, &b);
    api_choice_finish(j, 0, INFER_LENGTH, &b);
    api_job_end(j, &(struct api_usage){ 1, 0, 1 }, &b);
    CHECK(strstr(buf_str(&b), ",\"logprobs\":{\"content\":[{\"token\":\"Hello\",\"logprob\":-0.25,\"bytes\":[72,101,108,"
        "108,111],\"top_logprobs\":[{\"token\":\"Hello\",\"logprob\":-0.25,\"bytes\":[72,101,108,108,111]},{\"token\":"
        "\"\xEF\xBF\xBD\",\"logprob\":-1.5,\"bytes\":[233]}]}],\"refusal\":null},\"finish_reason\":\"length\"}"));
    buf_release(&b);
    api_job_free(j);
}

static void completion_logprobs(void)
{
    struct api_job *j = parse(TEXT, "{\"prompt\":\"a\",\"logprobs\":2}");
    struct buf b = { 0 };
    token(j, 0, FAKE_E_ACUTE, &b);
    api_choice_token(j, 0, &with_tops, &b);
    api_choice_finish(j, 0, INFER_LENGTH, &b);
    api_job_end(j, &(struct api_usage){ 1, 0, 2 }, &b);
    const char *want = "\"logprobs\":{\"tokens\":[\"\xC3\xA9\",\"Hello\"],\"token_logprobs\":[-0.5,-0.25],"
        "\"top_logprobs\":[{\"\xC3\xA9\":-0.5},{\"Hello\":-0.25,\"bytes:\\\\xe9\":-1.5}],\"text_offset\":[0,1]},";
    CHECK(strstr(buf_str(&b), want));
    buf_release(&b);
    api_job_free(j);
}

/* In a stream the logprobs of held-back tokens wait for their text; those of the stop string are dropped. */
static void logprobs_leave_with_their_text(void)
{
    struct api_job *j = parse(CHAT, "{" HI ",\"stream\":true,\"logprobs\":true,\"stop\":\"STOP\"}");
    struct buf b = { 0 };
    token(j, 0, FAKE_ST, &b);
    CHECK_INT(b.len, 0);
    token(j, 0, 'x', &b);
    CHECK(strstr(buf_str(&b), "\"delta\":{\"content\":\"STx\"},\"logprobs\":{\"content\":[{\"token\":\"ST\""));
    CHECK(strstr(buf_str(&b), "{\"token\":\"x\",\"logprob\":-0.5,\"bytes\":[120],\"top_logprobs\":[]}]"));
    buf_clear(&b);
    token(j, 0, FAKE_ST, &b);
    CHECK(token(j, 0, FAKE_OP, &b));
    CHECK(token(j, 0, 'y', &b)); /* what comes after is not looked at */
    CHECK_INT(b.len, 0);
    api_choice_finish(j, 0, INFER_STOP, &b);
    CHECK(!strstr(buf_str(&b), "\"token\"") && strstr(buf_str(&b), "\"finish_reason\":\"stop\""));
    buf_release(&b);
    api_job_free(j);
}

static void failures_are_errors(void)
{
    struct buf b = { 0 };
    struct api_job *j = parse(CHAT, "{" HI "}");
    token(j, 0, FAKE_HELLO, &b);
    api_choice_finish(j, 0, INFER_FAILED, &b);
    CHECK_INT(api_job_status(j), 500);
    api_job_end(j, &(struct api_usage){ 1, 0, 1 }, &b);
    CHECK(!strncmp(buf_str(&b), "{\"error\":{\"message\":", 20));
    buf_clear(&b);
    api_job_free(j);
    j = parse(CHAT, "{" HI ",\"stream\":true}");
    api_choice_finish(j, 0, INFER_CANCELLED, &b);
    api_job_end(j, &(struct api_usage){ 1, 0, 1 }, &b);
    CHECK(!strncmp(buf_str(&b), "data: {\"error\":{", 16));
    CHECK(!strstr(buf_str(&b), "[DONE]"));
    CHECK(strstr(buf_str(&b), "\"code\":\"cancelled\"}}\n\n"));
    buf_release(&b);
    api_job_free(j);
}

int main(void)
{
    RUN(whole_chat_answer);
    RUN(guesses_are_in_the_usage_when_there_were_any);
    RUN(streamed_chat_answer);
    RUN(stream_with_usage);
    RUN(completions_echo_and_count_choices);
    RUN(characters_arrive_whole);
    RUN(stop_strings_cut);
    RUN(stop_automata_equal_the_plain_search);
    RUN(min_tokens_lets_stop_strings_pass);
    RUN(chat_logprobs);
    RUN(completion_logprobs);
    RUN(logprobs_leave_with_their_text);
    RUN(failures_are_errors);
    DONE();
}
