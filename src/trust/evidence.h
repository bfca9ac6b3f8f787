/* evidence -- what a node keeps of its receipts: the notes on disk, then their leaves in the log, in that order.
 *
 *     <dir>/receipts/<boot>.notes      "<length> LF <note>" after "<length> LF <note>" ...
 *
 * I1  A leaf is logged only after its receipt is on disk, synced: no leaf without a receipt to show.
 * I2  After a crash, evidence_recover logs the receipts that were stored but not logged: none is dropped.
 *
 * Owned by one thread, the log's. */
#ifndef TRUST_EVIDENCE_H
#define TRUST_EVIDENCE_H
#include "trust/receipt.h"
#include "trust/tlog.h"

enum { EVIDENCE_BATCH_MAX = 4096, EVIDENCE_INDEX_MAX = 1 << 22 };

struct evidence;

/* Logs what the boot before left unlogged; boot "" or "-" does nothing. *count: its receipts; last: hash of the last
 * one's note (untouched when there is none). For previous-boot and previous-seq of the new node note. */
enum err_code evidence_recover(const char *dir, const char *boot, struct tlog *log, uint64_t *count,
                               uint8_t last[HASH_BYTES], struct err *e);
enum err_code evidence_open(const char *dir, const char *boot, struct tlog *log, struct evidence **out, struct err *e);
void evidence_close(struct evidence *v);

/* Takes a signed receipt in; it counts once evidence_commit has returned. Commits by itself when a batch is full. */
enum err_code evidence_add(struct evidence *v, const char *id, struct span note, struct err *e);
enum err_code evidence_commit(struct evidence *v, struct err *e);
int evidence_waiting(const struct evidence *v);

/* The committed receipt of that id and where its leaf stands. */
enum err_code evidence_get(struct evidence *v, const char *id, struct buf *note, uint64_t *leaf, struct err *e);

/* Takes the next framed note off a receipts file; false at its end or where it was cut. */
bool evidence_next(struct span *file, struct span *note);
#endif
