/* provider -- an outside service that speaks OpenAI's API, offered on the bus as one more worker: with a jurisdiction,
 * prices, and promises that are held against what was got.
 *
 * It is a fleet_host whose engines are somebody else's: a request's body goes out with the provider's name of the model
 * and its key, the answer comes back as frames. It cannot be resumed (nobody knows its arithmetic), so heartbeats name
 * no numerics id; they say "outside", and gateways use it only where that is allowed (gateway.h).
 *
 * What was got since the start goes with the facts of each model (and from there to `tokenworks fleet status`):
 *   {"provider": {"promised": {"availability", "ttft_ms", "tokens_per_s"},
 *                 "got": {"requests", "failed", "availability", "ttft_ms_p50", "ttft_ms_p99",
 *                         "tokens_per_s_p50", "prompt_tokens", "cached_tokens", "completion_tokens",
 *                         "cost", "billed"}}}
 * over the last PROVIDER_SAMPLES answers where it is a percentile. cost: tokens times the prices agreed; billed: what
 * answers stated as `usage.cost`, where they did. A request fails when no whole answer came or its status was
 * 5xx or 429; what the provider refuses as wrong (4xx) is the client's.
 *
 * Owner: the loop's thread. */
#ifndef FLEET_PROVIDER_H
#define FLEET_PROVIDER_H
#include "fleet/worker.h"

enum { PROVIDER_MODELS_MAX = 32, PROVIDER_SAMPLES = 1024, PROVIDER_ANSWER_MAX = 32 << 20 };

struct provider_model {
    const char *id, *upstream;           /* ours, and theirs */
    int64_t ctx;
    int64_t prompt, cached, output;      /* micro-units of currency for a million tokens */
};

struct provider_options {                /* strings are borrowed for its life */
    const char *url;                     /* up to and with /v1 */
    const char *key;                     /* NULL: none is sent */
    const char *ca_file;                 /* NULL: the system's */
    struct provider_model models[PROVIDER_MODELS_MAX];
    int model_count;
    int64_t at_once;                     /* more requests than that are refused with 503 */
    int64_t timeout_ms;                  /* of a whole answer */
    double availability, ttft_ms, tokens_per_s; /* promised; 0: nothing was */
};

struct provider;
struct provider *provider_new(struct loop *l, const struct provider_options *o, struct err *e);
void provider_free(struct provider *p);  /* after its worker */
extern const struct fleet_host provider_host; /* with the struct provider as arg */
bool provider_draining(const struct provider *p);
/* What describe() says of model i: for tests and metrics. A new reference. */
json_t *provider_facts(const struct provider *p, int i);
#endif
