/* calls_known -- the forms that no rendering shows: of templates whose past calls are broken or left out, told by what
 * their prompt says of tools, and the Hermes form for templates that know no tools. */
#include "api/calls.h"

#include "base/mem.h"

#include <string.h>

/* A form by hand; NULL strings are empty. */
struct known {
    const char *sign;    /* what the prompt with tools shows */
    const char *open, *close, *sep, *pre, *post, *marker; /* marker: NULL: the first tag */
    const char *think_open, *think_close;
    const char *skip[CALLS_SKIPS_MAX];
    enum calls_ids ids;
    bool many, python;
};

static const struct known forms[] = {
    { .sign = "<|channel|>commentary", .pre = "<|channel|>commentary to=functions.\1 <|constrain|>json<|message|>",
      .marker = "<|channel|>commentary to=functions.",
      .think_open = "<|channel|>analysis<|message|>", .think_close = "<|end|>",
      .skip = { "<|start|>assistant", "<|channel|>final<|message|>", "<|channel|>commentary<|message|>", "<|end|>" } },
    { .sign = "<|im_system|>tool_declare", .open = "<|tool_calls_section_begin|>",
      .pre = "<|tool_call_begin|>functions.\1:\3<|tool_call_argument_begin|>", .post = "<|tool_call_end|>",
      .close = "<|tool_calls_section_end|>", .ids = CALLS_ID_NAMED, .many = true },
    { .sign = "<|tool_list_start|>", .open = "<|tool_call_start|>[", .pre = "\1(", .post = ")", .sep = ", ",
      .close = "]<|tool_call_end|>", .many = true, .python = true },
    { .sign = "<tool_call>", .pre = "<tool_call>\n{\"name\": \"\1\", \"arguments\": ", .post = "}\n</tool_call>",
      .sep = "\n", .many = true },
};

static char *copy(const char *s)
{
    return mem_strdup(s ? s : "");
}

static void python_pairs(struct calls_pairs *p)
{
    *p = (struct calls_pairs){ .pre = copy(""), .sep = copy(", "), .mid_text = copy("='"), .end_text = copy("'"),
                               .mid_json = copy("="), .end_json = copy(""), .quote = copy("'") };
}

static void fill(struct calls_form *f, const struct known *k)
{
    f->shape = k->python ? CALLS_PAIRS : CALLS_JSON;
    f->origin = "known";
    f->ids = k->ids;
    f->many = k->many;
    f->open = copy(k->open);
    f->close = copy(k->close);
    f->sep = copy(k->sep);
    f->pre = copy(k->pre);
    f->post = copy(k->post);
    f->marker = k->marker ? copy(k->marker) : NULL;
    if (k->python)
        python_pairs(&f->pairs);
    if (k->think_open) {
        mem_free(f->think_open);
        mem_free(f->think_close);
        f->think_open = copy(k->think_open);
        f->think_close = copy(k->think_close);
        while (f->skips)
            mem_free(f->skip[--f->skips]);
        f->glued = true;
    }
    for (size_t i = 0; i < CALLS_SKIPS_MAX && k->skip[i] && f->skips < CALLS_SKIPS_MAX; i++)
        f->skip[f->skips++] = copy(k->skip[i]);
}

static void free_calls(struct calls_form *f)
{
    char *own[] = { f->open, f->close, f->sep, f->pre, f->post, f->pairs.pre, f->pairs.sep, f->pairs.mid_text,
                    f->pairs.end_text, f->pairs.mid_json, f->pairs.end_json, f->pairs.quote, f->marker };
    for (size_t i = 0; i < MEM_COUNT(own); i++)
        mem_free(own[i]);
    f->open = f->close = f->sep = f->pre = f->post = f->marker = NULL;
    f->pairs = (struct calls_pairs){ 0 };
}

bool calls_known(const char *shown, struct calls_form *f)
{
    for (size_t i = 0; i < MEM_COUNT(forms); i++)
        if (strstr(shown, forms[i].sign)) {
            free_calls(f);
            fill(f, &forms[i]);
            return true;
        }
    return false;
}

void calls_generic(struct calls_form *f)
{
    free_calls(f);
    fill(f, &forms[MEM_COUNT(forms) - 1]);
    f->origin = "generic";
}

void calls_form_free(struct calls_form *f)
{
    if (!f)
        return;
    free_calls(f);
    mem_free(f->think_open);
    mem_free(f->think_close);
    for (int i = 0; i < f->skips; i++)
        mem_free(f->skip[i]);
    mem_free(f);
}

/* The first tag of what opens a call; without one, all of it up to the name. */
void calls_find_marker(struct calls_form *f)
{
    if (f->marker)
        return;
    struct buf b = { 0 };
    buf_puts(&b, f->open);
    buf_puts(&b, f->pre);
    const char *s = buf_str(&b);
    size_t n = strcspn(s, "\1\2\3"), tag = strcspn(s, "<[");
    f->bare = tag >= n || s[0] == '{';
    if (!f->bare) {
        const char *end = memchr(s + tag, s[tag] == '<' ? '>' : ']', n - tag);
        n = end ? (size_t)(end - s) + 1 : s[tag] == '[' ? tag + 1 : n;
    }
    f->marker = mem_strndup(s, n);
    buf_release(&b);
}
