/* proxy_test -- `tokenworks proxy` against a site in this process: requests arrive sealed and signed, receipts are kept,
 * and a site that shows the wrong thing gets nothing. */
#include "../test.h"
#include "../trust/scene.h"
#include "base/clock.h"
#include "net/client.h"
#include "net/http_server.h"

#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct scene s;
static struct gate gate;
static int asked, sealed_requests; /* loop's thread; read when it rests */
static enum { HONEST, NO_RECEIPT, CUT } manner;

static void reply(struct http_exchange *x, int status, const char *type, const struct buf *b)
{
    http_reply_whole(x, &(struct http_reply){ .status = status, .content_type = type, .length = (int64_t)b->len },
                     buf_str(b), b->len);
}

static void serve_offer(struct http_exchange *x)
{
    const struct http_head *h = http_request_head(x);
    const char *const hashes[] = { s.hash[0], s.hash[1], s.hash[2], s.hash[3] };
    struct offer o = { 0 };
    struct buf json = { 0 };
    struct err e = { 0 };
    uint64_t since = 0;
    const char *at = memmem(h->query.p, h->query.n, "since=", 6);
    if (at)
        code_uint((struct span){ at + 6, (size_t)(h->query.p + h->query.n - at - 6) }, &since);
    enum err_code c = offer_build(&s.site, s.log, hashes, since, &o, &e);
    if (!c)
        offer_write(&o, &json);
    else
        buf_puts(&json, e.text);
    asked++;
    reply(x, c ? 503 : 200, "application/json", &json);
    offer_release(&o);
    buf_release(&json);
}

static void serve_sealed(struct http_exchange *x)
{
    struct http_slice body = http_request_body(x);
    struct buf answer = { 0 }, receipt = { 0 };
    sealed_requests++;
    if (memmem(body.p, body.n, "secret", 6))
        sealed_requests += 1000;
    engine_answers(&s, &gate, (struct span){ body.p, body.n }, manner != NO_RECEIPT, &answer, &receipt);
    if (manner == CUT)
        answer.len -= 10;
    reply(x, 200, "message/ohttp-chunked-res", &answer);
    buf_release(&answer);
    buf_release(&receipt);
}

static void on_head(struct http_exchange *x, void *arg) {}
static void on_request(struct http_exchange *x, void *arg)
{
    const struct http_head *h = http_request_head(x);
    if (http_slice_is(h->path, "/v1/evidence"))
        serve_offer(x);
    else if (http_slice_is(h->path, "/v1/sealed"))
        serve_sealed(x);
}
static void on_error(const struct http_exchange *x, int status, const char *sentence, struct buf *out, void *arg)
{
    buf_puts(out, sentence);
}

static struct loop *loop;
static struct http_server *server;

static void *site_thread(void *arg)
{
    loop_run(loop);
    return NULL;
}
static void stop_loop(void *arg)
{
    loop_stop(loop);
}

static char work[] = "/tmp/tw-proxy-XXXXXX";
static pid_t proxy_pid = -1;
static int proxy_port = 18331;

static void start_proxy(const char *country)
{
    const char *b = getenv("B");
    struct buf program = { 0 }, url = { 0 }, policy = { 0 }, key = { 0 }, listen = { 0 }, state = { 0 }, text = { 0 };
    char line[KEY_TEXT_MAX];
    buf_printf(&program, "%s/tokenworks", b ? b : "build");
    buf_printf(&url, "http://127.0.0.1:%d", http_server_port(server));
    buf_printf(&policy, "%s/trust.policy", s.site.pub);
    buf_printf(&key, "%s/tenant.key", work);
    buf_printf(&listen, "127.0.0.1:%d", ++proxy_port);
    buf_printf(&state, "%s/state-%d", work, proxy_port);
    key_secret_text(&s.tenant, line);
    buf_printf(&text, "%s\n", line);
    CHECK_INT(file_write(buf_str(&key), text.data, text.len, NULL), ERR_OK);
    fflush(stdout);
    proxy_pid = fork();
    if (proxy_pid == 0) {
        execl(buf_str(&program), "tokenworks", "proxy", "--url", buf_str(&url), "--policy", buf_str(&policy), "--key",
              buf_str(&key), "--listen", buf_str(&listen), "--state", buf_str(&state), "--class", "internal", "--country",
              country, (char *)NULL);
        _exit(127);
    }
    struct buf *const all[] = { &program, &url, &policy, &key, &listen, &state, &text };
    for (size_t i = 0; i < MEM_COUNT(all); i++)
        buf_release(all[i]);
}

static void stop_proxy(void)
{
    int status = 0;
    kill(proxy_pid, SIGTERM);
    waitpid(proxy_pid, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* POSTs to the proxy; waits until it listens. Returns the status, 0 when the answer was cut. */
static int post(struct buf *body)
{
    static const char json[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"a secret\"}],\"stream\":true}";
    struct http_client *c = http_client_new();
    struct buf url = { 0 };
    int status = 0;
    enum err_code code = ERR_IO;
    buf_printf(&url, "http://127.0.0.1:%d/v1/chat/completions", proxy_port);
    for (int i = 0; code && !status && i < 50; i++) {
        struct http_client_reply reply = { 0 };
        const struct http_client_request r = { .url = buf_str(&url), .body = json, .body_len = sizeof json - 1,
                                               .total_ms = 20000 };
        code = http_client_run(c, &r, &reply, NULL);
        status = reply.status;
        buf_clear(body);
        buf_append(body, buf_str(&reply.body), reply.body.len);
        http_client_reply_release(&reply);
        if (code && !status)
            usleep(100000);
    }
    http_client_free(c);
    buf_release(&url);
    return code ? 0 : status;
}

static bool kept(void)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/state-%d/proxy/receipts/r1.note", work, proxy_port);
    bool there = !access(buf_str(&path), F_OK);
    buf_release(&path);
    return there;
}

static bool built(void)
{
    const char *b = getenv("B");
    struct buf program = { 0 };
    buf_printf(&program, "%s/tokenworks", b ? b : "build");
    bool there = !access(buf_str(&program), X_OK);
    buf_release(&program);
    return there;
}

static void sealed_signed_and_receipted(void)
{
    struct buf body = { 0 };
    if (!built())
        SKIP("the program is not built");
    start_proxy("DE");
    manner = HONEST;
    CHECK_INT(post(&body), 200);
    CHECK_STR(buf_str(&body), "data: {\"choices\":[]}\n\ndata: [DONE]\n\n"); /* the receipt's line is the proxy's */
    CHECK_INT(post(&body), 200);
    CHECK(kept());
    CHECK_INT(sealed_requests, 2);
    stop_proxy();
    buf_release(&body);
}

static void no_receipt_no_answer(void)
{
    struct buf body = { 0 };
    if (!built())
        SKIP("the program is not built");
    start_proxy("DE");
    manner = NO_RECEIPT;
    CHECK_INT(post(&body), 0);
    CHECK(!kept());
    manner = CUT;
    CHECK_INT(post(&body), 0);
    CHECK(!kept());
    stop_proxy();
    buf_release(&body);
}

static void nothing_is_sent_abroad(void)
{
    struct buf body = { 0 };
    int before = sealed_requests, offers = asked;
    if (!built())
        SKIP("the program is not built");
    start_proxy("FR");
    manner = HONEST;
    CHECK_INT(post(&body), 502);
    CHECK(strstr(buf_str(&body), "stands in DE") != NULL);
    CHECK(asked > offers && sealed_requests == before);
    stop_proxy();
    buf_release(&body);
}

int main(void)
{
    static const struct http_handler handler = { on_head, on_request, on_head, on_head, on_error };
    struct http_server_options o = http_server_defaults;
    struct err e = { 0 };
    pthread_t t;
    signal(SIGPIPE, SIG_IGN);
    if (trust_init(NULL) || !mkdtemp(work))
        return 1;
    NOW = clock_wall_s();
    scene_open(&s);
    gate_init(&gate, "b1.0", find_tenant, &s);
    o.address = "127.0.0.1";
    o.port = 0;
    loop = loop_new(&e);
    server = loop ? http_server_new(loop, &o, &handler, NULL, &e) : NULL;
    if (!server || pthread_create(&t, NULL, site_thread, NULL))
        return 1;
    RUN(sealed_signed_and_receipted);
    RUN(no_receipt_no_answer);
    RUN(nothing_is_sent_abroad);
    loop_post(loop, stop_loop, NULL);
    pthread_join(t, NULL);
    http_server_free(server);
    loop_free(loop);
    gate_release(&gate);
    scene_close(&s);
    help_remove(work);
    DONE();
}
