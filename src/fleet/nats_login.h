/* nats_login -- who we say we are: the CONNECT line that answers a server's INFO. */
#ifndef FLEET_NATS_LOGIN_H
#define FLEET_NATS_LOGIN_H
#include "base/buf.h"
#include "base/json.h"
#include "fleet/bus.h"

struct nats_place {              /* an address, as the options give it; strings are owned */
    char *host, *port;
    char *user, *password;       /* of the address, before those of the options; or NULL */
};

/* Of "nats://[user:password@]host[:port]", n bytes that nats_options_new found good. */
void nats_place_read(const char *url, size_t n, struct nats_place *out);
void nats_place_release(struct nats_place *p);

/* The line with its CR LF. Credentials are read from their file each time: they may have been renewed. */
enum err_code nats_login(const struct bus_options *o, const struct nats_place *at, const json_t *info, struct buf *out,
                         struct err *e);
#endif
