/* golden_test -- the dialect over the real tokenizer and the real template engine: chat templates and vocabularies of
 * real models from the golden folder, conversations as a client sends them, prompts compared id by id with the
 * template's expected text encoded in one go. SKIP where the golden folder is not there. */
#include "../test.h"

#include "api/job.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "gguf/gguf.h"

#include <stdlib.h>
#include <unistd.h>

static const char *golden(char path[512], const char *file)
{
    const char *shared = getenv("TW_SHARED");
    snprintf(path, 512, "%s/golden/%s", shared ? shared : "../shared", file);
    return access(path, R_OK) ? NULL : path;
}

static struct vocab *load_vocab(const char *file)
{
    char path[512];
    struct gguf_file *f = NULL;
    struct vocab *v = NULL;
    struct err e;
    if (!golden(path, file))
        return NULL;
    if (gguf_open(path, &f, &e) || vocab_new(f, NULL, &v, &e)) {
        printf("# %s\n", e.text);
        CHECK(!"loaded");
    }
    gguf_close(f);
    return v;
}

/* A request of the golden case's messages; what the API builds must equal the expected text's ids. */
static int check_case(const struct api_model *m, const json_t *c, const char *name)
{
    const json_t *context = json_object_get(c, "context"), *expect = json_object_get(c, "expect");
    const json_t *messages = json_object_get(context, "messages"), *one;
    size_t i;
    if (!json_is_string(expect) || json_is_true(json_object_get(context, "enable_thinking")))
        return 0;
    if (json_array_size(json_object_get(context, "tools")))
        return 0; /* tools are refused for now */
    static const char *const own[] = { "bos_token", "eos_token" }; /* another vocabulary's: not ours to print */
    for (size_t k = 0; k < MEM_COUNT(own); k++) {
        const char *text = json_string_value(json_object_get(context, own[k]));
        if (text && *text && strstr(json_string_value(expect), text))
            return 0;
    }
    json_array_foreach(messages, i, one)
        if (!json_is_string(json_object_get(one, "content")))
            return 0; /* the API rewrites these */
    json_t *body = json_object();
    json_object_set(body, "messages", (json_t *)messages);
    json_object_set(body, "add_generation_prompt", json_object_get(context, "add_generation_prompt"));
    if (json_object_get(context, "enable_thinking"))
        json_object_set(body, "enable_thinking", json_object_get(context, "enable_thinking"));
    struct buf text = { 0 };
    jsonx_dump(body, &text);
    struct api_error e = { 0 };
    struct api_request r = { .path = "/v1/chat/completions", .body = buf_str(&text), .body_len = text.len,
                             .response_id = "id", .created = 1700000000, .seed = 1 };
    struct api_job *j = api_job_parse(m, &r, &e);
    int done = 0;
    if (!j)
        printf("# %s: %s\n", name, e.message);
    CHECK(j != NULL);
    if (j) {
        struct vocab_ids want = { 0 };
        vocab_encode(m->vocab, json_string_value(expect), json_string_length(expect), true, &want, NULL);
        const struct vocab_ids *got = api_job_prompt(j, 0);
        size_t skip = vocab_add_bos(m->vocab) && got->count && got->v[0] == vocab_bos(m->vocab) &&
                      !(want.count && want.v[0] == got->v[0]);
        bool same = got->count - skip == want.count &&
                    !memcmp(got->v + skip, want.v, want.count * sizeof *want.v);
        if (!same)
            printf("# %s: %zu ids, %zu wanted\n", name, got->count - skip, want.count);
        CHECK(same);
        vocab_ids_release(&want);
        done = 1;
    }
    api_job_free(j);
    buf_release(&text);
    json_decref(body);
    return done;
}

static void prompts_of_real_templates(void)
{
    static const char *const names[] = {
        "HuggingFaceTB-SmolLM3-3B", "Qwen-Qwen3-0.6B", "Qwen-Qwen2.5-7B-Instruct", "microsoft-Phi-3.5-mini-instruct",
        "ibm-granite-granite-4.0", "Bielik-11B-v3.0-Instruct",
    };
    struct vocab *v = load_vocab("vocabs/ggml-vocab-gpt-2.gguf");
    if (!v)
        SKIP("no golden folder (../shared or $TW_SHARED)");
    int done = 0;
    for (size_t i = 0; i < MEM_COUNT(names); i++) {
        char file[128], path[512];
        snprintf(file, sizeof file, "templates/%s.json", names[i]);
        struct err e;
        json_t *g = golden(path, file) ? jsonx_parse_file(path, 1 << 24, &e) : NULL, *cases = json_object_get(g, "cases");
        CHECK(g != NULL);
        const char *text = json_string_value(json_object_get(g, "template"));
        struct template *t = template_parse(text, strlen(text), &e);
        CHECK(t != NULL);
        struct api_model m = { .id = names[i], .vocab = v, .chat = t, .ctx = 100000 };
        bool dated = template_mentions(t, "strftime_now") || template_mentions(t, "date_string");
        for (size_t k = 0; !dated && k < json_array_size(cases); k++)
            done += check_case(&m, json_array_get(cases, k), names[i]);
        template_free(t);
        json_decref(g);
    }
    vocab_free(v);
    printf("# %d conversations\n", done);
    CHECK(done >= 10);
}

/* A real vocabulary's tokens through the response: text whole, whatever the vocabulary's family. */
static void text_survives_real_tokens(void)
{
    static const char *const files[] = { "vocabs/ggml-vocab-gpt-2.gguf", "vocabs/ggml-vocab-llama-spm.gguf",
                                         "vocabs/ggml-vocab-phi-3.gguf" };
    static const char text[] = "Grüße, 世界! \xF0\x9F\x98\x80 STO STOP and never this";
    static const char chatml[] = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    struct err e;
    struct template *t = template_parse(chatml, strlen(chatml), &e);
    CHECK(t != NULL);
    for (size_t i = 0; i < MEM_COUNT(files); i++) {
        struct vocab *v = load_vocab(files[i]);
        if (!v) {
            template_free(t);
            SKIP("no golden folder (../shared or $TW_SHARED)");
        }
        struct api_model m = { .id = "m", .vocab = v, .chat = t, .ctx = 4096 };
        static const char body[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"stop\":\"STOP\"}";
        struct api_request r = { .path = "/v1/chat/completions", .body = body, .body_len = strlen(body),
                                 .response_id = "id", .created = 1, .seed = 1 };
        struct api_error ae;
        struct api_job *j = api_job_parse(&m, &r, &ae);
        CHECK(j != NULL);
        const struct vocab_ids *prompt = api_job_prompt(j, 0);
        CHECK((prompt->count && prompt->v[0] == vocab_bos(v)) == vocab_add_bos(v));
        struct vocab_ids ids = { 0 };
        struct buf out = { 0 };
        bool stopped = false;
        vocab_encode(v, text, strlen(text), false, &ids, &e);
        for (size_t k = 0; k < ids.count && !stopped; k++)
            stopped = api_choice_token(j, 0, &(struct infer_token){ .id = ids.v[k] }, &out);
        CHECK(stopped);
        api_choice_finish(j, 0, INFER_STOP, &out);
        api_job_end(j, &(struct api_usage){ 1, 0, 1 }, &out);
        CHECK(strstr(buf_str(&out), "Grüße, 世界! \xF0\x9F\x98\x80 STO \",\"refusal\""));
        vocab_ids_release(&ids);
        buf_release(&out);
        api_job_free(j);
        vocab_free(v);
    }
    template_free(t);
}

int main(void)
{
    RUN(prompts_of_real_templates);
    RUN(text_survives_real_tokens);
    DONE();
}
