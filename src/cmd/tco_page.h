/* tco_page -- the console's question about cost, answered by the same arithmetic as `tokenworks tco`. */
#ifndef CMD_TCO_PAGE_H
#define CMD_TCO_PAGE_H
#include "base/json.h"

/* Fields as the command's options, with _ for -: {"hardware": "h200x8", "utilisation": 0.4, ...}. Answers
 * {"result", "catalogue"}: a new reference, or NULL and what to do. */
json_t *tco_page(const json_t *question, struct err *e);
#endif
