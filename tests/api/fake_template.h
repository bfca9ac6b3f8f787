/* fake_template -- ChatML, written out in C, until and where no template engine is wanted. */
#ifndef TESTS_API_FAKE_TEMPLATE_H
#define TESTS_API_FAKE_TEMPLATE_H
#include "text/template.h"

#include <string.h>

struct template {
    const char *knows; /* the one variable it mentions */
};

bool template_mentions(const struct template *t, const char *variable)
{
    return t->knows && !strcmp(t->knows, variable);
}

enum err_code template_render(const struct template *t, const json_t *context, const char *now_iso,
                              const struct template_limits *lim, struct buf *out, struct err *e)
{
    size_t i;
    const json_t *m;
    json_array_foreach(json_object_get(context, "messages"), i, m) {
        const char *role = json_string_value(json_object_get(m, "role"));
        const json_t *content = json_object_get(m, "content");
        if (!strcmp(role, "tool"))
            return err_set(e, ERR_INVALID, "only user and assistant roles are supported!");
        buf_printf(out, "<|im_start|>%s\n", role);
        buf_append(out, json_is_string(content) ? json_string_value(content) : "", json_string_length(content));
        buf_puts(out, "<|im_end|>\n");
    }
    if (json_is_true(json_object_get(context, "add_generation_prompt")))
        buf_puts(out, "<|im_start|>assistant\n");
    if (json_is_true(json_object_get(context, "enable_thinking")))
        buf_puts(out, "<think>");
    return ERR_OK;
}
#endif
