/* post -- frames on their way to the bus. Those that one turn of the loop writes to the same subject go as one message:
 * a request and its credit, the tokens of all streams of a gateway. Each message costs its sender, the server and its
 * reader more than its frames do.
 *
 * What was taken is lost when the connection ends before the turn does, as anything under way is then: exchange.h and
 * worker.h say how that is found out. Belongs to the loop's thread. */
#ifndef FLEET_POST_H
#define FLEET_POST_H
#include "fleet/bus.h"

enum { POST_BYTES_MAX = 64 << 10 }; /* of one message of several; a longer frame goes alone */

struct post;

struct post *post_new(struct loop *l, struct bus *b);
void post_free(struct post *p);   /* what waits goes first */

/* Whole frames. false: the connection is away. */
bool post_frames(struct post *p, const char *subject, const char *reply, const char *frames, size_t n);
#endif
