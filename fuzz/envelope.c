/* envelope -- the front's scanner against jansson: what the scanner accepts and jansson reads, they read alike. */
#include "base/assert.h"
#include "base/json.h"
#include "front/envelope.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct envelope env;
    struct err e = { 0 };
    const char *param = NULL;
    enum err_code c = envelope_scan((const char *)data, size, &env, &param, &e);
    json_t *v = jsonx_parse((const char *)data, size, NULL);
    ASSERT(param && (c == ERR_OK || e.text[0]));
    if (c == ERR_OK && v) { /* jansson refuses more: invalid UTF-8, huge numbers, duplicates anywhere */
        ASSERT(json_is_object(v));
        const json_t *model = json_object_get(v, "model");
        ASSERT(!strcmp(env.model, json_is_string(model) ? json_string_value(model) : ""));
        ASSERT(env.stream == json_is_true(json_object_get(v, "stream")));
        const json_t *priority = json_object_get(v, "priority");
        ASSERT(env.priority == json_integer_value(priority));
        const json_t *most = json_object_get(json_object_get(v, "options"), "num_predict");
        if (!json_object_get(v, "max_tokens") && !json_object_get(v, "max_completion_tokens") &&
            !json_object_get(v, "max_output_tokens"))
            ASSERT(env.max_tokens == (json_integer_value(most) > 0 ? json_integer_value(most) : 0));
    }
    /* Refused as JSON, yet jansson reads it: too deep, or a NUL byte behind a number, which jansson overlooks. */
    if (c && !param[0] && json_is_object(v))
        ASSERT(strstr(e.text, "nested deeper") || memchr(data, 0, size));
    json_decref(v);
    return 0;
}
