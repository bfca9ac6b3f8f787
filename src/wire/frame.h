/* frame -- the one message protocol: an inner HTTP exchange in frames, over a socketpair, NATS or an envelope.
 *
 * Header, little-endian, 28 bytes: u32 length (of the payload), u8 version (1), u8 kind, u16 flags, u64 id,
 * u32 attempt, u64 seq. A payload is at most FRAME_PAYLOAD_MAX bytes; longer ones travel in parts. id: an exchange;
 * frames of an old attempt are dropped by the reader. seq counts frames of one direction of one exchange from 0.
 *
 * kind     payload
 * hello    JSON {"role","version","model":{...},"limits":{...}}: first frame each way; the engine's says it is ready
 * request  JSON head {"method","path","tenant","created","response_id","deadline_ms","priority","weight","allowance"},
 *          then LF, then body bytes; FRAME_MORE set when body bytes follow in further request frames (no head). On a
 *          bus the head has also {"model","seed","body_bytes","body_crc32","jurisdictions","prefix"} and, when another
 *          worker had begun it, "resume":{"tokens":[ids],"cached_tokens":n}
 * head     JSON {"status", "headers": {..}}: start of the response
 * data     response body bytes; with FRAME_TOKENS: u16 count, count x u32 token ids, then the bytes they are
 * usage    JSON counters {"prompt_tokens","cached_tokens","completion_tokens",...}; before first data, and before end
 * end      JSON {"finish": "...", "usage": {...}}: the exchange is over
 * error    JSON OpenAI error object with "status"; the exchange is over. After head was sent: the stream is cut.
 * cancel   empty: the other side no longer wants it
 * credit   u32: how many further data frames may be sent for this id (unlimited until the first credit arrives)
 * receipt  engine: JSON draft of a sealed exchange's receipt, once its content is complete; front: the signed note,
 *          empty when there is none: the engine ends the exchange then
 * stats    JSON of the engine's counters, about four times a second, id 0
 * trust    id 0. front: JSON {"renew": EPOCH} asks for a new key, {"retire": EPOCH} ends an old one, {"policy",
 *          "policy_note", "model", "model_note"} and {"clients"} hold from now on; engine: {"epoch", "ohttp"}, its key
 * adapter  front: JSON {"name"} with a LoRA file's descriptor, or {"name","remove":true}; answered by end or error */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H
#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FRAME_HEADER_BYTES = 28,
    FRAME_PAYLOAD_MAX = 1 << 20,
    FRAME_VERSION = 1,
    FRAME_FDS_MAX = 24, /* descriptors that may ride on one frame (SCM_RIGHTS) */
};

enum frame_kind {
    FRAME_HELLO = 1, FRAME_REQUEST, FRAME_HEAD, FRAME_DATA, FRAME_USAGE, FRAME_END, FRAME_ERROR,
    FRAME_CANCEL, FRAME_CREDIT, FRAME_STATS, FRAME_RECEIPT, FRAME_ADAPTER, FRAME_TRUST,
};
enum { FRAME_MORE = 1, FRAME_TOKENS = 2 }; /* flags */

struct frame {
    enum frame_kind kind;
    uint16_t flags;
    uint64_t id;
    uint32_t attempt;
    uint64_t seq;
    const char *payload; /* borrowed from the reader's buffer until the next frame_next */
    size_t length;
};

/* Appends header and payload to out. length <= FRAME_PAYLOAD_MAX. */
void frame_write(struct buf *out, const struct frame *f);

/* Takes the first whole frame at the start of data[0..n). Returns bytes consumed, 0 when more are needed, or
 * -1 with a sentence when the bytes are no frame (unknown version or kind, too long): close the stream then. */
long frame_parse(const char *data, size_t n, struct frame *out, struct err *e);

/* Blocking helpers over a stream socket for processes that have a thread for it (the engine, tests).
 * frame_recv waits for one frame and reads not a byte beyond it, so descriptors stay with their frame; in holds
 * its bytes until the next call. fds: up to FRAME_FDS_MAX received descriptors go to fds[0..*fd_count) (NULL: any
 * that arrive are closed). ERR_NOT_FOUND: the peer closed between two frames. One thread per direction. */
enum err_code frame_recv(int socket, struct buf *in, struct frame *out, int *fds, int *fd_count, struct err *e);
enum err_code frame_send(int socket, const struct frame *f, const int *fds, int fd_count, struct err *e);
#endif
