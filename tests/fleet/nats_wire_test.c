/* nats_wire_test -- the protocol's own examples (docs.nats.io, "Client Protocol"), cut anywhere; what is none of it. */
#include "../test.h"
#include "base/mem.h"
#include "fleet/nats_wire.h"

#include <string.h>

static char text[4096];

static long parse(const char *s, size_t n, struct wire_said *out, struct err *e)
{
    memset(text, 'Z', sizeof text);
    memcpy(text, s, n);
    return nats_wire_parse(text, n, out, e);
}

static void test_examples(void)
{
    static const struct {
        const char *said;
        enum wire_kind kind;
        const char *subject, *reply;
        uint64_t sid;
        const char *data;
    } examples[] = {
        { "INFO {\"server_id\":\"Zk0GQ3JBSrg3oyxCRRlE09\",\"max_payload\":1048576}\r\n", WIRE_INFO, "", "", 0,
          "{\"server_id\":\"Zk0GQ3JBSrg3oyxCRRlE09\",\"max_payload\":1048576}" },
        { "MSG FOO.BAR 9 11\r\nHello World\r\n", WIRE_MSG, "FOO.BAR", "", 9, "Hello World" },
        { "MSG FOO.BAR 9 GREETING.34 11\r\nHello World\r\n", WIRE_MSG, "FOO.BAR", "GREETING.34", 9, "Hello World" },
        { "MSG  FOO.BAR\t9  0 \r\n\r\n", WIRE_MSG, "FOO.BAR", "", 9, "" },
        { "MSG a 1 4\r\n\r\n\r\n\r\n", WIRE_MSG, "a", "", 1, "\r\n\r\n" },
        { "PING\r\n", WIRE_PING, "", "", 0, "" },
        { "PONG\r\n", WIRE_PONG, "", "", 0, "" },
        { "+OK\r\n", WIRE_OK, "", "", 0, "" },
        { "-ERR 'Unknown Protocol Operation'\r\n", WIRE_ERR, "", "", 0, "Unknown Protocol Operation" },
    };
    for (size_t i = 0; i < MEM_COUNT(examples); i++) {
        struct wire_said said;
        struct err e = { 0 };
        size_t n = strlen(examples[i].said);
        for (size_t cut = 0; cut < n; cut++)
            CHECK_INT(parse(examples[i].said, cut, &said, &e), 0);
        CHECK_INT(parse(examples[i].said, n, &said, &e), (long)n);
        CHECK_INT(said.kind, examples[i].kind);
        CHECK_STR(said.subject, examples[i].subject);
        CHECK_STR(said.reply, examples[i].reply);
        CHECK_INT((int64_t)said.sid, (int64_t)examples[i].sid);
        CHECK(said.n == strlen(examples[i].data) && !memcmp(said.data, examples[i].data, said.n));
    }
}

static void test_malformed(void)
{
    static const char *const wrong[] = {
        "PING\n", "HELLO\r\n", "MSG a 1\r\n", "MSG a x 1\r\nb\r\n", "MSG a 1 -1\r\n", "MSG a 1 r s 1\r\nb\r\n",
        "MSG a 1 2\r\nabcd\r\n", "MSG a 1 99999999999999999999\r\n", "MSG a 1 8388609\r\n", "INFO\r\n", "\r\n",
    };
    for (size_t i = 0; i < MEM_COUNT(wrong); i++) {
        struct wire_said said;
        struct err e = { 0 };
        CHECK_INT(parse(wrong[i], strlen(wrong[i]), &said, &e), -1);
        CHECK(e.code == ERR_CORRUPT && strstr(e.text, "does not speak NATS"));
    }
    char *line = mem_new(1, NATS_LINE_MAX);
    struct wire_said said;
    struct err e = { 0 };
    memset(line, 'x', NATS_LINE_MAX);
    CHECK_INT(nats_wire_parse(line, NATS_LINE_MAX - 1, &said, &e), 0);
    CHECK_INT(nats_wire_parse(line, NATS_LINE_MAX, &said, &e), -1);
    mem_free(line);
}

static void test_written(void)
{
    struct buf b = { 0 };
    nats_wire_sub(&b, "FOO", NULL, 1);
    nats_wire_sub(&b, "BAR", "G1", 44);
    nats_wire_unsub(&b, 1);
    nats_wire_pub(&b, "FOO", NULL, "Hello NATS!", 11);
    nats_wire_pub(&b, "FRONT.DOOR", "JOKE.22", "Knock Knock", 11);
    nats_wire_pub(&b, "NOTIFY", NULL, NULL, 0);
    CHECK_STR(buf_str(&b), "SUB FOO 1\r\nSUB BAR G1 44\r\nUNSUB 1\r\nPUB FOO 11\r\nHello NATS!\r\n"
                           "PUB FRONT.DOOR JOKE.22 11\r\nKnock Knock\r\nPUB NOTIFY 0\r\n\r\n");
    buf_release(&b);
}

int main(void)
{
    RUN(test_examples);
    RUN(test_malformed);
    RUN(test_written);
    DONE();
}
