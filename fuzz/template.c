/* template -- fuzz: any bytes as a chat template, rendered over a small conversation with small limits. */
#include "base/json.h"
#include "text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char context[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"a\\u00e9\"},{\"role\":\"assistant\",\"content\":null,\"tool_calls\":"
    "[{\"function\":{\"name\":\"f\",\"arguments\":{\"x\":1.5}}}]}],\"tools\":[{\"n\":[1,2,3]}],\"add_generation_prompt\":true}";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct template_limits lim = { .memory_max = 1 << 20, .output_max = 1 << 16, .ops_max = 20000, .depth_max = 100 };
    struct err e;
    struct template *t = template_parse((const char *)data, size, &e);
    if (!t)
        return 0;
    json_t *c = jsonx_parse(context, sizeof context - 1, &e);
    struct buf out = { 0 };
    template_render(t, c, "2026-01-02T03:04:05", &lim, &out, &e);
    buf_release(&out);
    json_decref(c);
    template_free(t);
    return 0;
}
