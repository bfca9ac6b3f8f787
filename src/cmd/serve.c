/* serve -- tokenworks serve: the front and, behind it, an engine process per model. */
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/progress.h"
#include "cmd/cmd.h"
#include "cmd/serve.h"
#include "cmd/serve_config.h"
#include "cmd/serve_fleet.h"
#include "cmd/serve_models.h"
#include "cmd/tco_page.h"
#include "front/front.h"
#include "ledger/ledger.h"
#include "net/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define FIELD(name) OPT_FIELD(struct serve_options, name)
const struct opt serve_rows[] = {
    { "model", 'm', OPT_STRINGS, "FILE|NAME", "a model; again for more, the first is `default`", FIELD(models), 0, 0 },
    { "models", 0, OPT_STRING, "DIR", "every .gguf in it, loaded when a request names it", FIELD(models_dir), 0, 0 },
    { "memory", 0, OPT_SIZE, "SIZE", "what loaded models may need together (see above)", FIELD(memory_limit), 0, 0 },
    { "load-wait-s", 0, OPT_INT, "N", "a request waits so long for its model (300)", FIELD(load_wait_s), 0, 86400 },
    { "config", 0, OPT_STRING, "FILE.yaml", "settings from a file; options given here go first", FIELD(config), 0, 0 },
    { "listen", 'l', OPT_STRING, "ADDR:PORT", "where to listen (127.0.0.1:8080; a worker: nowhere)", FIELD(listen),
      0, 0 },
    { "threads", 't', OPT_INT, "N", "kernel threads (one per processor)", FIELD(threads), 1, 512 },
    { "ctx", 'c', OPT_INT, "N", "positions a sequence may have (the model's limit)", FIELD(ctx), 1, 1 << 24 },
    { "kv-memory", 0, OPT_SIZE, "SIZE", "memory for keys and values (from the memory plan)", FIELD(kv_memory), 0, 0 },
    { "kv-spill", 0, OPT_SIZE, "SIZE", "keep so much of the prefix cache on disk, sealed, over restarts (none)",
      FIELD(kv_spill), 0, 0 },
    { "kv-type", 0, OPT_STRING, "TYPE", "how keys and values are stored: f16, q8_0", FIELD(kv_type), 0, 0 },
    { "batch", 'b', OPT_INT, "N", "tokens in one step at most", FIELD(batch), 1, 1 << 16 },
    { "speculate", 0, OPT_STRING, "MODE", "guess tokens, check them together: auto, off, N (auto)", FIELD(speculate),
      0, 0 },
    { "draft", 0, OPT_STRING, "FILE|NAME", "a small model of the same vocabulary that guesses for --model",
      FIELD(draft),
      0, 0 },
    { "target-itl-ms", 0, OPT_INT, "N", "longest time between tokens while prompts are read (150)", FIELD(itl_ms), 1,
      600000 },
    { "target-ttft-ms", 0, OPT_INT, "N", "time to the first token aimed at (the soonest)", FIELD(ttft_ms), 1, 600000 },
    { "lora", 0, OPT_STRINGS, "NAME=FILE", "a LoRA adapter of the first model (repeatable)", FIELD(lora), 0, 0 },
    { "lora-dir", 0, OPT_STRINGS, "DIR", "adapters below it may be added while it runs (repeatable)", FIELD(lora_dirs),
      0, 0 },
    { "lora-slots", 0, OPT_INT, "N", "room for so many of those at once (4)", FIELD(lora_slots), 1, 16 },
    { "lora-rank", 0, OPT_INT, "N", "and of this rank at most (64)", FIELD(lora_rank), 1, 512 },
    { "ranks", 0, OPT_INT, "N", "cut the model's layers over N machines (docs/split.md)", FIELD(ranks), 1, 64 },
    { "hostfile", 0, OPT_STRING, "FILE", "these machines, as mpirun reads them; this one first (all N here)",
      FIELD(hostfile), 0, 0 },
    { "matryoshka", 0, OPT_FLAG, NULL, "embeddings may be cut to `dimensions`", FIELD(matryoshka), 0, 0 },
    { "isa", 0, OPT_STRING, "NAME", "highest rung of kernels: ref, avx2, avx512, amx", FIELD(isa), 0, 0 },
    { "max-body", 0, OPT_SIZE, "SIZE", "largest request body (32M)", FIELD(max_body), 0, 0 },
    { "connections", 0, OPT_INT, "N", "client connections at once (4096)", FIELD(connections), 1, 60000 },
    { "state", 0, OPT_STRING, "DIR", "state and models ($TOKENWORKS_HOME, ~/.cache/tokenworks)", FIELD(state), 0, 0 },
    { "drain-s", 0, OPT_INT, "N", "seconds running requests have after SIGTERM (30)", FIELD(drain_s), 0, 86400 },
    { "api-key-file", 0, OPT_STRING, "FILE", "a line per key: its SHA-256 in hex, a name", FIELD(api_key_file), 0, 0 },
    { "ledger", 0, OPT_FLAG, NULL, "book every request from the start (else once a key exists)", FIELD(ledger), 0, 0 },
    { "no-ledger", 0, OPT_FLAG, NULL, "no keys, limits or bills of the ledger", FIELD(no_ledger), 0, 0 },
    { "allowed-host", 0, OPT_STRINGS, "NAME", "a further Host to answer to (repeatable)", FIELD(allowed_hosts), 0, 0 },
    { "cors-origin", 0, OPT_STRING, "ORIGIN", "the web origin whose pages may call (none)", FIELD(cors_origin), 0, 0 },
    { "tls-cert", 0, OPT_STRING, "FILE", "PEM certificate and chain: serve HTTPS", FIELD(tls_cert), 0, 0 },
    { "tls-key", 0, OPT_STRING, "FILE", "PEM key of that certificate", FIELD(tls_key), 0, 0 },
    { "tls-client-ca", 0, OPT_STRING, "FILE", "clients need a certificate it signed", FIELD(tls_client_ca), 0, 0 },
    { "log-json", 0, OPT_FLAG, NULL, "log lines as JSON objects", FIELD(log_json), 0, 0 },
    { "log-requests", 0, OPT_FLAG, NULL, "a log line per request; never its content", FIELD(log_requests), 0, 0 },
    { "otlp", 0, OPT_STRING, "URL", "send a span per request to this collector; never its content", FIELD(otlp), 0, 0 },
    { "sandbox", 0, OPT_STRING, "MODE", "how the engine is confined: enforce, best-effort, off", FIELD(sandbox), 0, 0 },
    { "trust", 0, OPT_STRING, "DIR", "keep evidence in this site's folder (STATE/trust once `trust init` made it)",
      FIELD(trust), 0, 0 },
    { "no-trust", 0, OPT_FLAG, NULL, "keep no evidence although there is a site", FIELD(no_trust), 0, 0 },
    { "site", 0, OPT_STRING, "NAME", "what the policy calls this place (the site's own name)", FIELD(site), 0, 0 },
    { "jurisdiction", 0, OPT_STRING, "CC", "the country this is in, where no policy says", FIELD(jurisdiction), 0, 0 },
    { "air-gapped", 0, OPT_FLAG, NULL, "prove that engine and keeper have no way out, or refuse to start",
      FIELD(air_gapped), 0, 0 },
    { "nats", 0, OPT_STRING, "URL", "be part of a fleet: its bus, nats://HOST:PORT or tls://HOST:PORT", FIELD(nats), 0,
      0 },
    { "name", 0, OPT_STRING, "NAME", "what the fleet calls this server (the machine's name)", FIELD(name), 0, 0 },
    { "nats-ca", 0, OPT_STRING, "FILE", "PEM: who signed the bus's certificate", FIELD(nats_ca), 0, 0 },
    { "nats-cert", 0, OPT_STRING, "FILE", "PEM certificate shown to the bus", FIELD(nats_cert), 0, 0 },
    { "nats-key", 0, OPT_STRING, "FILE", "PEM key of that certificate", FIELD(nats_key), 0, 0 },
    { "nats-creds", 0, OPT_STRING, "FILE", "NATS credentials instead", FIELD(nats_creds), 0, 0 },
    { "nats-domain", 0, OPT_STRING, "NAME", "the JetStream domain of common bills and limits: the hub's site name",
      FIELD(nats_domain), 0, 0 },
    { "to-jurisdiction", 0, OPT_STRINGS, "CC", "a gateway's requests may go there too (repeatable)",
      FIELD(to_jurisdictions), 0, 0 },
    { "fleet-secret", 0, OPT_STRING, "FILE", "what all gateways of a fleet know, 16 bytes at least (docs/fleet.md)",
      FIELD(fleet_secret), 0, 0 },
    { "key-epoch", 0, OPT_INT, "SECONDS", "how long a key for sealed requests is offered (43200)",
      FIELD(key_epoch_s), 1, 43200 },
    { "key-grace", 0, OPT_INT, "SECONDS", "how long the key before it still opens requests (600)",
      FIELD(key_grace_s), 1, 3600 },
    { "engine", 0, OPT_STRING, "PROGRAM", "another program as the engine, for tests", FIELD(engine), 0, 0 },
    { 0 },
};

const struct opt_command cmd_serve_spec = {
    "serve", "--model FILE|NAME [--models DIR] [options]", "serve models over HTTP",
    "Speaks the OpenAI API on --listen, with a console at /. An engine process per model does the work; when it\n"
    "dies it is started again. SIGTERM or SIGINT: running requests finish, new ones are refused, then it exits.\n"
    "Models given with --model are loaded at the start, those of --models when a request names one. Under --memory\n"
    "(with --models: four fifths of what is free) the least recently used idle one is unloaded for another.\n"
    "Keys: `tokenworks key add` (noticed within a second; requests are metered from then on), --api-key-file, or one\n"
    "key in $TOKENWORKS_API_KEY. With none of them, every local client may ask. With --nats it is a worker and a\n"
    "gateway of a fleet as well.",
    serve_rows,
};

/* "ADDR:PORT", "[::1]:8080", ":8080" or "ADDR"; the address is copied into out. */
static enum err_code parse_listen(const char *text, char *address, size_t size, int *port, struct err *e)
{
    const char *colon = strrchr(text, ':'), *close = strrchr(text, ']');
    int64_t number = 8080;
    if (colon && close && colon < close)
        colon = NULL;
    if (colon && opt_parse_int(colon + 1, 0, 65535, &number, e))
        return err_prefix(e, "--listen %s", text);
    size_t n = colon ? (size_t)(colon - text) : strlen(text);
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    if (n >= size)
        return err_set(e, ERR_INVALID, "--listen: the address is too long");
    snprintf(address, size, "%.*s", n ? (int)n : 9, n ? text : "127.0.0.1");
    *port = (int)number;
    return ERR_OK;
}

/* ---- narration */

struct narrator {
    struct progress bar;
    bool running;
    char what[300];
};

static void narrate(void *arg, const char *model_id, double loading, bool ready)
{
    struct narrator *n = arg;
    enum { PARTS = 1000 };
    if (!n->running && !ready) {
        snprintf(n->what, sizeof n->what, "loading %s", model_id);
        progress_start(&n->bar, n->what, PARTS);
        n->running = true;
    }
    if (n->running && !ready)
        progress_update(&n->bar, (int64_t)(loading * PARTS));
    if (ready) {
        if (n->running)
            progress_end(&n->bar);
        n->running = false;
        log_line(LOG_INFO, "front", "model ready: %s", model_id);
    }
}

/* ---- the command */

/* The site whose evidence is kept: the one named, or the one in the state folder, or none. */
static char *find_trust(const struct serve_options *o, const char *state)
{
    struct buf dir = { 0 }, root = { 0 };
    if (o->no_trust)
        return NULL;
    if (o->trust)
        return mem_strdup(o->trust);
    buf_printf(&dir, "%s/trust", state);
    buf_printf(&root, "%s/public/root.note", buf_str(&dir));
    bool there = !access(buf_str(&root), R_OK);
    buf_release(&root);
    if (!there)
        buf_release(&dir);
    return there ? buf_take(&dir) : NULL;
}

/* Options first, then the environment's usual names. */
static void read_otel(const struct serve_options *o, struct telemetry_options *t)
{
    const char *off = getenv("OTEL_SDK_DISABLED"), *traces = getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
    *t = (struct telemetry_options){ .endpoint = o->otlp, .service = o->service_name };
    if (!t->endpoint && !(off && !strcasecmp(off, "true")))
        t->endpoint = traces && *traces ? traces : getenv("OTEL_EXPORTER_OTLP_ENDPOINT");
    t->headers = getenv("OTEL_EXPORTER_OTLP_HEADERS");
    if (!t->service)
        t->service = getenv("OTEL_SERVICE_NAME");
}

static enum err_code serve(const struct serve_options *o, struct front_options *f, struct err *e)
{
    struct tls *tls = NULL;
    if (!o->tls_cert != !o->tls_key)
        return err_set(e, ERR_INVALID, "--tls-cert and --tls-key go together");
    if (o->tls_cert) {
        struct tls_options t = { o->tls_cert, o->tls_key, o->tls_client_ca };
        tls = tls_new(&t, e);
        if (!tls)
            return e->code;
        f->http.tls = tls;
    }
    read_otel(o, &f->telemetry);
    struct front *front = front_new(f, e);
    /* They are known now; the engines, started later, must not inherit them. */
    unsetenv("TOKENWORKS_API_KEY");
    unsetenv("OTEL_EXPORTER_OTLP_HEADERS");
    unsetenv("HF_TOKEN");
    enum err_code c = front ? ERR_OK : e->code;
    if (front && f->no_http) {
        c = front_run(front, e);
    } else if (front) {
        bool v6 = strchr(f->http.address, ':') != NULL;
        printf("listening on %s://%s%s%s:%d\n", tls ? "https" : "http", v6 ? "[" : "", f->http.address,
                v6 ? "]" : "", front_port(front));
        fflush(stdout); /* scripts read the port here */
        c = front_run(front, e);
    }
    front_free(front);
    tls_free(tls);
    return c;
}

/* The options, over the configuration file's settings when one is named, over the defaults in *o. */
static enum opt_result read_options(const struct opt_command *spec, int argc, char **argv, struct serve_options *o,
                                    struct yaml_doc *config, int *positional)
{
    struct serve_options first = *o;
    char **copy = mem_dup(argv, (size_t)argc * sizeof *argv); /* opt_parse moves words about */
    enum opt_result r = opt_parse(spec, argc, copy, &first, positional);
    mem_free(copy);
    if (r != OPT_RUN)
        return r;
    struct err e = { 0 };
    if (first.config && serve_config_read(first.config, config, o, &e)) {
        cmd_fail(spec, &e);
        return OPT_WRONG;
    }
    if (first.models.count || first.models_dir)
        o->model_list = NULL; /* models given here stand instead of the file's, not beside them */
    return opt_parse(spec, argc, argv, o, positional);
}

/* Options first, then the file's `book`. */
static enum err_code read_booking(const struct serve_options *o, struct front_options *f, struct err *e)
{
    const char *book = o->book ? o->book : "auto";
    bool always = !strcmp(book, "always"), never = !strcmp(book, "never");
    if (!always && !never && strcmp(book, "auto"))
        return err_set(e, ERR_INVALID, "ledger: book is auto, always or never");
    if (o->ledger && o->no_ledger)
        return err_set(e, ERR_INVALID, "--ledger and --no-ledger: one of them");
    f->ledger = o->no_ledger || (never && !o->ledger) ? ACCOUNTS_OFF :
                o->ledger || always                   ? ACCOUNTS_ON : ACCOUNTS_AUTO;
    return ERR_OK;
}

int serve_main(const struct opt_command *spec, enum serve_as as, int argc, char **argv)
{
    struct serve_options o = { .listen = as == SERVE_WORKER ? NULL : "127.0.0.1:8080", .max_body = 32 << 20,
                               .drain_s = 30, .connections = 4096, .sandbox = "enforce", .load_wait_s = 300,
                               .key_epoch_s = 43200, .key_grace_s = 600 };
    int positional;
    struct yaml_doc config = { 0 };
    enum opt_result r = read_options(spec, argc, argv, &o, &config, &positional);
    if (r != OPT_RUN) {
        yaml_doc_release(&config);
        return r == OPT_HELP_SHOWN ? 0 : 2;
    }
    if (positional) {
        fprintf(stderr, "tokenworks %s: %s: the model is given with --model\n", spec->name, argv[1]);
        return 2;
    }
    log_set(LOG_INFO, o.log_json);
    struct err e = { 0 };
    struct serve_models *models = NULL;
    struct narrator narrator = { .running = false };
    const char *engine[] = { o.engine, "engine", NULL };
    char address[256], place[LEDGER_JURISDICTION_MAX + 1] = "";
    struct front_options f = { .http = http_server_defaults, .load_wait_ms = o.load_wait_s * 1000,
                               .engine_argv = o.engine ? engine : NULL, .cors_origin = o.cors_origin,
                               .key_file = o.api_key_file, .plain_key = getenv("TOKENWORKS_API_KEY"),
                               .drain_ms = o.drain_s * 1000, .log_requests = o.log_requests, .narrate = narrate,
                               .narrate_arg = &narrator, .tco = tco_page };
    for (int i = 0; i < o.allowed_hosts.count; i++)
        f.allowed_hosts[f.allowed_host_count++] = o.allowed_hosts.v[i];
    for (int i = 0; i < o.lora_dirs.count; i++)
        f.lora_dirs[f.lora_dir_count++] = o.lora_dirs.v[i];
    f.http.address = address;
    f.http.body_max = (size_t)o.max_body;
    f.http.connections_max = (int)o.connections;
    char *state = file_state_dir(o.state);
    f.ledger_dir = state;
    f.spill = (struct spill_files){ .state = state, .bytes = o.kv_spill };
    char *trust = find_trust(&o, state);
    f.trust_dir = trust;
    f.trust_site = o.site;
    f.air_gapped = o.air_gapped;
    f.key_epoch_s = o.key_epoch_s;
    f.key_grace_s = o.key_grace_s;
    f.trust_best_effort = strcmp(o.sandbox, "enforce") != 0;
    f.oidc = o.oidc;
    f.batches_dir = o.batches;
    enum err_code c = parse_listen(o.listen ? o.listen : "", address, sizeof address, &f.http.port, &e);
    if (!c && o.jurisdiction && !ledger_place(o.jurisdiction, strlen(o.jurisdiction), place, sizeof place))
        c = err_set(&e, ERR_INVALID, "--jurisdiction %.40s: give a country's two letters, like DE", o.jurisdiction);
    f.trust_jurisdiction = *place ? place : NULL;
    c = c ? c : read_booking(&o, &f, &e);
    if (!c && o.air_gapped && strcmp(o.sandbox, "enforce"))
        c = err_set(&e, ERR_INVALID, "--air-gapped needs the whole sandbox: leave --sandbox at enforce");
    if (!c)
        c = serve_fleet_options(&o, as, &f, &e);
    if (!c && as != SERVE_GATEWAY)
        c = serve_models_find(&o, &config, &f, &models, &e);
    if (!c)
        c = file_make_dirs(state, &e);
    if (!c)
        c = serve(&o, &f, &e);
    mem_free(state);
    serve_models_free(models);
    mem_free(trust);
    yaml_doc_release(&config);
    return c ? cmd_fail(spec, &e) : 0;
}

int cmd_serve(int argc, char **argv)
{
    return serve_main(&cmd_serve_spec, SERVE_HERE, argc, argv);
}
