/* template -- tokenworks template: render a chat template, byte for byte what the engine would see. */
#include "cmd/cmd.h"

#include "base/file.h"
#include "base/json.h"
#include "text/template.h"

#include <stdio.h>

enum { INPUT_MAX = 64 << 20 };

struct options {
    const char *json;
};
static const struct opt rows[] = {
    { "json", 'j', OPT_STRING, "FILE", "the object to render; - is stdin", OPT_FIELD(struct options, json), 0, 0 },
    { 0 },
};
const struct opt_command cmd_template_spec = {
    "template", "--json FILE", "render a chat template",
    "FILE holds an object {\"template\": text, \"context\": {messages, tools, add_generation_prompt ...}} and may\n"
    "give \"now\" (\"2026-01-02T03:04:05\"), at which strftime_now stands still. The text goes to stdout as it\n"
    "is, without a newline added. When the template refuses the conversation its sentence goes to stderr and the\n"
    "exit status is 1.",
    rows,
};

static enum err_code render(const json_t *job, struct buf *out, struct err *e)
{
    const char *now = NULL;
    const json_t *text = json_object_get(job, "template"), *context = json_object_get(job, "context");
    if (!json_is_string(text))
        return err_set(e, ERR_INVALID, "the input needs a string \"template\"");
    if (jsonx_get_string(job, "now", &now, e))
        return e->code;
    struct template *t = template_parse(json_string_value(text), json_string_length(text), e);
    if (!t)
        return e->code;
    enum err_code code = template_render(t, context, now, NULL, out, e);
    template_free(t);
    return code;
}

int cmd_template(int argc, char **argv)
{
    struct options o = { 0 };
    struct err e;
    int positional;
    enum opt_result r = opt_parse(&cmd_template_spec, argc, argv, &o, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (!o.json || positional) {
        fprintf(stderr, "tokenworks template: give --json FILE and nothing else\n");
        return 2;
    }
    json_t *job = jsonx_parse_file(o.json, INPUT_MAX, &e);
    struct buf out = { 0 };
    int status = 0;
    if (!job || render(job, &out, &e) || file_write_all_fd(1, out.data, out.len, &e))
        status = cmd_fail(&cmd_template_spec, &e);
    buf_release(&out);
    json_decref(job);
    return status;
}
