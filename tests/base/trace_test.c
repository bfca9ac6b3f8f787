/* trace_test -- traces of requests: small ones of our own, and the public ones where they are. */
#include "../test.h"
#include "../shared.h"
#include "base/trace.h"

static enum err_code parse(const char *text, struct trace *t, struct err *e)
{
    return trace_parse(text, strlen(text), "t", 0, t, e);
}

static void csv_is_read(void)
{
    struct trace t;
    struct err e;
    CHECK_INT(parse("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:50.9951690,396,109\r\n"
                    "2023-11-16 18:15:46.6805900,374,44\n", &t, &e), ERR_OK);
    CHECK_INT(t.count, 2);
    CHECK_INT(t.request[0].prompt_tokens, 374); /* by time */
    CHECK_INT(t.request[0].at_ns, 0);
    CHECK_INT(t.request[1].at_ns, 4314579000);
    CHECK_INT(t.request[1].output_tokens, 109);
    CHECK_INT(t.request[1].blocks, 0);
    trace_release(&t);
}

static void json_lines_are_read(void)
{
    struct trace t;
    struct err e;
    CHECK_INT(parse("{\"timestamp\": 5, \"input_length\": 700, \"output_length\": 3, \"hash_ids\": [9, 8]}\n"
                    "{\"timestamp\": 25, \"input_length\": 10, \"output_length\": 1, \"hash_ids\": [9]}", &t, &e), ERR_OK);
    CHECK_INT(t.count, 2);
    CHECK_INT(t.request[1].at_ns, 20000000);
    CHECK_INT(t.request[0].blocks, 2);
    CHECK_INT(t.block[t.request[0].first_block + 1], 8);
    CHECK_INT(t.block[t.request[1].first_block], 9);
    trace_release(&t);
}

static void rubbish_is_refused_with_its_line(void)
{
    static const char *const wrong[] = {
        "", "h\n", "h\n1,2,3\n", "h\n2023-11-16 18:15:50,1\n", "h\n2023-11-16 18:15:50,1,2,3\n",
        "h\n2023-11-16 18:15:50,-1,2\n", "h\n2023-11-16 18:15:50,1,99999999999\n", "{\n", "{}\n",
        "{\"timestamp\": -1, \"input_length\": 1, \"output_length\": 1}",
        "{\"timestamp\": 1, \"input_length\": \"x\", \"output_length\": 1}",
    };
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct trace t = { 0 };
        struct err e = { 0 };
        CHECK(parse(wrong[i], &t, &e) != ERR_OK);
        CHECK(t.count == 0 && e.text[0]);
    }
}

static void public_traces_are_read(void)
{
    static const struct { const char *path; size_t count; } known[] = { /* counts from the traces' README */
        { "traces/azure-2023-code.csv", 8819 }, { "traces/azure-2023-conversation.csv", 19366 },
        { "traces/mooncake-synthetic.jsonl", 3993 },
    };
    char path[512];
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        struct trace t;
        struct err e;
        if (!shared_path(path, sizeof(path), known[i].path) || access(path, R_OK))
            SKIP("public traces not present");
        CHECK_INT(trace_read(path, 0, &t, &e), ERR_OK);
        CHECK_INT(t.count, known[i].count);
        trace_release(&t);
        CHECK_INT(trace_read(path, 10, &t, &e), ERR_OK);
        CHECK_INT(t.count, 10);
        trace_release(&t);
    }
}

int main(void)
{
    RUN(csv_is_read);
    RUN(json_lines_are_read);
    RUN(rubbish_is_refused_with_its_line);
    RUN(public_traces_are_read);
    DONE();
}
