/* rows -- what gateways bill reaches the home site: each row at least once on the way, exactly once in its book.
 *
 *   gateway: rows after the mark --publish--> stream TW_ROWS --durable pull consumer--> home: take(), on disk
 *                  ^--- mark file <-- acknowledged --'   ^--------- acknowledged ---------'
 *
 * B1  The mark moves on when the server has acknowledged, and is on disk before it counts: after a crash the last
 *     rows are published again.
 * B2  A row's id is its Nats-Msg-Id: the stream drops what it was told twice within its window, and take() must drop
 *     the rest (the ledger's L1: one row for a request id).
 * B3  A row is acknowledged at home after take() said that it is on disk.
 *
 * Both sides have a thread of their own, on which the callbacks run. Needs JetStream in the account. */
#ifndef FLEET_ROWS_H
#define FLEET_ROWS_H
#include "base/buf.h"
#include "fleet/bus.h"

#include <stdint.h>

enum { ROWS_ID_MAX = 120, ROWS_BYTES_MAX = 64 << 10, ROWS_BATCH = 64 };

struct rows_row {
    uint64_t at;                  /* its place in the gateway's own order; grows */
    char id[ROWS_ID_MAX + 1];     /* unique for ever, in the fleet */
    struct buf *data;             /* appended to by next(): the row as JSON */
};

struct rows_stats {
    int64_t done, again, failed;  /* rows; handled again (sent twice, or refused by take); attempts that failed */
    bool reached;                 /* the stream answers */
};

/* ---- gateway */

struct rows_out;
/* The first row after `after`: true and *out filled; false: there is none now. */
typedef bool (*rows_next_fn)(void *arg, uint64_t after, struct rows_row *out);
/* subject: where to, "tw.v1.<jurisdiction>.<site>.rows". mark_file: where the mark is kept. */
struct rows_out *rows_out_open(const struct bus_options *bus, const char *subject, const char *mark_file,
                               rows_next_fn next, void *arg, struct err *e);
void rows_out_wake(struct rows_out *r); /* there may be new rows; any thread. They are looked for each second anyway */
void rows_out_close(struct rows_out *r); /* publishes what there is: some batches at most, if the stream answers */
struct rows_stats rows_out_stats(struct rows_out *r);

/* ---- home */

struct rows_in;
/* true: it is on disk, now or from before. false: not now; it comes again. */
typedef bool (*rows_take_fn)(void *arg, const char *id, const char *data, size_t n);
struct rows_in_options {
    const struct bus_options *bus;
    const char *subjects;         /* of the stream: "tw.v1.*.*.rows" */
    int replicas;                 /* of the stream, when it is made; 0: 1 */
};
struct rows_in *rows_in_open(const struct rows_in_options *o, rows_take_fn take, void *arg, struct err *e);
void rows_in_close(struct rows_in *r);
struct rows_stats rows_in_stats(struct rows_in *r);
#endif
