/* serve_config -- the settings of `tokenworks serve`: from options, or from a YAML file under --config. */
#ifndef CMD_SERVE_CONFIG_H
#define CMD_SERVE_CONFIG_H
#include "base/opt.h"
#include "base/yaml.h"
#include "front/oidc.h"

struct serve_options {
    struct opt_strings models, allowed_hosts, lora, lora_dirs;
    const json_t *model_list; /* the file's `models`, as it is: serve_models.c reads it */
    const char *listen, *state, *models_dir, *isa, *kv_type, *api_key_file, *cors_origin, *engine, *sandbox, *config;
    const char *otlp, *service_name, *batches, *book;
    struct oidc_options oidc;
    const char *tls_cert, *tls_key, *tls_client_ca, *trust, *site, *jurisdiction;
    const char *hostfile;
    int64_t threads, ctx, kv_memory, batch, max_body, drain_s, connections, memory_limit, load_wait_s, kv_spill, ranks,
        key_epoch_s, key_grace_s;
    const char *speculate, *draft;
    struct opt_strings to_jurisdictions;
    const char *nats, *name, *nats_ca, *nats_cert, *nats_key, *nats_creds, *nats_user, *nats_password, *fleet_secret;
    const char *nats_domain;
    int64_t itl_ms, ttft_ms, lora_slots, lora_rank;
    bool fleet_outside, fleet_bills, fleet_limits;
    bool matryoshka, log_json, log_requests, ledger, no_ledger, no_trust, air_gapped;
};

/* Reads the file into *doc (the strings of *o then point into it: release it last) and lays its settings over *o:
 *
 *     listen: 127.0.0.1:8080
 *     models: [NAME-or-FILE, ...]            the first is `default`; serve_models.h has the long form
 *     memory: { limit: 24G, kv: 4G, kv-spill: 20G, ctx: 8192, kv-type: f16 }
 *     tls: { cert: FILE, key: FILE, client-ca: FILE }
 *     auth: { api-key-file: FILE, allowed-hosts: [NAME, ...], cors-origin: ORIGIN }
 *           oidc: { issuer: URL, audience: NAME, jwks: FILE-or-URL, tenant: NAME, tenant-claim: CLAIM, ... }
 *     lora: { dirs: [DIR, ...], slots: 4, rank: 64 }   adapters that may be added while it runs
 *     ledger: { book: auto | always | never }
 *     batches: { dir: DIR }                  content at rest, sealed; without it there are no batches
 *     limits: { threads: 2, batch: 512, max-body: 32M, connections: 4096, drain-s: 30, isa: avx512, load-wait-s: 300,
 *               matryoshka: true }
 *     trust: { dir: DIR, site: NAME, jurisdiction: DE }
 *     nats: { url: "tls://HOST:4222", name: NAME, ca: FILE, cert: FILE, key: FILE, jurisdictions: [CC, ...],
 *             outside: true, limits: true, bills: true, secret-file: FILE }   also creds: FILE, or user and password
 *     ranks: { count: 4, hostfile: FILE }    one model over several machines (docs/split.md)
 *     speed: { speculate: auto, target-itl-ms: 150, target-ttft-ms: 2000 }
 *     telemetry: { log-json: true, log-requests: false, otlp: "http://collector:4318", service-name: NAME }
 *
 * An unknown key, a wrong type or a value out of bounds is refused with its line. */
enum err_code serve_config_read(const char *path, struct yaml_doc *doc, struct serve_options *o, struct err *e);
#endif
