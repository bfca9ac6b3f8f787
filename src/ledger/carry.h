/* carry -- rows carried from one ledger into another: a gateway's bills reach the home site's book.
 *
 *   {"v":1, "request_id", "tenant", "team", "key", "model", "jurisdiction", "finish", "started_ms", "settled_ms",
 *    "prompt", "cached", "output", "queue_us", "prefill_us", "decode_us", "kv_page_ms", "energy_mj",
 *    "energy_modelled", "cost_micros", "receipt":"<64 hex>"}          team, key "" and receipt absent: none
 *
 * Tenants and teams are carried by name and made where they are missing, so that no bill is lost; a key only where one
 * of that name is known. Cost is what the gateway found, never priced again. A request id that has a row already
 * changes nothing (ledger.h, L1), so a row may be carried twice.
 *
 * A struct carry has its own connection to the file and belongs to one thread. */
#ifndef LEDGER_CARRY_H
#define LEDGER_CARRY_H
#include "ledger/ledger.h"

/* In a gateway's ledger folder: up to which row its rows were sent; see erased.h. */
#define CARRY_MARK_FILE "fleet-bills.mark"

struct carry;
/* DIR/ledger.db, made when create is set and it is missing. */
enum err_code carry_open(const char *dir, bool create, int64_t now_ms, struct carry **out, struct err *e);
void carry_close(struct carry *c);

/* The first row after number `after`: its number, its request id and JSON. ERR_NOT_FOUND: there is none now. */
enum err_code carry_next(struct carry *c, uint64_t after, uint64_t *at, char id[LEDGER_REQUEST_ID_MAX + 1],
                         struct buf *json, struct err *e);
/* The highest number a row ever had: a mark beyond it is another ledger's. */
enum err_code carry_last(struct carry *c, uint64_t *last, struct err *e);
/* ERR_OK: it is on disk, now (*fresh) or from before. ERR_INVALID: it is no row, whoever sent it, or one
 * that was purged or erased here (erased.h). now_ms: for tenants
 * that are made. */
enum err_code carry_take(struct carry *c, const char *json, size_t n, int64_t now_ms, bool *fresh, struct err *e);
#endif
