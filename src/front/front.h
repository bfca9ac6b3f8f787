/* front -- the process that talks to clients: sockets, keys, routes, the relay to the engines, figures, the console.
 *
 * Reading order: front.c (life: start, drain, end), routes.c (who may ask what), relay.c and relay_take.c (a request to
 * an engine and its reply back), link.c and spawn.c (the engine process), account.c and repeat.c (who pays), answers.c,
 * admin.c, metrics.c, console.c (what the front answers itself), fleet.c and fleet_host.c (other machines), envelope.c,
 * keys.c, error.c. One thread, one loop; it never reads a message, only envelopes. */
#ifndef FRONT_FRONT_H
#define FRONT_FRONT_H
#include "base/json.h"
#include "front/account.h"
#include "front/fleet.h"
#include "front/spill_file.h"
#include "front/telemetry.h"
#include "net/http_server.h"

enum { FRONT_MODELS_MAX = 256, FRONT_ALIASES_MAX = 8, FRONT_HOSTS_MAX = 32, FRONT_LORA_DIRS_MAX = 32 };

struct front_model {
    const char *id;
    const char *path;
    const json_t *options;  /* hello's model.options; borrowed */
    const char *aliases[FRONT_ALIASES_MAX]; /* borrowed */
    int alias_count;
    bool on_demand;         /* else it is loaded at the start */
    bool pinned;            /* never unloaded */
    int64_t keep_alive_s;   /* unloaded after so long without a request; 0: when its memory is needed */
};

struct front_options {
    struct http_server_options http;
    struct front_model models[FRONT_MODELS_MAX]; /* the first one is `default` */
    int model_count;
    const char *model_folder;       /* every .gguf in it is a model, loaded on demand; NULL: none */
    const json_t *folder_options;   /* hello's options of those */
    const char *lora_dirs[FRONT_LORA_DIRS_MAX]; /* adapters below these may be added while it runs */
    int lora_dir_count;
    int64_t memory_limit;           /* what loaded models may need together, by the memory plan; 0: no limit */
    int64_t load_wait_ms;           /* a request waits so long for its model; 0: not at all */
    const char *const *engine_argv; /* NULL: this program's own `engine` */
    const char *allowed_hosts[FRONT_HOSTS_MAX]; /* beside the listen address */
    int allowed_host_count;
    const char *cors_origin;        /* NULL: no CORS */
    const char *key_file;           /* NULL: none */
    const char *plain_key;          /* NULL: none */
    const char *ledger_dir;         /* where ledger.db is or comes to be */
    enum accounts_mode ledger;
    const char *batches_dir;        /* NULL: no batches */
    struct oidc_options oidc;       /* issuer NULL: none */
    const char *trust_dir;          /* the site's folder; NULL: no evidence is kept */
    const char *trust_site, *trust_jurisdiction; /* trustlog.h; may be NULL */
    bool trust_best_effort, air_gapped;
    int64_t key_epoch_s, key_grace_s; /* a sealed-request key serves so long, and opens requests so much longer */
    struct telemetry_options telemetry;
    struct spill_files spill;
    struct fleet_options fleet;
    bool no_http;                   /* a worker that nobody but the bus talks to */
    bool figures_only;              /* of routes only health, figures and the console: requests come by the bus */
    int64_t drain_ms;
    bool log_requests;
    /* What happened to an engine, for the narration; may be NULL. loading is 0..1. */
    void (*narrate)(void *arg, const char *model_id, double loading, bool ready);
    void *narrate_arg;
    /* POST /tokenworks/tco, answered by what stands above: a new reference, or NULL and *e. NULL: no such route. */
    json_t *(*tco)(const json_t *question, struct err *e);
};

struct front;
struct front *front_new(const struct front_options *o, struct err *e);
int front_port(const struct front *f);
/* Until SIGTERM or SIGINT has been obeyed (ERR_OK), or a model was refused before it ever ran (an error). */
enum err_code front_run(struct front *f, struct err *e);
void front_free(struct front *f);
#endif
