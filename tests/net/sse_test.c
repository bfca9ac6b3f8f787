/* sse_test -- server-sent events in pieces of every size (cases from the WHATWG specification's examples). */
#include "../test.h"
#include "net/sse.h"

#include <stdlib.h>

enum { EVENT_MAX = 1 << 20 };

static bool collect(void *arg, const struct sse_event *event)
{
    struct buf *b = arg;
    const char *data = event->data;
    size_t n = event->data_len;
    buf_putc(b, '[');
    buf_append(b, data, n);
    buf_putc(b, ']');
    return n != 4 || memcmp(data, "stop", 4);
}

/* The events of a stream pushed in pieces of the given size. */
static char *events(const char *text, size_t piece, bool *ok)
{
    struct sse s = { 0 };
    struct buf out = { 0 };
    size_t n = strlen(text);
    *ok = true;
    for (size_t i = 0; i < n && *ok; i += piece)
        *ok = sse_feed(&s, text + i, n - i < piece ? n - i : piece, collect, &out, NULL) == ERR_OK;
    sse_release(&s);
    buf_append(&out, "", 0);
    char *r = strdup(buf_str(&out));
    buf_release(&out);
    return r;
}

static void streams_in_every_cutting(void)
{
    static const struct { const char *text, *want; } cases[] = {
        { "data: YHOO\ndata: +2\ndata: 10\n\n", "[YHOO\n+2\n10]" },
        { ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
          "[first event][second event][ third event]" },
        { "data\n\ndata\ndata\n\ndata:", "[][\n]" },
        { "data:test\r\n\r\ndata: test\r\r", "[test][test]" },
        { "\xef\xbb\xbf" "data: bom\n\n", "[bom]" },
        { "event: x\nretry: 10\ndatax: no\ndata: y\n\n\n\n", "[y]" },
        { "data: unfinished", "" },
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        for (size_t piece = 1; piece < 12; piece++) {
            bool ok;
            char *got = events(cases[i].text, piece, &ok);
            CHECK_STR(got, cases[i].want);
            CHECK(ok);
            free(got);
        }
}

static void a_callback_can_stop(void)
{
    bool ok;
    char *got = events("data: a\n\ndata: stop\n\ndata: b\n\n", 100, &ok);
    CHECK_STR(got, "[a][stop]");
    CHECK(!ok);
    free(got);
}

static void endless_lines_are_cut_off(void)
{
    struct sse s = { .line.max = EVENT_MAX };
    struct buf out = { 0 };
    static char block[65536];
    memset(block, 'x', sizeof(block));
    bool ok = true;
    size_t pushed = 0;
    for (; ok && pushed < 4 * (size_t)EVENT_MAX; pushed += sizeof(block))
        ok = sse_feed(&s, block, sizeof(block), collect, &out, NULL) == ERR_OK;
    CHECK(!ok);
    CHECK(pushed <= EVENT_MAX + 2 * sizeof(block));
    sse_release(&s);
    buf_release(&out);
}

int main(void)
{
    RUN(streams_in_every_cutting);
    RUN(a_callback_can_stop);
    RUN(endless_lines_are_cut_off);
    DONE();
}
