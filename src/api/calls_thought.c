/* calls_thought -- how a model thinks aloud: what stands round a past turn's reasoning, or what the generation prompt
 * opens. The tag that ends a thought is the one that follows it; the tag that begins it is its counterpart. */
#include "api/calls_probe.h"

#include "base/mem.h"

#include <string.h>

static void add_skip(struct calls_form *f, const char *text, size_t n)
{
    struct buf b = { 0 };
    buf_append(&b, text, n);
    char *s = calls_trim(buf_str(&b));
    buf_release(&b);
    if (*s && f->skips < CALLS_SKIPS_MAX && (strchr(s, '<') || strchr(s, '[')))
        f->skip[f->skips++] = s;
    else
        mem_free(s);
}

/* </x> -> <x>, <|END_X|> -> <|START_X|>, [/X] -> [X]; NULL: it has no counterpart. */
static char *counterpart(const char *close)
{
    struct buf b = { 0 };
    buf_puts(&b, close);
    int n = calls_replace(&b, "</", "<", 1) + calls_replace(&b, "[/", "[", 1);
    n = n ? n : calls_replace(&b, "END", "START", 1) + calls_replace(&b, "|end", "|begin", 1);
    char *s = buf_take(&b);
    if (n)
        return s;
    mem_free(s);
    return NULL;
}

/* Between the thought and the text: the closing tag, and what else comes before the text. */
static char *closing(struct calls_form *f, const char *between, const char *wrap)
{
    char *s = calls_trim(between);
    size_t n = calls_tag_len(s);
    char *close = mem_strndup(s, n ? n : strlen(s));
    const char *glue = s + strlen(close);
    const char *own = *wrap ? strstr(glue, wrap) : NULL;
    if (own)
        add_skip(f, glue, (size_t)(own - glue));
    f->glued = f->skips > 0;
    mem_free(s);
    return close;
}

/* The text of a plain turn up to its content: the tags that a text wears. */
static char *wrapping(const struct calls_probe *p, const char *prompt, const char *close)
{
    struct buf b = { 0 };
    char *wrap = NULL;
    if (calls_probe_render(p, calls_probe_said(CALLS_TEXT, NULL), NULL, false, &b)) {
        const char *from = calls_behind(prompt, buf_str(&b)), *text = strstr(from, CALLS_TEXT);
        const char *thought = close ? strstr(from, close) : NULL;
        if (thought && text && thought < text)
            from = thought + strlen(close);
        struct buf w = { 0 };
        buf_append(&w, from, text ? (size_t)(text - from) : 0);
        wrap = calls_trim(buf_str(&w));
        buf_release(&w);
    }
    buf_release(&b);
    return wrap ? wrap : mem_strdup("");
}

/* What opens a thought when no counterpart tells: what the turn shows before it, or the prompt behind its header. */
static char *opening(const struct calls_probe *p, const char *turn, const char *thought)
{
    struct buf plain = { 0 }, b = { 0 }, own = { 0 };
    calls_probe_render(p, NULL, NULL, true, &own);
    const char *prompt = buf_str(&own), *from = calls_behind(prompt, turn);
    size_t header = (size_t)(from - turn);
    if (calls_probe_render(p, calls_probe_said(CALLS_TEXT, NULL), NULL, false, &plain)) {
        const char *s = buf_str(&plain);
        size_t n = 0;
        while (s[n] && s[n] == turn[n])
            n++;
        n = calls_tag_floor(turn, n);
        header = n < header ? n : header;
    }
    if (turn + header < thought)
        buf_append(&b, turn + header, (size_t)(thought - turn) - header);
    else if (strlen(prompt) > header && !strncmp(prompt, turn, header))
        buf_puts(&b, prompt + header);
    char *s = calls_trim(buf_str(&b));
    buf_release(&b);
    buf_release(&own);
    buf_release(&plain);
    return s;
}

/* A template that shows no thought may still cut it off past turns, or open one in the prompt: then it is <think>. */
static bool cuts_thought(const struct calls_probe *p, const char *prompt)
{
    struct buf b = { 0 };
    json_t *next = json_pack("{s:s,s:s}", "role", "user", "content", "twNext");
    bool ok = calls_probe_render(p, calls_probe_said("<think>\n" CALLS_THOUGHT "\n</think>\n\n" CALLS_TEXT, NULL), next,
                                 true, &b);
    bool cut = ok && strstr(buf_str(&b), CALLS_TEXT) && !strstr(buf_str(&b), CALLS_THOUGHT);
    buf_release(&b);
    return cut || strstr(prompt, "<think>") || strstr(prompt, "</think>");
}

/* The ways a message may carry its thought; the one the template shows is found by trying. */
static const char *const keys[] = { "reasoning_content", "reasoning", "thinking", "" };

static json_t *thinking_turn(const char *key, bool calls)
{
    json_t *m = calls_probe_said(calls ? "" : CALLS_TEXT, NULL);
    if (*key)
        json_object_set_new(m, key, json_string(CALLS_THOUGHT));
    else
        json_object_set_new(m, "content", json_pack("[{s:s,s:s},{s:s,s:s}]", "type", "thinking", "thinking",
                                                    CALLS_THOUGHT, "type", "text", "text", CALLS_TEXT));
    if (calls)
        json_object_set_new(m, "tool_calls", json_pack("[{s:s,s:s,s:{s:s,s:{}}}]", "id", "call0000a", "type",
                                                       "function", "function", "name", CALLS_TEXT, "arguments"));
    return m;
}

/* Renders a turn that shows the thought. *from and *to: where the thought begins and the text behind it, or the name
 * of the call where templates keep thoughts beside calls only. */
static bool find_thought(struct calls_probe *p, struct buf *turn, struct calls_form *f, const char **from,
                         const char **to)
{
    for (int calls = 0; calls < 2; calls++)
        for (size_t i = 0; i < MEM_COUNT(keys) - (size_t)calls; i++) {
            p->with_tools = calls;
            if (!calls_probe_render(p, thinking_turn(keys[i], calls), NULL, false, turn))
                continue;
            *from = strstr(buf_str(turn), CALLS_THOUGHT);
            *to = *from ? strstr(*from, CALLS_TEXT) : NULL;
            if (*to && *to > *from + strlen(CALLS_THOUGHT) && !strchr("\"'", (*from)[-1])) {
                f->think_key = keys[i];
                return true;
            }
        }
    return false;
}

static void forget(struct calls_form *f)
{
    mem_free(f->think_close);
    mem_free(f->think_open);
    f->think_close = f->think_open = NULL;
}

static void derive_tags(const struct calls_probe *given, const char *prompt, struct calls_form *f)
{
    struct calls_probe own = *given, *p = &own;
    struct buf turn = { 0 }, between = { 0 };
    const char *from, *to;
    if (find_thought(p, &turn, f, &from, &to)) {
        const char *end = from + strlen(CALLS_THOUGHT);
        char *wrap = wrapping(given, prompt, NULL);
        buf_append(&between, end, (size_t)(to - end));
        f->think_close = closing(f, buf_str(&between), wrap);
        f->think_open = counterpart(f->think_close);
        if (!f->think_open)
            f->think_open = opening(p, buf_str(&turn), from);
        mem_free(wrap);
    } else if (cuts_thought(given, prompt)) {
        f->think_open = mem_strdup("<think>");
        f->think_close = mem_strdup("</think>");
    }
    if (f->think_close && (!*f->think_close || !*f->think_open))
        forget(f);
    buf_release(&between);
    buf_release(&turn);
}

void calls_derive_thought(const struct calls_probe *p, struct calls_form *f)
{
    struct buf prompt = { 0 };
    if (!calls_probe_render(p, NULL, NULL, true, &prompt)) {
        buf_release(&prompt);
        return;
    }
    f->think_key = keys[0];
    derive_tags(p, buf_str(&prompt), f);
    char *wrap = wrapping(p, buf_str(&prompt), f->think_close);
    size_t tag = calls_tag_len(wrap);
    char *open = mem_strndup(wrap, tag), *close = calls_trim(wrap + tag), *own = counterpart(close);
    if (!f->think_open && tag && own && !strcmp(own, open)) { /* an empty thought before each text */
        f->think_open = mem_strdup(open);
        f->think_close = mem_strdup(close);
    } else {
        add_skip(f, wrap, strlen(wrap));
    }
    mem_free(open);
    mem_free(close);
    mem_free(own);
    mem_free(wrap);
    buf_release(&prompt);
}
