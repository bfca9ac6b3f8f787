/* window_test -- prompts that do not fit: refused with both numbers, or cut as asked, and the answer says so. */
#include "../test.h"
#include "fake_template.h"
#include "fake_vocab.h"

#include "api/job.h"

#include <stdlib.h>

static const struct vocab vocab = { .add_bos = true };
static const struct template chatml = { .knows = "" };
static const struct api_model model = { .id = "tiny", .vocab = &vocab, .chat = &chatml, .ctx = 200 };
static struct api_error error;

static struct api_job *parse(const char *path, const char *body)
{
    struct api_request r = { .path = path, .body = body, .body_len = strlen(body), .response_id = "x-1",
                             .created = 1700000000 };
    error = (struct api_error){ 0 };
    return api_job_parse(&model, &r, &error);
}

/* A system's message and `turns` turns of a user's and an assistant's message, then a question. */
static void conversation(char *out, size_t size, int turns, const char *fields)
{
    int n = snprintf(out, size, "{%s\"messages\":[{\"role\":\"system\",\"content\":\"S\"}", fields);
    for (int i = 0; i < turns; i++)
        n += snprintf(out + n, size - (size_t)n, ",{\"role\":\"user\",\"content\":\"u%02d\"},"
                      "{\"role\":\"assistant\",\"content\":\"a%02d\"}", i, i);
    snprintf(out + n, size - (size_t)n, ",{\"role\":\"user\",\"content\":\"last\"}]}");
}

static bool prompt_is(const struct api_job *j, const char *want)
{
    struct vocab_ids ids = fake_ids(want);
    const struct vocab_ids *got = api_job_prompt(j, 0);
    bool same = got->count == ids.count && !memcmp(got->v, ids.v, ids.count * sizeof *ids.v);
    vocab_ids_release(&ids);
    return same;
}

static size_t tokens_of(const char *text)
{
    struct vocab_ids ids = fake_ids(text);
    size_t n = ids.count;
    vocab_ids_release(&ids);
    return n;
}

#define CHAT "/v1/chat/completions"
#define TEXT "/v1/completions"
#define SAYS(role, text) "<|im_start|>" role "\n" text "<|im_end|>\n"
#define OPENS "<|im_start|>assistant\n"

static void what_does_not_fit_is_refused_with_both_numbers(void)
{
    char body[8192];
    conversation(body, sizeof body, 40, "");
    CHECK(!parse(CHAT, body));
    CHECK_INT(error.status, 400);
    CHECK_STR(error.code, "context_length_exceeded");
    CHECK(strstr(error.message, "200") != NULL);
    char *prompt = calloc(1, 301);
    memset(prompt, 'x', 300);
    snprintf(body, sizeof body, "{\"prompt\":\"%s\"}", prompt);
    free(prompt);
    CHECK(!parse(TEXT, body));
    CHECK(strstr(error.message, "301") && strstr(error.message, "200"));
}

/* The oldest turns go, as few as suffice; instructions and the question stay. */
static void a_rolling_window_drops_the_oldest_turns(void)
{
    char body[8192], want[4096];
    conversation(body, sizeof body, 40, "\"context_overflow\":\"rolling\",\"max_tokens\":50,");
    struct api_job *j = parse(CHAT, body);
    CHECK(j != NULL);
    if (!j)
        return;
    int kept = 40;
    for (; kept > 0; kept--) { /* by another way: the most turns that leave 50 tokens */
        int n = snprintf(want, sizeof want, "<s>" SAYS("system", "S"));
        for (int i = 40 - kept; i < 40; i++)
            n += snprintf(want + n, sizeof want - (size_t)n, SAYS("user", "u%02d") SAYS("assistant", "a%02d"), i, i);
        snprintf(want + n, sizeof want - (size_t)n, SAYS("user", "last") OPENS);
        if (tokens_of(want) + 50 <= 200)
            break;
    }
    CHECK(kept > 0 && kept < 40);
    CHECK(prompt_is(j, want));
    CHECK_INT(j->window.dropped_messages, 2 * (40 - kept));
    char says[80];
    snprintf(says, sizeof says, "\"context\":{\"truncated_tokens\":0,\"dropped_messages\":%d}", 2 * (40 - kept));
    CHECK(strstr(buf_str(&j->head), says) != NULL);
    api_job_free(j);
}

static void a_rolling_window_leaves_what_fits_alone(void)
{
    char body[8192];
    conversation(body, sizeof body, 1, "\"context_overflow\":\"rolling\",");
    struct api_job *j = parse(CHAT, body);
    CHECK(j && prompt_is(j, "<s>" SAYS("system", "S") SAYS("user", "u00") SAYS("assistant", "a00") SAYS("user", "last")
                            OPENS));
    CHECK(j && strstr(buf_str(&j->head), "\"dropped_messages\":0}"));
    api_job_free(j);
    conversation(body, sizeof body, 1, "");
    j = parse(CHAT, body);
    CHECK(j && !strstr(buf_str(&j->head), "\"context\"")); /* nobody asked */
    api_job_free(j);
}

/* The question itself is never cut by it. */
static void a_last_turn_too_long_is_refused(void)
{
    char body[1024], text[300] = "";
    memset(text, 'x', 250);
    snprintf(body, sizeof body, "{\"context_overflow\":\"rolling\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
             "{\"role\":\"assistant\",\"content\":\"b\"},{\"role\":\"user\",\"content\":\"%s\"}]}", text);
    CHECK(!parse(CHAT, body));
    CHECK_STR(error.code, "context_length_exceeded");
}

static void truncation_keeps_the_last_tokens(void)
{
    struct api_job *j = parse(TEXT, "{\"prompt\":\"abcdefghij\",\"truncate_prompt_tokens\":4}");
    CHECK(j && prompt_is(j, "ghij"));
    CHECK(j && strstr(buf_str(&j->head), "\"context\":{\"truncated_tokens\":7,\"dropped_messages\":0}"));
    api_job_free(j);
    char body[1024], text[300] = "";
    memset(text, 'x', 280);
    snprintf(body, sizeof body, "{\"prompt\":\"%s\",\"truncate_prompt_tokens\":-1,\"max_tokens\":30}", text);
    j = parse(TEXT, body);
    CHECK(j && api_job_prompt(j, 0)->count == 170);
    api_job_free(j);
}

static void nonsense_is_refused(void)
{
    static const char *const cases[][2] = {
        { "{\"prompt\":\"a\",\"truncate_prompt_tokens\":200}", "truncate_prompt_tokens" },
        { "{\"prompt\":\"a\",\"truncate_prompt_tokens\":-2}", "truncate_prompt_tokens" },
        { "{\"prompt\":\"a\",\"context_overflow\":\"rolling\"}", "context_overflow" },
    };
    for (size_t i = 0; i < 3; i++) {
        CHECK(!parse(TEXT, cases[i][0]));
        CHECK_STR(error.param, cases[i][1]);
    }
    CHECK(!parse(CHAT, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"context_overflow\":\"middle\"}"));
    CHECK_STR(error.param, "context_overflow");
}

int main(void)
{
    RUN(what_does_not_fit_is_refused_with_both_numbers);
    RUN(a_rolling_window_drops_the_oldest_turns);
    RUN(a_rolling_window_leaves_what_fits_alone);
    RUN(a_last_turn_too_long_is_refused);
    RUN(truncation_keeps_the_last_tokens);
    RUN(nonsense_is_refused);
    DONE();
}
