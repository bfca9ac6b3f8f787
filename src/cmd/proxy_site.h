/* proxy_site -- the proxy's dealings with the site: fetch and check its offer, exchange one request, sealed or only
 * signed, keep the receipt. Thread-safe: what the client knows is behind one lock; exchanges run side by side. */
#ifndef CMD_PROXY_SITE_H
#define CMD_PROXY_SITE_H
#include "base/opt.h"
#include "trust/client.h"

#include <pthread.h>

enum { PROXY_BODY_MAX = 32 << 20, PROXY_REPLY_MAX = 64 << 20 };

struct proxy_site {
    const char *url, *api_key, *model, *data_class, *dir; /* borrowed; dir: state */
    struct key_secret key;                                /* the tenant's */
    bool has_key, open; /* open: requests are signed, and not sealed */
    pthread_mutex_t lock;
    struct client client;
};

enum err_code proxy_site_open(struct proxy_site *p, struct span trust_policy, struct err *e);
void proxy_site_close(struct proxy_site *p);

/* Gets the inner response: head once, then content. Called on the asking thread. */
struct proxy_sink {
    void *arg;
    void (*head)(void *arg, int status, struct span content_type);
    bool (*data)(void *arg, struct span content); /* false: the asker is gone */
};
/* Nothing is sent unless the site's offer is accepted. ERR_DENIED after head: the response was cut or its receipt is
 * wrong, which the sentence says. */
enum err_code proxy_site_ask(struct proxy_site *p, const char *method, const char *path, struct span body,
                             const struct proxy_sink *sink, struct err *e);
/* A thread's main; site is a struct proxy_site that outlives it. */
void *proxy_proofs_main(void *site);
#endif
