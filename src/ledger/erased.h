/* erased -- what a ledger must remember of rows that are gone, so that deleting them loses and doubles no bill.
 *
 * E1  A row's number is never given twice: a gateway sends the rows after its mark (carry.h), and a number below it
 *     would never be sent.
 * E2  Rows a gateway has not sent yet are not deleted: the home site would never hear of them.
 * E3  At home, rows from before a tenant's erasure, or of days that were purged, are not taken again: their request ids
 *     are forgotten, so they would count twice and bring back what was erased.
 *
 * Of an erased name a hash stays, salted with random bytes of this file. For admin.c, store.c and carry.c. */
#ifndef LEDGER_ERASED_H
#define LEDGER_ERASED_H
#include "ledger/carry.h"
#include "ledger/store.h"

/* SQL: the number the next row gets. */
#define ERASED_NEXT_SQL                                                                                            \
    "1 + max(coalesce((SELECT max(id) FROM usage), 0),"                                                            \
    " coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name = 'usage_last'), 0))"

/* The highest number a row ever had. */
enum err_code erased_last(struct store *s, int64_t *last, struct err *e);
/* Up to which number rows were sent; INT64_MAX when they go nowhere. A mark that cannot be read: none were. */
int64_t erased_sent(const struct store *s);
/* Inside the transaction that deletes rows, before it does. */
enum err_code erased_keep_last(struct store *s, struct err *e);
/* Inside the transaction that erases a tenant, before its name is wiped. ERR_BUSY: rows of it were not sent yet. */
enum err_code erased_keep_tenant(struct store *s, int64_t id, int64_t now_ms, struct err *e);
/* ERR_INVALID: a row of this tenant, settled then, must not come (back) into this ledger. */
enum err_code erased_check(struct store *s, const char *tenant, int64_t settled_ms, struct err *e);
#endif
