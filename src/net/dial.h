/* dial -- a TCP connection to a host and port, made on a thread of its own, since looking up a name blocks.
 *
 * Belongs to the loop's thread; fn runs there. Nobody waits for the thread: when cancelled it ends by itself. */
#ifndef NET_DIAL_H
#define NET_DIAL_H
#include "net/loop.h"

struct dial;
/* fd is the callee's, non-blocking; -1: why it did not come to be. The dial is gone when fn is called. */
typedef void (*dial_fn)(void *arg, int fd, const char *why);

/* Each address of the host is tried in turn for timeout_ms. NULL: no thread could be started. */
struct dial *dial_start(struct loop *l, const char *host, const char *port, int timeout_ms, dial_fn fn, void *arg);
void dial_cancel(struct dial *d); /* fn is not called any more; NULL: nothing */
#endif
