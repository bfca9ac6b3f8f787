/* sse -- see sse.h. */
#include "net/sse.h"

#include <string.h>

void sse_release(struct sse *s)
{
    buf_release(&s->line);
    buf_release(&s->data);
    buf_release(&s->type);
}

static void take_field(struct sse *s, const char *name, size_t name_n, const char *value, size_t value_n)
{
    if (name_n == 4 && !memcmp(name, "data", 4)) {
        buf_append(&s->data, value, value_n);
        buf_putc(&s->data, '\n');
    } else if (name_n == 5 && !memcmp(name, "event", 5)) {
        buf_clear(&s->type);
        buf_append(&s->type, value, value_n);
    }
}

static bool take_line(struct sse *s, sse_fn on_event, void *arg)
{
    if (!s->begun && s->line.len >= 3 && !memcmp(s->line.data, "\xef\xbb\xbf", 3))
        buf_drop_front(&s->line, 3);
    s->begun = true;
    const char *line = buf_str(&s->line), *colon = memchr(line, ':', s->line.len);
    bool go_on = true;
    if (!s->line.len) {
        if (s->data.len) {
            s->data.data[--s->data.len] = '\0'; /* the last LF */
            struct sse_event event = { s->type.len ? s->type.data : "message", s->data.data, s->data.len };
            go_on = on_event(arg, &event);
        }
        buf_clear(&s->data);
        buf_clear(&s->type);
    } else if (!colon) {
        take_field(s, line, s->line.len, "", 0);
    } else if (colon != line) {
        const char *value = colon + 1, *end = line + s->line.len;
        value += value < end && *value == ' ';
        take_field(s, line, (size_t)(colon - line), value, (size_t)(end - value));
    }
    buf_clear(&s->line);
    return go_on;
}

enum err_code sse_feed(struct sse *s, const char *data, size_t n, sse_fn on_event, void *arg, struct err *e)
{
    size_t i = 0;
    if (s->after_cr && n && data[0] == '\n')
        i++;
    if (n)
        s->after_cr = false;
    while (i < n) { /* every turn takes a byte at least */
        size_t start = i;
        while (i < n && data[i] != '\r' && data[i] != '\n')
            i++;
        buf_append(&s->line, data + start, i - start);
        if (s->line.overflow || s->data.overflow)
            return err_set(e, ERR_LIMIT, "an event of the stream is larger than %zu bytes",
                           s->line.overflow ? s->line.max : s->data.max);
        if (i == n)
            break;
        if (data[i] == '\r' && i + 1 == n)
            s->after_cr = true;
        i += data[i] == '\r' && i + 1 < n && data[i + 1] == '\n' ? 2 : 1;
        if (!take_line(s, on_event, arg))
            return err_set(e, ERR_BUSY, "stopped");
    }
    return ERR_OK;
}
