/* notify -- tells the service manager how it stands: sd_notify's protocol, a datagram of NAME=VALUE lines to the socket
 * that $NOTIFY_SOCKET names. Without that variable nothing is sent. Owner: the loop's thread. */
#ifndef FRONT_NOTIFY_H
#define FRONT_NOTIFY_H

struct notify;
struct notify *notify_open(void);       /* takes the variable out of the environment: engines must not speak for us */
void notify_close(struct notify *n);
void notify_ready(struct notify *n);    /* READY=1, once */
void notify_status(struct notify *n, const char *text);
void notify_stopping(struct notify *n);
void notify_alive(struct notify *n);    /* WATCHDOG=1, as often as half of $WATCHDOG_USEC; else nothing */
#endif
