/* nats_wire -- see nats_wire.h. */
#include "fleet/nats_wire.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

enum { WORDS_MAX = 4 };

static long malformed(struct err *e, const char *what)
{
    err_set(e, ERR_CORRUPT, "the server does not speak NATS: %s", what);
    return -1;
}

/* Digits alone, at most 19 of them. */
static bool number(const char *p, size_t n, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(p[i] - '0');
    }
    *out = v;
    return n > 0 && n <= 19;
}

/* Words of a line; -1: too many. */
static int split(char *line, size_t n, char *word[WORDS_MAX], size_t length[WORDS_MAX])
{
    int count = 0;
    for (size_t at = 0; at < n;) { /* a word a round */
        size_t from = at;
        while (at < n && line[at] != ' ' && line[at] != '\t')
            at++;
        if (at > from && count == WORDS_MAX)
            return -1;
        if (at > from) {
            word[count] = line + from;
            length[count++] = at - from;
        }
        at++;
    }
    return count;
}

/* MSG: the line has n bytes after "MSG ", its payload begins at body, of which there are left bytes. */
static long take_message(char *line, size_t n, const char *body, size_t left, struct wire_said *out, struct err *e)
{
    char *word[WORDS_MAX];
    size_t length[WORDS_MAX];
    uint64_t sid, bytes;
    int count = split(line, n, word, length);
    if (count < 3 || !number(word[1], length[1], &sid) || !number(word[count - 1], length[count - 1], &bytes))
        return malformed(e, "a MSG line that is none");
    if (bytes > NATS_PAYLOAD_MAX)
        return malformed(e, "a message of more than 8 MiB");
    if (left < bytes + 2)
        return 0;
    if (body[bytes] != '\r' || body[bytes + 1] != '\n')
        return malformed(e, "a message that is longer than its line says");
    for (int i = 0; i < count; i++)
        word[i][length[i]] = '\0'; /* a blank, or the line's CR */
    *out = (struct wire_said){ .kind = WIRE_MSG, .subject = word[0], .sid = sid, .data = body, .n = (size_t)bytes,
                               .reply = count == 4 ? word[2] : "" };
    return (long)bytes + 2;
}

static bool begins(const char *line, size_t n, const char *with, size_t m)
{
    return n >= m && !strncasecmp(line, with, m);
}

/* Any line but MSG. */
static bool take_line(const char *line, size_t n, struct wire_said *out)
{
    if (begins(line, n, "PING", 4) || begins(line, n, "PONG", 4) || begins(line, n, "+OK", 3)) {
        out->kind = line[0] == '+' ? WIRE_OK : (line[1] | 0x20) == 'i' ? WIRE_PING : WIRE_PONG;
        return true;
    }
    size_t word = begins(line, n, "INFO ", 5) || begins(line, n, "-ERR ", 5) ? 5 : 0;
    out->kind = line[0] == '-' ? WIRE_ERR : WIRE_INFO;
    out->data = line + word;
    out->n = n - word;
    if (out->kind == WIRE_ERR && out->n >= 2 && out->data[0] == '\'' && out->data[out->n - 1] == '\'') {
        out->data++;
        out->n -= 2;
    }
    return word > 0;
}

long nats_wire_parse(char *data, size_t n, struct wire_said *out, struct err *e)
{
    size_t look = n < NATS_LINE_MAX ? n : NATS_LINE_MAX;
    const char *lf = memchr(data, '\n', look);
    if (!lf)
        return look == NATS_LINE_MAX ? malformed(e, "a line of more than 128 KiB") : 0;
    size_t whole = (size_t)(lf - data) + 1;
    if (whole < 2 || data[whole - 2] != '\r')
        return malformed(e, "a line without its CR");
    *out = (struct wire_said){ .subject = "", .reply = "", .data = "" };
    if (begins(data, whole - 2, "MSG ", 4)) {
        long body = take_message(data + 4, whole - 6, lf + 1, n - whole, out, e);
        return body > 0 ? (long)whole + body : body;
    }
    return take_line(data, whole - 2, out) ? (long)whole : malformed(e, "a line that is nothing known");
}

void nats_wire_pub(struct buf *out, const char *subject, const char *reply, const void *data, size_t n)
{
    buf_printf(out, "PUB %s %s%s%zu\r\n", subject, reply ? reply : "", reply ? " " : "", n);
    buf_append(out, data, n);
    buf_append(out, "\r\n", 2);
}

void nats_wire_sub(struct buf *out, const char *subject, const char *queue, uint64_t sid)
{
    buf_printf(out, "SUB %s %s%s%" PRIu64 "\r\n", subject, queue ? queue : "", queue ? " " : "", sid);
}

void nats_wire_unsub(struct buf *out, uint64_t sid)
{
    buf_printf(out, "UNSUB %" PRIu64 "\r\n", sid);
}
