/* calls_test -- every golden chat template: the form of its calls is derived or said to be none; what the template
 * itself writes for an assistant's calls reads back as the same calls, whole and cut at every character, trusted or
 * held back. What the templates render is the truth from outside. SKIP where the golden folder is not there. */
#include "../shared.h"
#include "../test.h"

#include "api/calls_probe.h"
#include "api/reply.h"
#include "base/mem.h"

#include <dirent.h>
#include <string.h>

static const char TOOLS[] =
    "[{\"type\":\"function\",\"function\":{\"name\":\"get_weather\",\"description\":\"Current weather.\",\"parameters\":"
    "{\"type\":\"object\",\"properties\":{\"city\":{\"type\":\"string\"},\"unit\":{\"type\":\"string\",\"enum\":[\"C\","
    "\"F\"]}},\"required\":[\"city\"]}}},{\"type\":\"function\",\"function\":{\"name\":\"add_up\",\"description\":\"Sum.\","
    "\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\"},\"b\":{\"type\":\"number\"},\"tags\":"
    "{\"type\":\"array\",\"items\":{\"type\":\"string\"}},\"deep\":{\"type\":\"object\"},\"note\":{\"type\":\"string\"}},"
    "\"required\":[\"a\"]}}}]";
static const char *const CALLS[] = {
    "[{\"name\":\"get_weather\",\"arguments\":{\"city\":\"Z\\u00fcrich\",\"unit\":\"C\"}}]",
    "[{\"name\":\"add_up\",\"arguments\":{\"a\":1,\"b\":2.5,\"tags\":[\"x\",\"y z\"],\"note\":\"say \\\"hi\\\" <b>\"}}]",
    "[{\"name\":\"get_weather\",\"arguments\":{\"city\":\"A\\nB\"}},{\"name\":\"add_up\",\"arguments\":{\"a\":-7}}]",
    "[{\"name\":\"add_up\",\"arguments\":{\"a\":3,\"deep\":{\"k\":[1,{\"l\":\"m\"}]}}},{\"name\":\"get_weather\","
    "\"arguments\":{\"city\":\"functions[{<tool\",\"unit\":\"F\"}}]",
};

/* ---- collecting deltas */

struct got {
    json_t *calls;
    struct buf text, thought, args;
    char id[128];
    int open;
    bool bad;
};

static void collect(void *user, const struct api_delta *d)
{
    struct got *g = user;
    switch (d->kind) {
    case API_TEXT: buf_append(&g->text, d->text, d->length); g->bad |= g->open; break;
    case API_REASONING: buf_append(&g->thought, d->text, d->length); g->bad |= g->open; break;
    case API_CALL_OPEN:
        json_array_append_new(g->calls, json_pack("{s:s}", "name", d->name));
        g->bad |= g->open || d->call != (int)json_array_size(g->calls) - 1 || !strcmp(g->id, d->id);
        snprintf(g->id, sizeof g->id, "%s", d->id);
        g->open = 1;
        buf_clear(&g->args);
        break;
    case API_CALL_ARGS: buf_append(&g->args, d->text, d->length); g->bad |= !g->open; break;
    case API_CALL_CLOSE: {
        json_t *v = jsonx_parse(buf_str(&g->args), g->args.len, NULL);
        json_object_set_new(json_array_get(g->calls, json_array_size(g->calls) - 1), "arguments",
                            v ? v : json_stringn(buf_str(&g->args), g->args.len));
        g->bad |= !g->open;
        g->open = 0;
        break;
    }
    }
}

static void got_release(struct got *g)
{
    json_decref(g->calls);
    buf_release(&g->text);
    buf_release(&g->thought);
    buf_release(&g->args);
}

/* piece 0: whole; else pieces of that many characters, the first one shorter by `shift`. */
static struct got read_answer(const struct calls_form *f, const json_t *tools, const char *text, bool in_thought,
                              bool live, size_t piece)
{
    struct got g = { .calls = json_array() };
    struct reply_spec s = { .form = f, .tools = tools, .thoughts = true, .in_thought = in_thought, .live = live,
                            .seed = "seed" };
    struct reply *r = reply_new(&s);
    size_t n = strlen(text), at = 0;
    while (at < n) {
        size_t k = piece ? piece : n;
        k = k < n - at ? k : n - at;
        while (at + k < n && ((unsigned char)text[at + k] & 0xC0) == 0x80)
            k++;
        reply_feed(r, text + at, k, collect, &g);
        at += k;
    }
    reply_finish(r, collect, &g);
    g.bad |= g.open || reply_calls(r) != (int)json_array_size(g.calls);
    reply_free(r);
    return g;
}

/* ---- templates */

static json_t *messages_of(const struct calls_form *f, const char *calls, const char *content, const char *thought)
{
    json_t *list = json_array(), *m = json_pack("{s:s}", "role", "assistant"), *given = json_loads(calls, 0, NULL), *c;
    size_t i;
    json_array_append_new(list, json_pack("{s:s,s:s}", "role", "user", "content", "Please."));
    json_object_set_new(m, "content", json_string(content));
    if (thought && f->think_key && *f->think_key)
        json_object_set_new(m, f->think_key, json_string(thought));
    json_t *out = json_array();
    json_array_foreach(given, i, c) {
        char id[160];
        const char *name = json_string_value(json_object_get(c, "name"));
        if (f->ids == CALLS_ID_NAMED)
            snprintf(id, sizeof id, "functions.%s:%zu", name, i);
        else
            snprintf(id, sizeof id, f->ids == CALLS_ID_NINE ? "abcdefgh%zu" : "call_abcdefghijklmnopqrstuvw%zu", i);
        json_array_append_new(out, json_pack("{s:s,s:s,s:{s:s,s:O}}", "id", id, "type", "function", "function", "name",
                                             name, "arguments", json_object_get(c, "arguments")));
    }
    if (json_array_size(out))
        json_object_set_new(m, "tool_calls", out);
    else
        json_decref(out);
    json_decref(given);
    json_array_append_new(list, m);
    return list;
}

static bool render(const struct template *t, json_t *messages, json_t *tools, bool open, struct buf *out)
{
    json_t *context = json_object();
    struct err e;
    json_object_set_new(context, "messages", messages);
    json_object_set_new(context, "add_generation_prompt", json_boolean(open));
    calls_context(t, context, tools, "<s>", "</s>");
    buf_clear(out);
    bool ok = !template_render(t, context, "2026-01-02T03:04:05", NULL, out, &e);
    if (!ok)
        printf("# %s\n", e.text);
    json_decref(context);
    return ok;
}

/* What the model would have written: the turn behind the generation prompt, without what ends a turn. */
static bool answer_of(const struct template *t, const struct calls_form *f, json_t *tools, const char *calls,
                      const char *content, const char *thought, struct buf *out, bool *in_thought)
{
    struct buf prompt = { 0 }, turn = { 0 }, plain = { 0 };
    json_t *shown = f->lists_tools ? tools : NULL;
    bool ok = render(t, json_pack("[{s:s,s:s}]", "role", "user", "content", "Please."), shown, true, &prompt) &&
              render(t, messages_of(f, calls, content, thought), shown, false, &turn) &&
              render(t, messages_of(f, "[]", "endMark", NULL), shown, false, &plain);
    if (ok) {
        size_t n = 0;
        char *begun = calls_trim(buf_str(&prompt));
        size_t have = strlen(begun), tag = f->think_open ? strlen(f->think_open) : 0;
        *in_thought = tag && have >= tag && !strcmp(begun + have - tag, f->think_open) &&
                      strstr(buf_str(&turn) + prompt.len - 1, f->think_close);
        mem_free(begun);
        while (n < prompt.len && n < turn.len && prompt.data[n] == turn.data[n])
            n++;
        n = calls_tag_floor(buf_str(&turn), n);
        buf_puts(out, buf_str(&turn) + n);
        const char *mark = strstr(buf_str(&plain), "endMark");
        char *end = calls_trim(mark ? mark + 7 : "");
        char *cut = *end ? strstr(out->data, end) : NULL;
        if (cut)
            out->len = (size_t)(cut - out->data);
        if (out->data)
            out->data[out->len] = '\0';
        mem_free(end);
    }
    buf_release(&prompt);
    buf_release(&turn);
    buf_release(&plain);
    return ok;
}

static int failures;

static void expect_calls(const char *name, const char *what, const struct got *g, const json_t *want, const char *text)
{
    if (!g->bad && json_equal(g->calls, want))
        return;
    struct buf b = { 0 };
    jsonx_dump(g->calls, &b);
    printf("# %s: %s: %s\n#   read %s text '%s'\n", name, what, text, buf_str(&b), buf_str(&g->text));
    buf_release(&b);
    failures++;
}

static void round_trip(const char *name, const struct template *t, const struct calls_form *f, json_t *tools,
                       const char *calls)
{
    struct buf text = { 0 };
    bool in_thought = false;
    json_t *want = json_loads(calls, 0, NULL);
    if (json_array_size(want) > 1 && !f->many) {
        json_decref(want);
        return;
    }
    if (answer_of(t, f, tools, calls, "", NULL, &text, &in_thought)) {
        for (int live = 0; live < 2; live++)
            for (size_t piece = 0; piece < 8; piece++) {
                struct got g = read_answer(f, tools, buf_str(&text), in_thought, live, piece);
                expect_calls(name, live ? "live" : "held", &g, want, buf_str(&text));
                got_release(&g);
            }
    } else {
        failures++;
    }
    json_decref(want);
    buf_release(&text);
}

static void each_template(void (*check)(const char *, const struct template *, const struct calls_form *, json_t *))
{
    char dir[512], path[1024];
    DIR *d = shared_path(dir, sizeof dir, "golden/templates") ? opendir(dir) : NULL;
    if (!d)
        SKIP("the golden folder is not there");
    json_t *tools = json_loads(TOOLS, 0, NULL);
    failures = 0;
    for (struct dirent *f; (f = readdir(d));) {
        if (!strstr(f->d_name, ".json"))
            continue;
        snprintf(path, sizeof path, "%s/%s", dir, f->d_name);
        json_t *doc = jsonx_parse_file(path, 1 << 26, NULL);
        const char *source = json_string_value(json_object_get(doc, "template"));
        struct template *t = template_parse(source, strlen(source), NULL);
        struct calls_form *form = calls_derive(t, "<s>", "</s>");
        f->d_name[strlen(f->d_name) - 5] = '\0';
        check(f->d_name, t, form, tools);
        calls_form_free(form);
        template_free(t);
        json_decref(doc);
    }
    json_decref(tools);
    closedir(d);
}

static void check_round_trip(const char *name, const struct template *t, const struct calls_form *f, json_t *tools)
{
    for (size_t i = 0; f->writes_calls && i < MEM_COUNT(CALLS); i++)
        round_trip(name, t, f, tools, CALLS[i]);
}

static void templates_read_back(void)
{
    each_template(check_round_trip);
    CHECK(failures == 0);
}

/* calls_write is what stands in for templates that leave calls out: it too reads back. */
static void check_written(const char *name, const struct template *t, const struct calls_form *f, json_t *tools)
{
    for (size_t i = 0; i < MEM_COUNT(CALLS); i++) {
        json_t *want = json_loads(CALLS[i], 0, NULL), *calls = json_array(), *c;
        size_t k;
        json_array_foreach(want, k, c)
            json_array_append_new(calls, json_pack("{s:s,s:O}", "id", "abcdefghi", "function", c));
        struct buf text = { 0 };
        calls_write(f, calls, &text);
        for (size_t piece = 0; piece < 3 && (f->many || k == 1); piece++) {
            struct got g = read_answer(f, tools, buf_str(&text), false, false, piece);
            expect_calls(name, "written", &g, want, buf_str(&text));
            got_release(&g);
        }
        buf_release(&text);
        json_decref(calls);
        json_decref(want);
    }
}

static void written_reads_back(void)
{
    each_template(check_written);
    CHECK(failures == 0);
}

/* ---- thoughts */

static const char THOUGHT[] = "Let me see: 1 < 2.\nSo it is \"yes\".", SAID[] = "The answer is <b>yes</b>.\n\nIndeed.";
static int thoughts_seen;

/* A thought and words, as the template shows them, come back apart. */
static void check_thought(const char *name, const struct template *t, const struct calls_form *f, json_t *tools)
{
    struct buf text = { 0 };
    bool in_thought = false;
    if (f->think_open && f->think_key && *f->think_key &&
        answer_of(t, f, tools, "[]", SAID, THOUGHT, &text, &in_thought) && strstr(buf_str(&text), THOUGHT) &&
        strstr(buf_str(&text), SAID) > strstr(buf_str(&text), THOUGHT)) {
        in_thought |= !strstr(buf_str(&text), f->think_open);
        for (size_t piece = 0; piece < 8; piece++) {
            struct got g = read_answer(f, tools, buf_str(&text), in_thought, true, piece);
            char *said = calls_trim(buf_str(&g.text));
            bool same = !strcmp(said, SAID);
            mem_free(said);
            if (g.bad || strcmp(buf_str(&g.thought), THOUGHT) || !same) {
                printf("# %s: '%s'\n#   thought '%s' text '%s'\n", name, buf_str(&text), buf_str(&g.thought),
                       buf_str(&g.text));
                failures++;
            }
            got_release(&g);
        }
        thoughts_seen++;
    }
    buf_release(&text);
}

static void thoughts_read_back(void)
{
    each_template(check_thought);
    if (test_skip)
        return;
    CHECK(failures == 0);
    CHECK(thoughts_seen >= 14);
}

/* ---- where each form comes from */

static int from_template, from_hand, from_nothing;

static void count_origin(const char *name, const struct template *t, const struct calls_form *f, json_t *tools)
{
    from_template += !strcmp(f->origin, "template");
    from_hand += !strcmp(f->origin, "known");
    from_nothing += !strcmp(f->origin, "generic");
    bool kimi = !strncmp(name, "Kimi-K2", 7), lfm = !strcmp(name, "LFM2-8B-A1B");
    CHECK(strcmp(f->origin, "known") || kimi || lfm);
    CHECK(f->shape != CALLS_NONE && *f->marker && f->pre && strchr(f->pre, CALLS_NAME));
}

static void forms_are_derived(void)
{
    each_template(count_origin);
    if (test_skip)
        return;
    CHECK_INT(from_template, 39);
    CHECK_INT(from_hand, 3);
    CHECK_INT(from_nothing, 4); /* SmolLM3 (as cut), gemma 2, RWKV, Phi 3.5: they show no tools */
}

/* ---- the Hermes form by hand: what goes wrong is text, what is cut short is given */

static const struct {
    const char *text;
    bool live;
    const char *want_text, *want_calls;
} odd[] = {
    { "Hi.", false, "Hi.", "[]" },
    { " Hi.\n", false, " Hi.\n", "[]" },
    { "a < b <tool", false, "a < b <tool", "[]" },
    { "<tool_call>\n{\"name\": \"nope\", \"arguments\": {}}\n</tool_call>", false,
      "<tool_call>\n{\"name\": \"nope\", \"arguments\": {}}\n</tool_call>", "[]" },
    { "<tool_call>\n{\"name\": \"add_up\", \"arguments\": {\"a\": }}\n</tool_call>", false,
      "<tool_call>\n{\"name\": \"add_up\", \"arguments\": {\"a\": }}\n</tool_call>", "[]" },
    { "<tool_call>\n{\"name\": \"add_up\", \"arguments\": [1]}\n</tool_call> so", false,
      "<tool_call>\n{\"name\": \"add_up\", \"arguments\": [1]}\n</tool_call> so", "[]" },
    { "See <tool_call>{\"name\":\"add_up\",\"arguments\":{\"a\":1}}</tool_call> done", false, "Seedone",
      "[{\"name\":\"add_up\",\"arguments\":{\"a\":1}}]" },
    { "<tool_call>\n{\"name\": \"add_up\", \"arguments\": {\"a\": 1", true, "",
      "[{\"name\":\"add_up\",\"arguments\":\"{\\\"a\\\": 1\"}]" },
    { "<tool_call>\n{\"name\": \"add_up\", \"arguments\": {\"a\": 1}}\n</tool_call>\n<tool_c", true, "",
      "[{\"name\":\"add_up\",\"arguments\":{\"a\":1}}]" },
    { "<tool_call>\n{\"name\": \"add_up\", \"arguments\": {\"a\": 1}}\n</tool_call>\n<tool_call>\n{\"name\": \"ge", true, "",
      "[{\"name\":\"add_up\",\"arguments\":{\"a\":1}}]" },
    { "<tool_call>\n{\"name\": \"add_", true, "<tool_call>\n{\"name\": \"add_", "[]" },
    { "<tool_call>\n{\"name\": \"add_up\", \"arguments\": {\"note\": \"}</tool_call>\\\"\"}}\n</tool_call>", true, "",
      "[{\"name\":\"add_up\",\"arguments\":{\"note\":\"}</tool_call>\\\"\"}}]" },
    { "<think>no thought is known here</think>x", false, "<think>no thought is known here</think>x", "[]" },
};

static void odd_answers(void)
{
    struct calls_form *f = MEM_NEW(struct calls_form);
    json_t *tools = json_loads(TOOLS, 0, NULL);
    calls_generic(f);
    calls_find_marker(f);
    for (size_t i = 0; i < MEM_COUNT(odd); i++)
        for (size_t piece = 0; piece < 5; piece++) {
            struct got g = read_answer(f, tools, odd[i].text, false, odd[i].live, piece);
            json_t *want = json_loads(odd[i].want_calls, 0, NULL);
            CHECK_STR(buf_str(&g.text), odd[i].want_text);
            CHECK(!g.bad && json_equal(g.calls, want));
            json_decref(want);
            got_release(&g);
        }
    struct got g = read_answer(f, NULL, "<tool_call>\n{\"name\": \"add_up\", \"arguments\": {}}", false, false, 0);
    CHECK_STR(buf_str(&g.text), "<tool_call>\n{\"name\": \"add_up\", \"arguments\": {}}"); /* no tools: text */
    got_release(&g);
    json_decref(tools);
    calls_form_free(f);
}

/* Harmony, whose template is not among the golden ones; the texts are its format's own examples, cut to the point. */
static void harmony(void)
{
    struct calls_form *f = MEM_NEW(struct calls_form);
    json_t *tools = json_loads(TOOLS, 0, NULL);
    CHECK(calls_known("# Valid channels: ... <|channel|>commentary ...", f));
    calls_find_marker(f);
    for (size_t piece = 0; piece < 9; piece++) {
        struct got g = read_answer(f, tools, "<|channel|>analysis<|message|>User asks. Need tool.<|end|><|start|>assistant"
                                   "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>"
                                   "{\"city\":\"SF\"}", false, true, piece);
        json_t *want = json_loads("[{\"name\":\"get_weather\",\"arguments\":{\"city\":\"SF\"}}]", 0, NULL);
        CHECK(!g.bad && json_equal(g.calls, want));
        CHECK_STR(buf_str(&g.thought), "User asks. Need tool.");
        CHECK_STR(buf_str(&g.text), "");
        got_release(&g);
        json_decref(want);
        g = read_answer(f, tools, "<|channel|>analysis<|message|>Easy.<|end|><|start|>assistant<|channel|>final<|message|>2 + "
                        "2 = 4.", false, true, piece);
        CHECK_STR(buf_str(&g.thought), "Easy.");
        CHECK_STR(buf_str(&g.text), "2 + 2 = 4.");
        got_release(&g);
    }
    json_decref(tools);
    calls_form_free(f);
}

int main(void)
{
    RUN(templates_read_back);
    RUN(written_reads_back);
    RUN(thoughts_read_back);
    RUN(forms_are_derived);
    RUN(odd_answers);
    RUN(harmony);
    DONE();
}
