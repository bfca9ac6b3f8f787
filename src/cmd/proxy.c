/* proxy -- tokenworks proxy: an OpenAI endpoint on this machine that verifies the site, seals and signs each request,
 * checks the receipt and keeps it. Plain clients speak to it as to any server.
 *
 * The loop's thread owns the exchanges; each request is asked by a thread of its own, which posts what comes back.
 * A `work` belongs to its thread until it posts the last piece, then to the loop. */
#include "cmd/cmd.h"

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/proxy_site.h"
#include "ledger/ledger.h"
#include "net/http_server.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { POLICY_BYTES_MAX = 1 << 20, AT_ONCE_MAX = 64, DEFAULT_AGE_S = 86400 };

struct proxy_options {
    const char *state, *url, *policy, *key, *api_key, *listen, *model, *data_class;
    struct opt_strings countries;
    int64_t max_age_s;
    bool no_seal;
};

#define FIELD(name) OPT_FIELD(struct proxy_options, name)
static const struct opt rows[] = {
    { "url", 'u', OPT_STRING, "URL", "the site", FIELD(url), 0, 0 },
    { "policy", 'p', OPT_STRING, "FILE", "your trust policy: which log and witnesses you believe",
      FIELD(policy), 0, 0 },
    { "model", 'm', OPT_STRING, "NAME", "the model (default: default)", FIELD(model), 0, 0 },
    { "key", 'k', OPT_STRING, "FILE", "your signing key; without it requests are sealed but not signed",
      FIELD(key), 0, 0 },
    { "no-seal", 0, OPT_FLAG, NULL, "sign requests and do not seal them: the site's front can read them",
      FIELD(no_seal), 0, 0 },
    { "api-key", 0, OPT_STRING, "KEY", "the site's API key", FIELD(api_key), 0, 0 },
    { "class", 'c', OPT_STRING, "NAME", "data class of every request", FIELD(data_class), 0, 0 },
    { "country", 0, OPT_STRINGS, "CC", "where the node may stand; repeat; none given: anywhere",
      FIELD(countries), 0, 0 },
    { "fresh", 0, OPT_INT, "SECONDS", "how old cosignatures may be (default a day)", FIELD(max_age_s), 1, 1e9 },
    { "listen", 'l', OPT_STRING, "ADDR:PORT", "where to listen (default 127.0.0.1:8331)", FIELD(listen), 0, 0 },
    { "state", 0, OPT_STRING, "DIR", "where receipts and what was seen are kept", FIELD(state), 0, 0 },
    { 0 } };
const struct opt_command cmd_proxy_spec = {
    "proxy", "--url URL --policy FILE [options]",
    "a local OpenAI endpoint that verifies, seals, signs and keeps receipts",
    "Sends nothing unless the site shows a logged, witnessed and current chain of statements (docs/trust.md).", rows };

struct proxy {
    struct loop *loop;
    struct proxy_site site;
    int at_once; /* loop's thread */
};

struct work {
    struct proxy *proxy;
    struct http_exchange *x; /* loop's thread; NULL once gone */
    atomic_bool gone;        /* set by the loop, read by the asking thread: advice only */
    bool begun;
    char path[256];
    struct buf body;
};

enum piece_kind { PIECE_HEAD, PIECE_DATA, PIECE_END, PIECE_FAIL };
struct piece {
    struct work *w;
    enum piece_kind kind;
    int status;
    struct buf text;
};

static void reply_error(struct http_exchange *x, int status, const char *sentence)
{
    struct buf b = { 0 };
    buf_puts(&b, "{\"error\":{\"type\":\"proxy_error\",\"message\":");
    jsonx_quote(sentence, strlen(sentence), &b);
    buf_puts(&b, "}}");
    http_reply_whole(x, &(struct http_reply){ .status = status, .content_type = "application/json",
                                              .length = (int64_t)b.len }, b.data, b.len);
    buf_release(&b);
}

/* On the loop's thread. */
static void deliver(void *arg)
{
    struct piece *p = arg;
    struct work *w = p->w;
    if (w->x && p->kind == PIECE_HEAD) {
        const struct http_reply r = { .status = p->status, .content_type = buf_str(&p->text), .length = -1 };
        http_reply_begin(w->x, &r);
        w->begun = true;
    } else if (w->x && p->kind == PIECE_DATA) {
        http_reply_data(w->x, p->text.data, p->text.len);
    } else if (w->x && p->kind == PIECE_END) {
        http_reply_end(w->x);
    } else if (w->x && p->kind == PIECE_FAIL) {
        if (w->begun)
            http_reply_cut(w->x); /* better a broken answer than one without a receipt */
        else
            reply_error(w->x, 502, buf_str(&p->text));
    }
    if (p->kind == PIECE_END || p->kind == PIECE_FAIL) {
        w->proxy->at_once--;
        buf_release(&w->body);
        mem_free(w);
    }
    buf_release(&p->text);
    mem_free(p);
}

static void post(struct work *w, enum piece_kind kind, int status, struct span text)
{
    struct piece *p = MEM_NEW(struct piece);
    *p = (struct piece){ .w = w, .kind = kind, .status = status };
    buf_append(&p->text, text.data, text.len);
    loop_post(w->proxy->loop, deliver, p);
}

static void on_sink_head(void *arg, int status, struct span type)
{
    post(arg, PIECE_HEAD, status, type);
}

static bool on_sink_data(void *arg, struct span content)
{
    struct work *w = arg;
    post(w, PIECE_DATA, 0, content);
    return !atomic_load_explicit(&w->gone, memory_order_relaxed);
}

static void *ask(void *arg)
{
    struct work *w = arg;
    struct err e = { 0 };
    const struct proxy_sink sink = { w, on_sink_head, on_sink_data };
    if (proxy_site_ask(&w->proxy->site, "POST", w->path, (struct span){ buf_str(&w->body), w->body.len }, &sink, &e)) {
        log_line(LOG_WARN, "proxy", "%s", e.text);
        post(w, PIECE_FAIL, 0, span_of(e.text));
    } else {
        post(w, PIECE_END, 0, SPAN(""));
    }
    return NULL;
}

static void on_request(struct http_exchange *x, void *arg)
{
    struct proxy *p = arg;
    const struct http_head *h = http_request_head(x);
    struct http_slice body = http_request_body(x);
    pthread_t t;
    if (!http_slice_is(h->method, "POST") || h->path.n < 4 || memcmp(h->path.p, "/v1/", 4) || h->query.n ||
        h->path.n >= sizeof ((struct work *)0)->path) {
        reply_error(x, 404, "the proxy passes on POST /v1/...");
        return;
    }
    if (p->at_once >= AT_ONCE_MAX) {
        reply_error(x, 503, "too many requests at once");
        return;
    }
    struct work *w = MEM_NEW(struct work);
    w->proxy = p;
    w->x = x;
    snprintf(w->path, sizeof w->path, "%.*s", (int)h->path.n, h->path.p);
    buf_append(&w->body, body.p, body.n);
    http_exchange_set_user(x, w);
    p->at_once++;
    if (pthread_create(&t, NULL, ask, w))
        post(w, PIECE_FAIL, 0, SPAN("no thread for the request"));
    else
        pthread_detach(t);
}

static void on_head(struct http_exchange *x, void *arg)
{
}

static void on_gone(struct http_exchange *x, void *arg)
{
    struct work *w = http_exchange_user(x);
    if (w) {
        w->x = NULL;
        atomic_store_explicit(&w->gone, true, memory_order_relaxed);
    }
}

static void on_drained(struct http_exchange *x, void *arg)
{
}

static void on_error(const struct http_exchange *x, int status, const char *sentence, struct buf *out, void *arg)
{
    buf_puts(out, "{\"error\":{\"type\":\"proxy_error\",\"message\":");
    jsonx_quote(sentence, strlen(sentence), out);
    buf_puts(out, "}}");
}

static void on_signal(void *arg)
{
    loop_stop(arg);
}

static enum err_code load_key(const char *path, struct key_secret *k, struct err *e)
{
    struct buf text = { 0 };
    struct span rest, line;
    enum err_code c = file_read(path, KEY_TEXT_MAX + 2, &text, e);
    rest = (struct span){ buf_str(&text), text.len };
    if (!c)
        c = span_line(&rest, &line) ? key_secret_parse(line, k, e) : err_set(e, ERR_INVALID, "%s is no key file", path);
    if (text.data)
        mem_wipe(text.data, text.len);
    buf_release(&text);
    return c;
}

static enum err_code run(struct proxy *p, const char *listen, struct err *e)
{
    static const struct http_handler handler = { on_head, on_request, on_drained, on_gone, on_error };
    struct http_server_options o = http_server_defaults;
    char host[64];
    int64_t port = 0;
    const char *colon = strrchr(listen, ':');
    if (!colon || colon - listen >= (int)sizeof host || opt_parse_int(colon + 1, 0, 65535, &port, NULL))
        return err_set(e, ERR_INVALID, "--listen takes ADDR:PORT");
    snprintf(host, sizeof host, "%.*s", (int)(colon - listen), listen);
    o.address = host;
    o.port = (int)port;
    o.body_max = PROXY_BODY_MAX;
    p->loop = loop_new(e);
    struct http_server *server = p->loop ? http_server_new(p->loop, &o, &handler, p, e) : NULL;
    if (!server)
        return e->code;
    loop_on_signal(p->loop, SIGTERM, on_signal, p->loop);
    loop_on_signal(p->loop, SIGINT, on_signal, p->loop);
    log_line(LOG_INFO, "proxy", "http://%s:%d/v1 stands for %s", host, http_server_port(server), p->site.url);
    pthread_t proofs;
    if (!pthread_create(&proofs, NULL, proxy_proofs_main, &p->site))
        pthread_detach(proofs);
    loop_run(p->loop);
    http_server_free(server);
    return ERR_OK; /* threads may still run: the process ends here, the loop stays theirs */
}

int cmd_proxy(int argc, char **argv)
{
    static struct proxy p; /* outlives detached threads */
    struct proxy_options o = { .model = "default", .listen = "127.0.0.1:8331", .max_age_s = DEFAULT_AGE_S };
    struct buf policy = { 0 }, dir = { 0 };
    struct err e = { 0 };
    int n;
    enum opt_result r = opt_parse(&cmd_proxy_spec, argc, argv, &o, &n);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (!o.url || !o.policy || n) {
        fprintf(stderr, "tokenworks proxy: give --url and --policy (tokenworks proxy --help)\n");
        return 2;
    }
    char *home = file_state_dir(o.state);
    buf_printf(&dir, "%s/proxy", home);
    p.site = (struct proxy_site){ .url = o.url, .api_key = o.api_key, .model = o.model, .data_class = o.data_class,
                                  .dir = buf_str(&dir), .has_key = o.key != NULL, .open = o.no_seal };
    p.site.client.max_age_s = o.max_age_s;
    enum err_code c = trust_init(&e);
    if (!c && strncmp(o.url, "http://", 7) && strncmp(o.url, "https://", 8))
        c = err_set(&e, ERR_INVALID, "--url %.80s: give the site's address, like https://site.example", o.url);
    for (int i = 0; !c && i < o.countries.count && i < CLIENT_COUNTRIES_MAX; i++)
        if (!ledger_place(o.countries.v[i], strlen(o.countries.v[i]), p.site.client.countries[i], 3))
            c = err_set(&e, ERR_INVALID, "--country %.40s: give a country's two letters, like DE", o.countries.v[i]);
        else
            p.site.client.country_count++;
    if (!c)
        c = file_read(o.policy, POLICY_BYTES_MAX, &policy, &e);
    if (!c && o.key)
        c = load_key(o.key, &p.site.key, &e);
    if (!c)
        c = proxy_site_open(&p.site, (struct span){ buf_str(&policy), policy.len }, &e);
    if (!c)
        c = run(&p, o.listen, &e);
    mem_free(home);
    buf_release(&policy);
    return c ? cmd_fail(&cmd_proxy_spec, &e) : 0;
}
