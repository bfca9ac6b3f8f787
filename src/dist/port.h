/* port -- between a computing process (engine or stage) and its carrier: a block of shared memory for the parcel, and a
 * socket on which each says in a few bytes whose turn it is. When one of them dies, the other reads the end of it.
 *
 * A turn is a note: kind and length, then at most NOTE_BYTES_MAX bytes; descriptors may ride on it. */
#ifndef DIST_PORT_H
#define DIST_PORT_H
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum note_kind {
    NOTE_SETUP = 1, /* struct dist_setup; to a stage with the model's descriptor */
    NOTE_OPENING,   /* struct dist_opening, with the block's descriptor */
    NOTE_REPORT,    /* struct dist_report: ready or failed */
    NOTE_STEP,      /* the block holds a step: it is the other's turn */
    NOTE_DONE,      /* and this one's again */
};
enum { NOTE_BYTES_MAX = 4096 };

/* fd: one that rides along, -1: none; it stays the caller's. ERR_NOT_FOUND: the other side is gone. */
enum err_code port_send(int socket, enum note_kind kind, const void *data, size_t n, int fd, struct err *e);
/* Waits for a note of that kind with exactly n bytes; any other is ERR_CORRUPT. fd: NULL when none is expected; else
 * one must come. ERR_NOT_FOUND: the other side closed. */
enum err_code port_receive(int socket, enum note_kind kind, void *data, size_t n, int *fd, struct err *e);

/* Whether something came unasked, or the other side is gone; never waits. */
bool port_stirs(int socket);

/* Memory to share: its descriptor; sized later, while a sandbox may stand in the way of making one. */
enum err_code port_block_new(int *fd, struct err *e);
enum err_code port_block_size(int fd, uint64_t bytes, struct err *e); /* for good: nobody can take memory away again */
enum err_code port_block_map(int fd, uint64_t bytes, void **out, struct err *e); /* ERR_CORRUPT: it is not that large */
void port_block_unmap(void *block, uint64_t bytes);
#endif
