/* http_parse_test -- what RFC 9112 and 9110 allow is read, and what they let a server refuse is refused: the
 * statuses are theirs. The smuggling cases are the classes of Kettle, "HTTP Desync Attacks" (2019): CL.CL, CL.TE,
 * TE.CL, TE.TE. */
#include "../../fuzz/http.c"
#include "../fuzz.h"
#include "../test.h"

static struct http_head head;
static struct err error;

/* -1: refused as no head; 0 parsed; else the status. */
static int parse(const char *text, size_t n)
{
    size_t scanned = 0;
    error.text[0] = '\0';
    long length = http_head_find(text, n, &scanned, &error);
    if (length < 0)
        return 400;
    if (length == 0)
        return -1;
    return http_head_parse(text, (size_t)length, &head, &error);
}
#define PARSE(text) parse(text, sizeof(text) - 1)
#define BEFORE "POST /v1/x HTTP/1.1\r\nHost: h\r\n"

static void slice_is(struct http_slice s, const char *want)
{
    char got[200];
    snprintf(got, sizeof got, "%.*s", (int)s.n, s.p);
    CHECK_STR(got, want);
}

static void a_request(void)
{
    CHECK_INT(PARSE("POST /v1/chat?x=1&y HTTP/1.1\r\nHost: a.example:8080\r\nX-Thing: \t two words \r\n"
                    "content-length: 12\r\nexpect: 100-Continue\r\n\r\nhello"), 0);
    slice_is(head.method, "POST");
    slice_is(head.path, "/v1/chat");
    slice_is(head.query, "x=1&y");
    slice_is(head.host, "a.example:8080");
    slice_is(http_head_field(&head, "x-thing")->value, "two words");
    CHECK_INT(head.content_length, 12);
    CHECK(head.keep_alive && head.expect_continue && !head.chunked);
    CHECK(!http_head_field(&head, "absent"));
}

static void connection_and_version(void)
{
    CHECK_INT(PARSE("GET / HTTP/1.0\r\n\r\n"), 0);
    CHECK(!head.keep_alive && head.content_length == -1);
    CHECK_INT(PARSE("GET / HTTP/1.1\r\nHost: x\r\nConnection: Foo , Close\r\n\r\n"), 0);
    CHECK(!head.keep_alive);
    CHECK_INT(PARSE("GET http://other:1/p?q HTTP/1.1\r\nHost: x\r\n\r\n"), 0);
    slice_is(head.host, "other:1");
    slice_is(head.path, "/p");
    CHECK_INT(PARSE("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"), 0);
    CHECK_INT(PARSE("GET / HTTP/2.0\r\nHost: x\r\n\r\n"), 505);
    CHECK_INT(PARSE("PRI * HTTP/2.0\r\n\r\n"), 505);
    CHECK_INT(PARSE(BEFORE "Expect: cookies\r\n\r\n"), 417);
}

static void malformed(void)
{
    CHECK_INT(PARSE("GET / HTTP/1.1\nHost: x\n\n"), 400);
    CHECK_INT(PARSE("GET / HTTP/1.1\r\nHost: x\n\r\n"), 400);
    CHECK_INT(PARSE("GET / HTTP/1.1\r\nHost: x\r\rA: b\r\n\r\n"), 400);
    CHECK_INT(PARSE("GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n"), 400);
    CHECK_INT(PARSE("GET / HTTP/1.1\r\nHost : x\r\n\r\n"), 400);
    CHECK_INT(PARSE("GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n"), 400);
    CHECK_INT(PARSE("GET / HTTP/1.1\r\nHost: x\r\nnocolon\r\n\r\n"), 400);
    CHECK_INT(PARSE("GET / HTTP/1.1\r\nHost: x\r\n: empty\r\n\r\n"), 400);
    CHECK_INT(PARSE("GET / HTTP/1.1\r\n\r\n"), 400);
    CHECK_INT(PARSE("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"), 400);
    CHECK_INT(PARSE("GET relative HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
    CHECK_INT(PARSE("GET  / HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
    CHECK_INT(PARSE("GET / HTTP/1.1 \r\nHost: x\r\n\r\n"), 400);
    CHECK_INT(PARSE("GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
    CHECK_INT(PARSE("GE(T / HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
    CHECK_INT(PARSE("GET /\r\n\r\n"), 400);
    CHECK_INT(PARSE("\r\n\r\n"), 400);
    CHECK_INT(PARSE("GET http:/// HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
}

static void smuggling(void)
{
    CHECK_INT(PARSE(BEFORE "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"), 400);
    CHECK_INT(PARSE(BEFORE "Content-Length: 5, 5\r\n\r\n"), 400);
    CHECK_INT(PARSE(BEFORE "Content-Length: +5\r\n\r\n"), 400);
    CHECK_INT(PARSE(BEFORE "Content-Length: -1\r\n\r\n"), 400);
    CHECK_INT(PARSE(BEFORE "Content-Length: 0x5\r\n\r\n"), 400);
    CHECK_INT(PARSE(BEFORE "Content-Length:\r\n\r\n"), 400);
    CHECK_INT(PARSE(BEFORE "Content-Length: 99999999999999999999\r\n\r\n"), 413);
    CHECK_INT(PARSE(BEFORE "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
    CHECK_INT(PARSE(BEFORE "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"), 400);
    CHECK_INT(PARSE(BEFORE "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n"), 400);
    CHECK_INT(PARSE(BEFORE "Transfer-Encoding: xchunked\r\n\r\n"), 501);
    CHECK_INT(PARSE(BEFORE "Transfer-Encoding: chunked, gzip\r\n\r\n"), 501);
    CHECK_INT(PARSE(BEFORE "Transfer-Encoding : chunked\r\n\r\n"), 400);
    CHECK_INT(PARSE(BEFORE "Transfer-Encoding:\x0b" "chunked\r\n\r\n"), 400);
    CHECK_INT(PARSE("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), 400);
}

static void limits(void)
{
    struct buf b = { 0 };
    buf_puts(&b, "GET / HTTP/1.1\r\nHost: x\r\n");
    for (int i = 1; i < HTTP_FIELDS_MAX; i++)
        buf_printf(&b, "X-%d: y\r\n", i);
    size_t full = b.len;
    buf_puts(&b, "\r\n");
    CHECK_INT(parse(b.data, b.len), 0);
    b.len = full;
    buf_puts(&b, "One: more\r\n\r\n");
    CHECK_INT(parse(b.data, b.len), 431);
    buf_release(&b);
}

static void every_prefix_wants_more(void)
{
    static const char text[] = BEFORE "A: b\r\n\r\n";
    for (size_t n = 0; n < sizeof text - 1; n++)
        CHECK_INT(parse(text, n), -1);
    size_t scanned = 0; /* fed byte by byte, resuming where it stopped */
    long found = 0;
    for (size_t n = 1; n < sizeof text && !found; n++)
        found = http_head_find(text, n, &scanned, NULL);
    CHECK_INT(found, sizeof text - 1);
}

static long chunks(const char *text, struct buf *out)
{
    struct http_chunks c = { 0 };
    long n = http_chunks_feed(&c, text, strlen(text), out, &error);
    return n < 0 ? n : http_chunks_done(&c) ? n : 0;
}

static void chunked_bodies(void)
{
    struct buf b = { .max = 20 };
    CHECK_INT(chunks("4\r\nWiki\r\n6;a=\"b\"\r\npedia \r\n0\r\nTrailer: x\r\n\r\nnext", &b), 43); /* not "next" */
    CHECK_STR(buf_str(&b), "Wikipedia ");
    buf_clear(&b);
    CHECK_INT(chunks("0\r\n\r\n", &b), 5);
    CHECK_INT(chunks("A\r\n0123456789\r\n", &b), 0);
    static const char *const bad[] = { "\r\n", "g\r\n", " 4\r\nWiki\r\n", "4 \r\nWiki\r\n", "4\nWiki\r\n", "4\r\nWikiX\r\n",
                                       "4\r\nWiki\n", "-1\r\n", "0x4\r\n", "123456789\r\n", "0\r\n\n", "0\r\nA\n",
                                       "4;a\nWiki\r\n", ";a\r\n" };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        buf_clear(&b);
        if (chunks(bad[i], &b) != -1)
            printf("# chunked body %zu\n", i);
        CHECK_INT(chunks(bad[i], &b), -1);
    }
    buf_clear(&b);
    CHECK_INT(chunks("15\r\n012345678901234567890\r\n0\r\n\r\n", &b), -1);
    CHECK_INT(error.code, ERR_LIMIT);
    buf_release(&b);
}

static void no_response_splitting(void)
{
    struct buf b = { 0 };
    CHECK(http_field_write(&b, "Retry-After", "1"));
    CHECK_STR(buf_str(&b), "Retry-After: 1\r\n");
    CHECK(!http_field_write(&b, "X", "a\r\nSet-Cookie: b"));
    CHECK(!http_field_write(&b, "X", "a\nb"));
    CHECK(!http_field_write(&b, "X\r\nY", "a"));
    CHECK(!http_field_write(&b, "", "a"));
    CHECK_STR(buf_str(&b), "Retry-After: 1\r\n");
    buf_release(&b);
}

static void fuzzed(void)
{
    CHECK(fuzz_run("fuzz/corpus/http", 20000, LLVMFuzzerTestOneInput) > 20000);
}

int main(void)
{
    RUN(a_request);
    RUN(connection_and_version);
    RUN(malformed);
    RUN(smuggling);
    RUN(limits);
    RUN(every_prefix_wants_more);
    RUN(chunked_bodies);
    RUN(no_response_splitting);
    RUN(fuzzed);
    DONE();
}
