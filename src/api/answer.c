/* answer -- where the answer begins, seen from the finished prompt: within a thought or not; and from that, with the
 * tools and the form the request asked for, the grammar that holds it and the limit on thinking. */
#include "api/job.h"

#include "base/mem.h"
#include "text/grammar_join.h"

#include <string.h>

/* Whether the text ends with the mark, white space aside. */
static bool ends_with(const struct buf *text, const char *mark)
{
    size_t n = text->len, m = strlen(mark);
    while (n && strchr(" \n\t\r", text->data[n - 1]))
        n--;
    return m && n >= m && !memcmp(text->data + n - m, mark, m);
}

/* Control tokens in the form's tags: the text of a choice shows them, for reply.c to find. */
static void collect_tags(struct api_tools *t, const struct vocab *v)
{
    const struct calls_form *f = t->form;
    const char *from[16 + CALLS_SKIPS_MAX] = { f->think_open, f->think_close };
    size_t n = 2;
    if (t->list) {
        const char *const own[] = { f->open, f->close, f->sep, f->pre, f->post, f->pairs.pre, f->pairs.sep,
                                    f->pairs.mid_text, f->pairs.end_text, f->pairs.mid_json, f->pairs.end_json };
        for (size_t i = 0; i < MEM_COUNT(own); i++)
            from[n++] = own[i];
    }
    for (int i = 0; i < f->skips; i++)
        from[n++] = f->skip[i];
    struct buf ids = { 0 };
    for (size_t i = 0; i < n; i++) {
        struct buf spelt = { 0 };
        calls_spell(v, from[i] ? from[i] : "", &spelt);
        for (size_t k = 0; k + GRAMMAR_CONTROL_BYTES <= spelt.len; k++) {
            const unsigned char *b = (const unsigned char *)spelt.data + k;
            if (b[0] != 0xF8)
                continue;
            int32_t id = (b[1] & 63) << 18 | (b[2] & 63) << 12 | (b[3] & 63) << 6 | (b[4] & 63);
            buf_append(&ids, &id, sizeof id);
        }
        buf_release(&spelt);
    }
    mem_free(t->shown); /* of a first rendering that the template refused */
    t->shown_count = (int)(ids.len / sizeof *t->shown);
    t->shown = (int32_t *)(void *)buf_take(&ids);
}

/* The tokens that end a thought when its limit is reached. */
static bool limit_thought(struct api_job *j, struct api_error *error)
{
    struct api_tools *t = &j->tools;
    struct buf close = { 0 };
    struct err e;
    buf_printf(&close, "\n%s\n", t->form->think_close);
    bool ok = !vocab_encode(j->model->vocab, buf_str(&close), close.len, true, &t->close, &e) && t->close.count;
    buf_release(&close);
    if (!ok)
        return api_refuse(error, 400, "thinking_budget", "unsupported_parameter",
                          "this model's vocabulary cannot spell the end of a thought");
    t->thought.begun = t->in_thought;
    t->thought.open = t->form->think_open;
    t->thought.end = t->form->think_close;
    t->thought.close = t->close.v;
    t->thought.close_count = (int)t->close.count;
    j->params.thought = &t->thought;
    return true;
}

static bool refuse_tool(const struct api_job *j, int tool, const struct err *e, struct api_error *error)
{
    char param[60] = "tools";
    if (tool < 0)
        return api_refuse(error, 400, "tools", "unsupported_schema", "%s", e->text);
    const json_t *f = json_object_get(json_array_get(j->tools.allowed, (size_t)tool), "function");
    snprintf(param, sizeof param, "tools[%d].function.parameters", tool);
    return api_refuse(error, 400, param, "unsupported_schema", "the arguments of '%.64s' cannot be enforced: %s",
                      json_string_value(json_object_get(f, "name")), e->text);
}

bool api_answer_begin(struct api_job *j, const struct buf *prompt, struct api_error *error)
{
    struct api_tools *t = &j->tools;
    const struct calls_form *f = t->form;
    struct err e;
    int tool;
    if (f->think_open && !j->text_only) {
        t->in_thought = ends_with(prompt, f->think_open);
        t->thinks = t->in_thought || !ends_with(prompt, f->think_close);
    }
    collect_tags(t, j->model->vocab);
    if (t->limited && t->thinks && !limit_thought(j, error))
        return false;
    if (!t->list && !(j->grammar && t->thinks))
        return true;
    struct calls_wish w = { .form = f, .vocab = j->model->vocab, .tools = t->allowed, .choice = t->choice,
                            .many = t->many, .thinks = t->thinks, .in_thought = t->in_thought, .content = j->grammar };
    j->grammar = NULL; /* taken */
    j->grammar = calls_grammar(&w, &tool, &e);
    j->params.grammar = j->grammar;
    return j->grammar || refuse_tool(j, tool, &e, error);
}
