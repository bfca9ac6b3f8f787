/* witness_serve -- the witness as a server: POST /add-checkpoint, GET /<hash of origin>/checkpoint. */
#include "cmd/witness_serve.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/http_server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct serving {
    struct loop *loop;
    struct witness *w;
};

static void reply(struct http_exchange *x, int status, const char *type, struct span body)
{
    http_reply_whole(x, &(struct http_reply){ .status = status, .content_type = type, .length = (int64_t)body.len },
                     body.data, body.len);
}

static void reply_text(struct http_exchange *x, int status, const char *text)
{
    reply(x, status, "text/plain; charset=utf-8", span_of(text));
}

static void add_checkpoint(struct serving *s, struct http_exchange *x)
{
    struct http_slice body = http_request_body(x);
    struct buf out = { 0 };
    struct err e = { 0 };
    int status = 0;
    if (witness_add_checkpoint(s->w, (struct span){ body.p, body.n }, clock_wall_s(), &status, &out, &e)) {
        log_line(LOG_WARN, "witness", "refused with %d: %s", status, e.text);
        if (status != 409) {
            buf_clear(&out);
            buf_printf(&out, "%s\n", e.text);
        }
    }
    reply(x, status, status == 409 ? "text/x.tlog.size" : "text/plain; charset=utf-8",
          (struct span){ buf_str(&out), out.len });
    buf_release(&out);
}

static void get_checkpoint(struct serving *s, struct http_exchange *x, struct span hex)
{
    struct buf out = { 0 };
    enum err_code c = ERR_NOT_FOUND;
    for (int i = 0; i < s->w->log_count; i++) {
        uint8_t hash[HASH_BYTES];
        char ours[HASH_HEX + 1];
        code_sha256(hash, s->w->logs[i].name, strlen(s->w->logs[i].name));
        code_hex(ours, hash, HASH_BYTES);
        if (span_is(hex, ours))
            c = witness_latest(s->w, &s->w->logs[i], &out, NULL);
    }
    if (c)
        reply_text(x, 404, "no checkpoint of this log\n");
    else
        reply(x, 200, "text/plain; charset=utf-8", (struct span){ buf_str(&out), out.len });
    buf_release(&out);
}

static void on_head(struct http_exchange *x, void *arg)
{
    const struct http_head *h = http_request_head(x);
    if (!http_slice_is(h->method, "POST") && !http_slice_is(h->method, "GET"))
        reply_text(x, 405, "GET or POST\n");
}

static void on_request(struct http_exchange *x, void *arg)
{
    const struct http_head *h = http_request_head(x);
    struct span path = { h->path.p, h->path.n }, empty, hex, name;
    bool post = http_slice_is(h->method, "POST");
    if (post && span_is(path, "/add-checkpoint"))
        add_checkpoint(arg, x);
    else if (!post && span_cut(path, '/', &empty, &path) && !empty.len && span_cut(path, '/', &hex, &name) &&
             span_is(name, "checkpoint"))
        get_checkpoint(arg, x, hex);
    else
        reply_text(x, 404, "not found\n");
}

static void on_gone(struct http_exchange *x, void *arg)
{
}

static void on_error(const struct http_exchange *x, int status, const char *sentence, struct buf *out, void *arg)
{
    buf_printf(out, "%s\n", sentence);
}

static void on_signal(void *arg)
{
    loop_stop(arg);
}

/* "127.0.0.1:9001" */
static enum err_code split_address(const char *listen, char host[64], int *port, struct err *e)
{
    const char *colon = strrchr(listen, ':');
    int64_t n = 0;
    if (!colon || (size_t)(colon - listen) >= 64 || opt_parse_int(colon + 1, 0, 65535, &n, NULL))
        return err_set(e, ERR_INVALID, "--listen takes ADDR:PORT");
    snprintf(host, 64, "%.*s", (int)(colon - listen), listen);
    *port = (int)n;
    return ERR_OK;
}

enum err_code witness_serve(struct witness *w, const char *listen, struct err *e)
{
    static const struct http_handler handler = { on_head, on_request, on_gone, on_gone, on_error };
    struct http_server_options o = http_server_defaults;
    struct serving s = { .w = w };
    char host[64];
    enum err_code c = split_address(listen, host, &o.port, e);
    if (c)
        return c;
    o.address = host;
    o.body_max = WITNESS_REQUEST_MAX;
    s.loop = loop_new(e);
    struct http_server *server = s.loop ? http_server_new(s.loop, &o, &handler, &s, e) : NULL;
    if (server) {
        loop_on_signal(s.loop, SIGTERM, on_signal, s.loop);
        loop_on_signal(s.loop, SIGINT, on_signal, s.loop);
        log_line(LOG_INFO, "witness", "%s answers on http://%s:%d", w->key.pub.name, host, http_server_port(server));
        loop_run(s.loop);
        http_server_free(server);
    }
    if (s.loop)
        loop_free(s.loop);
    return server ? ERR_OK : e->code;
}
