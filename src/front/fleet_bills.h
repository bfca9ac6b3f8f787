/* fleet_bills -- this gateway's rows on their way to the fleet's one book (fleet/rows.h, `tokenworks collect`).
 *
 * Rows are read from the ledger's file by a thread of their own, with a connection of their own, after they were
 * committed: nothing here holds up a request, and what was billed while the bus was away is sent when it is back. A
 * mark beyond the ledger's last row is another ledger's (one was put back from a copy): all rows are sent again then,
 * since the book knows those it has. */
#ifndef FRONT_FLEET_BILLS_H
#define FRONT_FLEET_BILLS_H
#include "base/json.h"
#include "fleet/rows.h"
#include "fleet/subject.h"

struct fleet_bills;
/* dir: the ledger's folder; the mark of what was sent is kept there. */
enum err_code fleet_bills_open(const struct bus_options *bus, const struct fleet_place *me, const char *dir,
                               struct fleet_bills **out, struct err *e);
void fleet_bills_close(struct fleet_bills *b);
json_t *fleet_bills_state(struct fleet_bills *b); /* {"sent","again","failed","waiting","reached"}: a new reference */
#endif
