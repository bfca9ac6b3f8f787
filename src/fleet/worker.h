/* worker -- the engines of this process, offered on the bus: requests come in as frames, answers go out as frames.
 *
 *   first REQUEST part --all parts, CRC--> host's open --frames--> END or ERROR sent: over
 *        `--a part missing, too much: ERROR       `--CANCEL, its gateway silent for ORPHAN_MS, or no
 *                                                    probe of it (exchange.h) for as long: host's close
 *
 * Data frames leave coalesced (8 ms or 16 tokens, whichever is first; the first one, and what comes after 8 ms of
 * silence, at once), several frames in a message. A worker never sends more data frames than it has credit for: the
 * engine is paused by the credit it is given in turn, so that a slow client is never a slow consumer of the bus. Frames
 * of an old attempt are dropped.
 *
 * Besides, on req (gateway.c and exchange.h ask): a HELLO frame without payload goes back to its reply as it is (round
 * trip). A CREDIT of 0 asks whether the attempt is still here: answered by a CREDIT of 0 whose seq is the count of
 * frames sent so far, itself not counted. CREDIT for an id and attempt that are unknown: ERROR, seq 0, code
 * unknown_exchange; a seq that was left out: ERROR, code frames_lost. Credit counts from 0: no data before the first
 * CREDIT. Answers carry the worker's req subject as their reply, so that a gateway that does not know them can send
 * CANCEL.
 *
 * Owner: the loop's thread. */
#ifndef FLEET_WORKER_H
#define FLEET_WORKER_H
#include "fleet/bus.h"
#include "fleet/heartbeat.h"
#include "fleet/subject.h"
#include "wire/frame.h"

enum { WORKER_TICK_MS = 50 };

struct fleet_worker;
struct fleet_work; /* one exchange */

/* What stands above does for the worker. */
struct fleet_host {
    /* Fills h->models with what is served now (memory as heartbeat_release frees it). */
    void (*describe)(void *arg, struct heartbeat *h);
    /* A request is whole: head (the JSON line of the request frame, parsed, borrowed) and body. true: *call is the
     * host's handle and the work's frames follow by fleet_work_frame. false with status, code and sentence. */
    bool (*open)(void *arg, struct fleet_work *w, const json_t *head, const char *body, size_t n, void **call,
                 int *status, const char **code, struct err *why);
    void (*credit)(void *arg, void *call, uint32_t frames);
    void (*close)(void *arg, void *call); /* cancelled or over: the handle is gone, no frame may follow */
    /* An order came: stop taking requests. */
    void (*drain)(void *arg);
    /* Asked each WORKER_TICK_MS: true when what describe says of engines that stand is no longer what it said the last
     * time, so that a beat goes out at once. NULL: never. */
    bool (*alarm)(void *arg);
};

struct fleet_worker *fleet_worker_new(struct loop *l, struct bus *b, const struct fleet_place *me,
                                      const struct fleet_host *host, void *arg, struct err *e);
void fleet_worker_free(struct fleet_worker *w);  /* open works are told ERROR 503 and closed */
int fleet_worker_busy(const struct fleet_worker *w); /* works under way */
/* Heartbeats say so; new requests are refused with 503, code draining. */
void fleet_worker_drain(struct fleet_worker *w);

/* From the host: a frame of the engine for this work (its id, attempt and seq are the worker's to set). After END or
 * ERROR the work is gone. */
void fleet_work_frame(struct fleet_work *w, const struct frame *f);
void fleet_work_lost(struct fleet_work *w, const char *why); /* the engine died: the gateway resumes it elsewhere */
#endif
