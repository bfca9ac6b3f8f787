/* openai_body -- fuzz target: request bodies of both dialects through parse, tokens and response.
 * The first byte chooses the dialect and what the model answers; the rest is the body. */
#include "../tests/api/fake_template.h"
#include "../tests/api/fake_vocab.h"

#include "api/api.h"
#include "api/prefix.h"
#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void answer(struct api_job *j, uint8_t how, struct buf *out)
{
    api_job_begin(j, out);
    for (int c = 0; c < api_job_choices(j); c++) {
        for (int i = 0; i < 12; i++) {
            struct infer_token t = { .id = (how * 31 + i * 97 + c) % FAKE_SIZE, .logprob = -1, .top_count = 1 };
            if (api_choice_token(j, c, &t, out))
                break;
        }
        api_choice_finish(j, c, how & 64 ? INFER_FAILED : INFER_LENGTH, out);
    }
    api_job_end(j, &(struct api_usage){ 1, 0, 1 }, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct vocab vocab = { .add_bos = true };
    static const struct template chat = { .knows = "enable_thinking" };
    static const struct api_model model = { .id = "tiny", .vocab = &vocab, .chat = &chat, .ctx = 4096 };
    static const uint8_t salt[16] = { 1 };
    if (!size)
        return 0;
    struct api_request r = { .path = data[0] & 1 ? "/v1/completions" : "/v1/chat/completions",
                             .body = (const char *)data + 1, .body_len = size - 1, .response_id = "id",
                             .created = 1700000000, .seed = 1, .text_only = (data[0] & 0x22) == 0x22 };
    struct api_error e = { 0 };
    struct buf out = { 0 };
    struct api_job *j = api_job_parse(&model, &r, &e);
    if (j) {
        answer(j, data[0], &out);
    } else {
        ASSERT(e.status >= 400 && e.message[0]);
        api_error_json(&e, &out);
    }
    ASSERT(out.len > 0 || r.text_only);
    buf_release(&out);
    api_job_free(j);
    struct api_prefix p = { 0 };
    struct err pe;
    if (!api_prefix_of(salt, r.body, r.body_len, &p, &pe))
        api_prefix_release(&p);
    return 0;
}
