/* recent -- the requests now running and those that lately ended, for people to look at: names and figures, no texts.
 *
 * A fixed number of lines, in memory, gone with the process; a running request keeps its line. The ledger is the book,
 * this is the window. Owner: the loop's thread. */
#ifndef FRONT_RECENT_H
#define FRONT_RECENT_H
#include "base/buf.h"
#include "base/json.h"

enum { RECENT_LINES = 256 };

struct recents;
struct recent_line;

struct recents *recents_new(void);
void recents_free(struct recents *r);

/* NULL when every line belongs to a running request: then it is not shown. path is borrowed for good. */
struct recent_line *recent_open(struct recents *r, const char *id, const char *path, const char *model);
/* The rest take NULL for a line and do nothing. */
void recent_tenant(struct recent_line *l, const char *name);
/* A usage or end frame of the engine: what it says of tokens and times is taken over. */
void recent_figures(struct recent_line *l, const json_t *frame);
void recent_claim(struct recent_line *l, int64_t priority, int64_t deadline_ms); /* its class, its deadline or 0 */
void recent_close(struct recent_line *l, int status);

/* {"requests":[...]}, running ones first, then the last to end first; of one tenant, or of all (NULL). Appended. */
void recents_json(const struct recents *r, const char *tenant, struct buf *out);
#endif
