/* routes -- the table of routes, and what every request must pass before it is answered.
 *
 * In this order, on the head alone, so that a body nobody may send is never read: Host (against DNS rebinding), CORS
 * preflight, method, key, draining, content type (which makes a browser ask before it posts here). */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "front/envelope.h"
#include "front/front_impl.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct route routes[] = {
    { "/health", M_GET, answer_health, NULL, DIALECT_OPENAI, true },
    { "/readyz", M_GET, answer_health, NULL, DIALECT_OPENAI, true },
    { "/livez", M_GET, answer_live, NULL, DIALECT_OPENAI, true },
    { "/", M_GET, answer_console, NULL, DIALECT_OPENAI, true },
    { "/console.js", M_GET, answer_console, NULL, DIALECT_OPENAI, true },
    { "/console.css", M_GET, answer_console, NULL, DIALECT_OPENAI, true },
    { "/icon.svg", M_GET, answer_console, NULL, DIALECT_OPENAI, true },
    { "/metrics", M_GET, answer_metrics, NULL, DIALECT_OPENAI, false },
    { "/tokenworks/stats", M_GET, answer_stats, NULL, DIALECT_OPENAI, false },
    { "/tokenworks/requests", M_GET, answer_requests, NULL, DIALECT_OPENAI, false },
    { "/tokenworks/tco", M_POST, answer_tco, NULL, DIALECT_OPENAI, false },
    { "/tokenworks/admin/*", M_GET | M_POST, answer_admin, NULL, DIALECT_OPENAI, false },
    { "/tokenworks/fleet", M_GET, answer_fleet, NULL, DIALECT_OPENAI, false },
    { "/tokenworks/fleet/drain", M_POST, answer_fleet, NULL, DIALECT_OPENAI, false },
    { "/tokenworks/models/*", M_POST | M_DELETE, answer_load, NULL, DIALECT_OPENAI, false },
    { "/v1/models", M_GET, answer_models, NULL, DIALECT_OPENAI, false },
    { "/v1/models/*", M_GET, answer_model, NULL, DIALECT_OPENAI, false },
    { "/v1/files", M_GET | M_POST, answer_files, NULL, DIALECT_OPENAI, false },
    { "/v1/files/*", M_GET | M_DELETE, answer_file, NULL, DIALECT_OPENAI, false },
    { "/v1/batches", M_GET | M_POST, answer_batches, NULL, DIALECT_OPENAI, false },
    { "/v1/batches/*", M_GET | M_POST, answer_batch, NULL, DIALECT_OPENAI, false },
    { "/v1/chat/completions", M_POST, answer_relay, "chatcmpl-", DIALECT_OPENAI, false },
    { "/v1/completions", M_POST, answer_relay, "cmpl-", DIALECT_OPENAI, false },
    { "/v1/embeddings", M_POST, answer_relay, "embd-", DIALECT_OPENAI, false },
    { "/v1/rerank", M_POST, answer_relay, "rerank-", DIALECT_OPENAI, false },
    { "/v2/rerank", M_POST, answer_relay, "rerank-", DIALECT_OPENAI, false },
    { "/rerank", M_POST, answer_relay, "rerank-", DIALECT_OPENAI, false },
    { "/v1/responses", M_POST, answer_relay, "resp_", DIALECT_OPENAI, false },
    { "/v1/responses/input_tokens", M_POST, answer_relay, "resp_", DIALECT_OPENAI, false },
    { "/v1/responses/*", M_GET | M_POST | M_DELETE, answer_response, "resp_", DIALECT_OPENAI, false },
    { "/v1/messages", M_POST, answer_relay, "msg_", DIALECT_ANTHROPIC, false },
    { "/v1/messages/count_tokens", M_POST, answer_relay, "msg_", DIALECT_ANTHROPIC, false },
    { "/v1/messages/*", M_GET | M_POST, answer_unknown, NULL, DIALECT_ANTHROPIC, false },
    { "/api/chat", M_POST, answer_relay, "", DIALECT_OLLAMA, false },
    { "/api/generate", M_POST, answer_relay, "", DIALECT_OLLAMA, false },
    { "/v1/sealed", M_POST, answer_sealed, "sealed-", DIALECT_OPENAI, false },
    { "/api/embed", M_POST, answer_relay, "", DIALECT_OLLAMA, false },
    { "/api/embeddings", M_POST, answer_relay, "", DIALECT_OLLAMA, false },
    { "/api/tags", M_GET, answer_tags, NULL, DIALECT_OLLAMA, false },
    { "/api/ps", M_GET, answer_ps, NULL, DIALECT_OLLAMA, false },
    { "/api/show", M_POST, answer_show, NULL, DIALECT_OLLAMA, false },
    { "/api/version", M_GET, answer_version, NULL, DIALECT_OLLAMA, false },
    { "/api/pull", M_POST, answer_pull, NULL, DIALECT_OLLAMA, false },
    { "/api/push", M_POST, answer_not_here, NULL, DIALECT_OLLAMA, false },
    { "/api/create", M_POST, answer_not_here, NULL, DIALECT_OLLAMA, false },
    { "/api/copy", M_POST, answer_not_here, NULL, DIALECT_OLLAMA, false },
    { "/api/delete", M_DELETE, answer_not_here, NULL, DIALECT_OLLAMA, false },
    { "/api/blobs/*", M_GET | M_POST, answer_not_here, NULL, DIALECT_OLLAMA, false },
    { "/api/*", M_GET | M_POST, answer_unknown, NULL, DIALECT_OLLAMA, false },
    { "/v1/evidence", M_GET, answer_evidence, NULL, DIALECT_OPENAI, true },
    { "/v1/receipts/*", M_GET, answer_receipt, NULL, DIALECT_OPENAI, false },
    { "/log/*", M_GET, answer_log, NULL, DIALECT_OPENAI, true },
    { "*", M_GET | M_POST, answer_unknown, NULL, DIALECT_OPENAI, false },
};

static bool path_fits(const struct route *r, struct http_slice path)
{
    size_t n = strlen(r->path);
    if (r->path[n - 1] == '*')
        return path.n >= n - 1 && !memcmp(path.p, r->path, n - 1);
    return http_slice_is(path, r->path);
}

const struct route *route_of(const struct http_exchange *x)
{
    const struct route *r = routes;
    while (r < routes + MEM_COUNT(routes) - 1 && !path_fits(r, http_request_head(x)->path))
        r++;
    return r;
}

const char *route_name(int index)
{
    return (size_t)index < MEM_COUNT(routes) ? routes[index].path : NULL;
}

const char *front_tenant(const struct front *f, const struct http_head *h)
{
    const struct ledger_key *key = accounts_key(f->accounts, keys_shown(h));
    const char *name = keys_count(f->keys) ? keys_check(f->keys, h) : NULL;
    return key ? key->tenant : name ? name : "";
}

struct link *front_find_model(struct front *f, const char *name)
{
    struct link *k = models_find(f->models, name);
    const char *colon = strrchr(name, ':');
    char base[ENVELOPE_MODEL_MAX];
    if (k || !colon || (size_t)(colon - name) >= sizeof base)
        return k;
    snprintf(base, sizeof base, "%.*s", (int)(colon - name), name); /* MODEL:ADAPTER */
    k = models_find(f->models, base);
    return k && link_has_adapter(k, colon + 1) ? k : NULL;
}

struct link *front_find_named(struct front *f, enum dialect d, const char *name)
{
    static const char latest[] = ":latest";
    size_t n = strlen(name), tag = sizeof latest - 1;
    struct link *k = front_find_model(f, name);
    char bare[ENVELOPE_MODEL_MAX];
    if (k || d != DIALECT_OLLAMA || n <= tag || n - tag >= sizeof bare || strcmp(name + n - tag, latest))
        return k;
    memcpy(bare, name, n - tag);
    bare[n - tag] = '\0';
    return front_find_model(f, bare);
}

/* ---- replies */

/* The origin a browser page may read this reply from, when it is the one the operator named. */
static void write_cors(const struct front *f, const struct http_exchange *x, struct buf *out)
{
    const struct http_field *origin = http_head_field(http_request_head(x), "origin");
    const char *allowed = f->options.cors_origin;
    if (!allowed)
        return;
    buf_puts(out, "Vary: Origin\r\n");
    if (origin && (!strcmp(allowed, "*") || http_slice_is(origin->value, allowed)))
        http_field_write(out, "Access-Control-Allow-Origin", allowed);
}

void front_reply_begin(struct front *f, struct http_exchange *x, const struct http_reply *r)
{
    struct buf lines = { 0 };
    struct http_reply with = *r;
    buf_puts(&lines, r->headers ? r->headers : "");
    buf_puts(&lines, "X-Content-Type-Options: nosniff\r\n");
    write_cors(f, x, &lines);
    with.headers = buf_str(&lines);
    metrics_count(f, (int)(route_of(x) - routes), r->status);
    http_reply_begin(x, &with);
    buf_release(&lines);
}

void front_reply_bytes(struct front *f, struct http_exchange *x, const struct http_reply *r, const void *data, size_t n)
{
    struct http_reply whole = *r;
    whole.length = (int64_t)n;
    front_reply_begin(f, x, &whole);
    front_note(f, x, r->status);
    http_reply_data(x, data, n);
    http_reply_end(x);
}

void front_reply_json(struct front *f, struct http_exchange *x, int status, const struct buf *body)
{
    struct http_reply r = { .status = status, .content_type = "application/json",
                            .headers = "Cache-Control: no-store\r\n" };
    front_reply_bytes(f, x, &r, body->data, body->len);
}

void front_reply_error(struct front *f, struct http_exchange *x, const struct error *e, const char *headers)
{
    struct buf b = { 0 };
    if (receipts_wanted(f, x)) {
        receipts_refuse(f, x, NULL, e, headers);
        return;
    }
    error_body(route_of(x)->dialect, e, &b);
    struct http_reply r = { .status = e->status, .content_type = "application/json", .headers = headers };
    front_reply_bytes(f, x, &r, b.data, b.len);
    buf_release(&b);
}

void front_note(struct front *f, const struct http_exchange *x, int status)
{
    const struct http_head *h = http_request_head(x);
    double seconds = (double)(clock_mono_ns() - http_request_started_ns(x)) / 1e9;
    if (status == 499)
        metrics_count(f, (int)(route_of(x) - routes), status);
    log_line(f->options.log_requests ? LOG_INFO : LOG_DEBUG, "front", "%s %.*s %.200s %d %.3f s", http_request_peer(x),
             (int)h->method.n, h->method.p, route_of(x)->path, status, seconds);
}

/* ---- what a request must pass */

static struct http_slice without_port(struct http_slice host)
{
    size_t end = host.n;
    if (host.n && host.p[0] == '[') {
        const char *close = memchr(host.p, ']', host.n);
        return close ? (struct http_slice){ host.p + 1, (size_t)(close - host.p) - 1 } : host;
    }
    for (size_t i = 0; i < host.n; i++)
        if (host.p[i] == ':')
            end = i;
    return (struct http_slice){ host.p, end };
}

static bool is_ip(struct http_slice s)
{
    char text[INET6_ADDRSTRLEN + 1] = "";
    unsigned char parsed[16];
    if (s.n >= sizeof text)
        return false;
    memcpy(text, s.p, s.n);
    return inet_pton(AF_INET, text, parsed) == 1 || inet_pton(AF_INET6, text, parsed) == 1;
}

/* A page under a name of its own that resolves to us sends that name: only ours and addresses are let in. */
static bool host_ok(const struct front *f, struct http_slice host)
{
    const char *address = f->options.http.address;
    struct http_slice name = without_port(host);
    for (int i = 0; i < f->options.allowed_host_count; i++)
        if (http_slice_is_nocase(host, f->options.allowed_hosts[i]) ||
            http_slice_is_nocase(name, f->options.allowed_hosts[i]))
            return true;
    bool any = !strcmp(address, "0.0.0.0") || !strcmp(address, "::");
    bool loopback = !strncmp(address, "127.", 4) || !strcmp(address, "::1") || !strcasecmp(address, "localhost");
    if (http_slice_is_nocase(name, address) || (any && is_ip(name)))
        return true;
    return (any || loopback) && (http_slice_is_nocase(name, "localhost") || http_slice_is(name, "127.0.0.1") ||
                                 http_slice_is(name, "::1"));
}

static bool is_json(const struct http_head *h)
{
    const struct http_field *type = http_head_field(h, "content-type");
    static const char json[] = "application/json";
    size_t n = sizeof json - 1;
    return type && type->value.n >= n && !strncasecmp(type->value.p, json, n) &&
           (type->value.n == n || strchr("; \t", type->value.p[n]));
}

/* What the body is, as the route wants it. */
static bool content_ok(const struct route *r, const struct http_head *h)
{
    const struct http_field *type = http_head_field(h, "content-type");
    if (r->answer == answer_files) /* uploads are forms */
        return true;
    if (r->answer != answer_sealed)
        return is_json(h);
    return type && (http_slice_is(type->value, "message/ohttp-req") ||
                    http_slice_is(type->value, "message/ohttp-chunked-req"));
}

static void preflight(struct front *f, struct http_exchange *x)
{
    static const char lines[] = "Access-Control-Allow-Methods: GET, POST, DELETE\r\nAccess-Control-Max-Age: 600\r\n"
                                "Access-Control-Allow-Headers: authorization, content-type, x-api-key, "
                                "anthropic-version\r\n";
    struct http_reply r = { .status = 204, .headers = lines };
    front_reply_bytes(f, x, &r, NULL, 0);
}

static void refuse(struct front *f, struct http_exchange *x, int status, const char *message, const char *code,
                   const char *headers)
{
    front_reply_error(f, x, &(struct error){ .status = status, .message = message, .code = code }, headers);
}

static unsigned method_bit(const struct http_head *h)
{
    if (http_slice_is(h->method, "GET") || http_slice_is(h->method, "HEAD"))
        return M_GET;
    return http_slice_is(h->method, "POST") ? M_POST : http_slice_is(h->method, "DELETE") ? M_DELETE : 0;
}

static const char *allow_line(unsigned methods)
{
    static const char *const lines[] = {
        [M_GET] = "Allow: GET, HEAD\r\n", [M_POST] = "Allow: POST\r\n", [M_DELETE] = "Allow: DELETE\r\n",
        [M_GET | M_POST] = "Allow: GET, HEAD, POST\r\n", [M_GET | M_DELETE] = "Allow: GET, HEAD, DELETE\r\n",
    };
    return methods < MEM_COUNT(lines) && lines[methods] ? lines[methods] : "";
}

/* Whether no key is needed, or the one shown is known: to the key file or to the ledger. */
static bool key_ok(const struct front *f, const struct http_head *h)
{
    if (!keys_count(f->keys) && !accounts_have_keys(f->accounts))
        return true;
    return keys_check(f->keys, h) || accounts_key(f->accounts, keys_shown(h));
}

static bool is_health(const struct route *r)
{
    return r->answer == answer_health || r->answer == answer_live;
}

static bool is_figures(const struct route *r)
{
    return is_health(r) || r->answer == answer_console || r->answer == answer_metrics ||
           r->answer == answer_stats || r->answer == answer_requests || r->answer == answer_fleet ||
           r->answer == answer_log || r->answer == answer_evidence;
}

void routes_head(struct http_exchange *x, void *front)
{
    struct front *f = front;
    const struct http_head *h = http_request_head(x);
    const struct route *r = route_of(x);
    unsigned method = method_bit(h);
    if (!host_ok(f, h->host) && !(is_health(r) && is_ip(without_port(h->host))))
        refuse(f, x, 421, "this server is not known by that Host; add it with --allowed-host", "host_not_allowed",
               NULL);
    else if (f->options.cors_origin && http_slice_is(h->method, "OPTIONS"))
        preflight(f, x);
    else if (!r->open && !key_ok(f, h))
        refuse(f, x, 401, "an API key is needed: Authorization: Bearer KEY", "invalid_api_key",
               "WWW-Authenticate: Bearer\r\n");
    else if (r->answer == answer_unknown)
        answer_unknown(f, x, r);
    else if (!(method & r->methods))
        refuse(f, x, 405, "this route does not take that method", NULL, allow_line(r->methods));
    else if (f->options.figures_only && !is_figures(r))
        refuse(f, x, 404, "this is a worker: it is asked through a gateway of its fleet", "worker", NULL);
    else if (f->draining && (r->answer == answer_relay || r->answer == answer_sealed))
        refuse(f, x, 503, "the server is shutting down; try another or again later", "shutting_down",
               "Retry-After: 5\r\n");
    else if (method == M_POST && !content_ok(r, h))
        refuse(f, x, 415, r->answer == answer_sealed
                              ? "a sealed request is message/ohttp-chunked-req, and Content-Type must say so"
                              : "the body must be application/json, and Content-Type must say so", NULL, NULL);
}

void routes_request(struct http_exchange *x, void *front)
{
    const struct route *r = route_of(x);
    r->answer(front, x, r);
}

void answer_unknown(struct front *f, struct http_exchange *x, const struct route *r)
{
    refuse(f, x, 404, "there is no such route here; docs/api.md lists them", "unknown_route", NULL);
}
