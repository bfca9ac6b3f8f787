/* nats_wire -- the text that clients and servers of NATS speak: lines, and payloads after them. It keeps no state.
 *
 *   server:  INFO {json} CRLF | MSG subject sid [reply] bytes CRLF payload CRLF | PING CRLF | PONG CRLF | +OK CRLF
 *            | -ERR 'sentence' CRLF
 *   client:  CONNECT {json} | PUB subject [reply] bytes CRLF payload | SUB subject [queue] sid | UNSUB sid | PING
 *            | PONG
 *
 * What a server says is hostile until nats_wire_parse has taken it. Source: docs.nats.io, "Client Protocol". */
#ifndef FLEET_NATS_WIRE_H
#define FLEET_NATS_WIRE_H
#include "base/buf.h"
#include "base/err.h"

enum { NATS_LINE_MAX = 128 << 10, NATS_PAYLOAD_MAX = 8 << 20 };

enum wire_kind { WIRE_INFO, WIRE_MSG, WIRE_PING, WIRE_PONG, WIRE_OK, WIRE_ERR };

struct wire_said {
    enum wire_kind kind;
    const char *subject, *reply;  /* MSG; reply "" when none */
    uint64_t sid;
    const char *data;             /* MSG: the payload; INFO: its JSON; ERR: its sentence without quotes; [n] */
    size_t n;
};

/* The first thing said in data. Returns how many bytes it is, 0 when more must come, -1 and *e when it is no such text.
 * Strings of *out are in data, which is written to (ends of words). */
long nats_wire_parse(char *data, size_t n, struct wire_said *out, struct err *e);

/* reply NULL: none. The caller has checked the words (bus.c). */
void nats_wire_pub(struct buf *out, const char *subject, const char *reply, const void *data, size_t n);
void nats_wire_sub(struct buf *out, const char *subject, const char *queue, uint64_t sid);
void nats_wire_unsub(struct buf *out, uint64_t sid);
#endif
