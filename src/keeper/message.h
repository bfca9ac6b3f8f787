/* message -- one request or answer between a front and its keeper: docs/keeper-protocol.md. */
#ifndef KEEPER_MESSAGE_H
#define KEEPER_MESSAGE_H
#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stdint.h>

enum { KEEPER_PAYLOAD_MAX = 64 * 1024, KEEPER_HEADER_BYTES = 8, KEEPER_PURPOSE_MAX = 256 };

/* Adding one means a row in the table of keeper.c, a function in client.h and a line in the page. */
enum keeper_request {
    KEEPER_HELLO = 1,  /* -> public keys, boot, how the keys are held, the sandbox */
    KEEPER_RECEIPT,    /* a receipt's text -> the signed note, with the keeper's boot, seq and prev */
    KEEPER_CHECKPOINT, /* a growth proof and a checkpoint's text -> the signed note */
    KEEPER_NODE,       /* a node statement's text about this boot -> the signed note */
    KEEPER_CLOSE,      /* -> the signed close note; no receipt after it */
    KEEPER_TAG,        /* "2026-11 tenant" -> 16 bytes */
    KEEPER_STORAGE,    /* a purpose -> 32 bytes: the key for content at rest */
};

struct keeper_message {
    uint8_t kind;   /* request; in an answer the same */
    uint8_t status; /* in an answer an err_code: payload is then the sentence */
    struct buf payload;
};

/* ERR_NOT_FOUND: the other side is gone. */
enum err_code keeper_send(int fd, const struct keeper_message *m, struct err *e);
enum err_code keeper_receive(int fd, struct keeper_message *m, struct err *e);
#endif
