/* link -- the engine's end of the socketpair: a reader and a writer thread round two bounded queues.
 *
 * The reader puts request parts together, turns each request into a job (tokens counted, template rendered: the
 * slow part of a request, kept off the step thread) and hands it to the step thread's inbox. The writer sends
 * what the step thread hands it. A request that is no job is answered from the reader directly.
 *
 * Threads: engine_link_receive is the step thread's; engine_link_send may be called by any. */
#ifndef ENGINE_LINK_H
#define ENGINE_LINK_H
#include "api/api.h"
#include "engine/sealed.h"
#include "wire/frame.h"

enum { LINK_REQUESTS_MAX = 4096, LINK_INBOX_MAX = 8192, LINK_OUTBOX_MAX = 65536 };

enum message_kind { MESSAGE_JOB, MESSAGE_CANCEL, MESSAGE_CREDIT, MESSAGE_RECEIPT, MESSAGE_CLOSED };

/* What an engine that died, or is drained, had drawn of a request with one choice: the answer is made again from its
 * first byte, in few steps, since these are guesses that turn out right (draft.h). */
struct resume {
    int32_t *tokens;       /* [count], owned */
    int count;
    int cached_tokens;     /* what the first engine found in its prefix cache: the answer may say so; -1: none told */
};

struct message {
    enum message_kind kind;
    uint64_t id;
    uint32_t attempt;
    struct api_job *job;   /* MESSAGE_JOB: taken over by the receiver; NULL: `sealed` is answered with `error` */
    struct sealed *sealed; /* MESSAGE_JOB: it came sealed; taken over too */
    struct api_error error;
    struct buf note;       /* MESSAGE_RECEIPT */
    uint64_t space;        /* prefix name space of the tenant */
    int priority, weight;  /* weight: the tenant's; 0: not stated */
    int64_t deadline_ms;   /* from its arrival here; 0: none */
    struct resume resume;  /* of a request another engine had begun */
    bool tell;             /* its tokens are wanted as they are drawn, bytes or not */
    uint32_t credit;       /* MESSAGE_CREDIT */
    int64_t received_ns;
};

struct link;

struct runtime;
struct link_options {
    int socket;
    size_t body_max;               /* a longer body is answered 413 */
    const struct api_model *model; /* borrowed */
    uint64_t salt;                 /* of the prefix name spaces; 0: a random one */
    struct vault *vault;           /* borrowed; NULL: no sealed requests */
    struct api_store *store;       /* borrowed: the conversations that may go on */
    struct runtime *runtime;       /* borrowed: adapters come to it and leave */
};
struct link *engine_link_start(const struct link_options *o);
void engine_link_stop(struct link *l); /* after MESSAGE_CLOSED, or to end: closes the queues and joins */

void engine_message_free(struct message *m); /* and what it still owns */
/* The next message (engine_message_free it), or NULL after wait_ms (0: at once). */
struct message *engine_link_receive(struct link *l, int64_t wait_ms);
/* Copies the payload. */
void engine_link_send(struct link *l, const struct frame *f);
/* An OpenAI error object that ends exchange `id`. */
void engine_link_send_error(struct link *l, uint64_t id, uint32_t attempt, const struct api_error *e);
#endif
