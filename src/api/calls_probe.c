/* calls_probe -- see calls_probe.h. */
#include "api/calls_probe.h"

#include "base/mem.h"

#include <string.h>

static const char SPACE[] = " \n\t\r";

/* ---- rendering */

void calls_context(const struct template *t, json_t *context, json_t *tools, const char *bos, const char *eos)
{
    json_object_set(context, "tools", tools ? tools : json_null());
    json_object_set_new(context, "documents", json_null());
    json_object_set_new(context, "bos_token", json_string(bos));
    json_object_set_new(context, "eos_token", json_string(eos));
    if (tools && template_mentions(t, "xml_tools"))
        json_object_set(context, "xml_tools", tools);
    if (!template_mentions(t, "tools") && template_mentions(t, "functions")) {
        struct buf b = { 0 };
        if (tools)
            jsonx_dump(tools, &b);
        json_object_set_new(context, "functions", json_stringn(buf_str(&b), b.len));
        buf_release(&b);
        if (!json_object_get(context, "datetime"))
            json_object_set_new(context, "datetime", json_string("2026-01-02 03:04:05 UTC"));
    }
}

bool calls_probe_render(const struct calls_probe *p, json_t *turn, json_t *more, bool open, struct buf *out)
{
    struct template_limits lim = { .memory_max = 32 << 20, .output_max = 1 << 20, .ops_max = 2000000 };
    json_t *context = json_object(), *messages = json_array();
    json_array_append_new(messages, json_pack("{s:s,s:s}", "role", "user", "content", CALLS_USER));
    if (turn)
        json_array_append_new(messages, turn);
    if (more)
        json_array_append_new(messages, more);
    json_object_set_new(context, "messages", messages);
    json_object_set_new(context, "add_generation_prompt", json_boolean(open));
    calls_context(p->t, context, p->with_tools ? p->tools : NULL, p->bos, p->eos);
    buf_clear(out);
    bool ok = !template_render(p->t, context, "2026-01-02T03:04:05", &lim, out, NULL);
    json_decref(context);
    return ok;
}

json_t *calls_probe_said(const char *content, const char *thought)
{
    json_t *m = json_pack("{s:s,s:s}", "role", "assistant", "content", content);
    static const char *const keys[] = { "reasoning_content", "reasoning", "thinking" };
    for (size_t i = 0; thought && i < MEM_COUNT(keys); i++)
        json_object_set_new(m, keys[i], json_string(thought));
    return m;
}

const char *calls_behind(const char *prompt, const char *turn)
{
    const char *last = strstr(turn, CALLS_USER);
    for (const char *at = last; at; at = strstr(at + 1, CALLS_USER))
        last = at;
    size_t n = 0, least = last ? (size_t)(last - turn) + strlen(CALLS_USER) : 0;
    while (prompt[n] && prompt[n] == turn[n])
        n++;
    n = calls_tag_floor(turn, n);
    return turn + (n > least ? n : least);
}

/* ---- cutting */

size_t calls_tag_floor(const char *text, size_t n)
{
    for (size_t i = n; i-- > 0 && n - i < 64;) {
        if (text[i] == '>')
            return n;
        if (text[i] == '<')
            return i;
    }
    return n;
}

size_t calls_tag_len(const char *s)
{
    char close = *s == '<' ? '>' : *s == '[' ? ']' : 0;
    const char *end = close ? strchr(s + 1, close) : NULL;
    return end ? (size_t)(end - s) + 1 : 0;
}

char *calls_trim_left(const char *s)
{
    return mem_strdup(s + strspn(s, SPACE));
}

char *calls_trim(const char *s)
{
    s += strspn(s, SPACE);
    size_t n = strlen(s);
    while (n && strchr(SPACE, s[n - 1]))
        n--;
    return mem_strndup(s, n);
}

size_t calls_common_end(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end), k = 0;
    while (n && strchr(SPACE, s[n - 1]))
        n--;
    while (k < n && k < m && s[n - 1 - k] == end[m - 1 - k])
        k++;
    for (; k && s[n - k] != '<' && s[n - k] != '['; k--) /* whole tags only */
        ;
    return n - k;
}

int calls_replace(struct buf *b, const char *from, const char *to, int max)
{
    struct buf out = { 0 };
    const char *at = buf_str(b), *hit;
    int count = 0;
    for (; count < max && (hit = strstr(at, from)); count++) {
        buf_append(&out, at, (size_t)(hit - at));
        buf_puts(&out, to);
        at = hit + strlen(from);
    }
    buf_puts(&out, at);
    buf_release(b);
    *b = out;
    return count;
}

void calls_blank_pairs(struct buf *b, bool numbers)
{
    static const char key[] = { CALLS_KEY, 0 }, value[] = { 6, 0 };
    calls_replace(b, "twKeyA", key, 32);
    calls_replace(b, "twKeyB", key, 32);
    calls_replace(b, numbers ? "471100" : "twValA", value, 32);
    calls_replace(b, numbers ? "471101" : "twValB", value, 32);
}

bool calls_cut_json(struct buf *b, const char *key)
{
    const char *s = buf_str(b), *at = strstr(s, key), *first = at ? at - 1 : s;
    if (!at || first <= s || *first != '"')
        return false;
    do
        first--;
    while (first > s && strchr(SPACE, *first));
    const char *end = *first == '{' ? strchr(at, '}') : NULL; /* the sentinels hold no braces */
    if (!end)
        return false;
    json_t *v = jsonx_parse(first, (size_t)(end - first) + 1, NULL);
    bool ok = json_is_object(v) && json_object_size(v) == 2;
    json_decref(v);
    if (!ok)
        return false;
    struct buf out = { 0 };
    buf_append(&out, s, (size_t)(first - s));
    buf_putc(&out, 7);
    buf_puts(&out, end + 1);
    buf_release(b);
    *b = out;
    return true;
}

static bool alike(char a, char b)
{
    return a == b || (a == '0' && b == '1');
}

/* A copy of n bytes in which a differs from b by its index. */
static char *holed(const char *a, const char *b, size_t n)
{
    char *out = mem_strndup(a, n);
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            out[i] = CALLS_INDEX;
    return out;
}

void calls_split(const char *a0, const char *a1, const char *a2, struct calls_split *out)
{
    size_t n0 = strlen(a0), n1 = strlen(a1), n = 0, m = 0;
    while (n < n0 && n < n1 && alike(a0[n0 - 1 - n], a1[n1 - 1 - n]))
        n++;
    size_t open = strcspn(a0 + n0 - n, "<"), shut = strcspn(a0 + n0 - n, ">");
    if (n < n0 && shut < open && shut < n && n0 > n)
        n -= shut + 1; /* it began inside a tag */
    while (n && ((unsigned char)a0[n0 - n] & 0xC0) == 0x80)
        n--; /* or inside a character */
    while (m + n < n1 && a2[m] && alike(a1[m], a2[m]))
        m++;
    if (m + n < n1)
        m = calls_tag_floor(a1, m);
    while (m && ((unsigned char)a1[m] & 0xC0) == 0x80)
        m--;
    out->pre = holed(a0 + n0 - n, a1 + n1 - n, n);
    out->post = holed(a1, a2, m);
    out->sep = mem_strndup(a1 + m, n1 - n - m);
}
