/* proxy_site -- see proxy_site.h. */
#include "cmd/proxy_site.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/json.h"
#include "net/client.h"
#include "trust/bhttp.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum { OFFER_MS = 30000, STALL_MS = 600000, RECEIPT_LINE_MAX = 16384 };
static const char MARK[] = ": tw-receipt ";

static struct span as_span(const struct buf *b)
{
    return (struct span){ buf_str(b), b->len };
}

enum err_code proxy_site_open(struct proxy_site *p, struct span trust_policy, struct err *e)
{
    struct buf path = { 0 }, saved = { 0 };
    pthread_mutex_init(&p->lock, NULL);
    int countries = p->client.country_count;
    char allowed[CLIENT_COUNTRIES_MAX][3];
    memcpy(allowed, p->client.countries, sizeof allowed);
    int64_t age = p->client.max_age_s;
    enum err_code c = client_init(&p->client, trust_policy, e);
    p->client.country_count = countries;
    memcpy(p->client.countries, allowed, sizeof allowed);
    p->client.max_age_s = age;
    buf_printf(&path, "%s/receipts", p->dir);
    if (!c)
        c = file_make_dirs(buf_str(&path), e);
    buf_clear(&path);
    buf_printf(&path, "%s/site", p->dir);
    if (!c && !file_read(buf_str(&path), CLIENT_STATE_MAX, &saved, NULL))
        c = client_load(&p->client, as_span(&saved), e);
    buf_release(&path);
    buf_release(&saved);
    return c;
}

void proxy_site_close(struct proxy_site *p)
{
    client_release(&p->client);
    key_secret_wipe(&p->key);
    pthread_mutex_destroy(&p->lock);
}

/* Under the lock: the site is asked for its offer, and what it shows is checked against what it showed before. */
static enum err_code accept_offer(struct proxy_site *p, struct http_client *http, struct client_session *s,
                                  struct err *e)
{
    struct buf url = { 0 }, path = { 0 }, state = { 0 };
    struct http_client_reply reply = { 0 };
    struct offer o = { 0 };
    buf_printf(&url, "%s/v1/evidence?model=%s&since=%llu", p->url, p->model, (unsigned long long)p->client.size);
    const struct http_client_request r = { .url = buf_str(&url), .bearer = p->api_key, .total_ms = OFFER_MS,
                                           .reply_max = OFFER_BYTES_MAX };
    enum err_code c = http_client_run(http, &r, &reply, e);
    if (!c && reply.status == 503)
        c = err_set(e, ERR_BUSY, "the site shows nothing now: %.200s", buf_str(&reply.body));
    if (!c && reply.status != 200)
        c = err_set(e, ERR_IO, "%s answered %d", buf_str(&url), reply.status);
    if (!c)
        c = offer_parse(as_span(&reply.body), &o, e);
    if (!c)
        c = client_accept(&p->client, &o, clock_wall_s(), s, e);
    if (!c) { /* remembered before anything is sent */
        client_save(&p->client, as_span(&o.root), &state);
        buf_printf(&path, "%s/site", p->dir);
        c = file_write(buf_str(&path), state.data, state.len, e);
    }
    offer_release(&o);
    http_client_reply_release(&reply);
    buf_release(&url);
    buf_release(&path);
    buf_release(&state);
    return c;
}

/* ---- one exchange */

struct exchange {
    const struct proxy_sink *sink;
    struct ohttp x;
    struct ohttp_stream stream;
    struct client_salts salts;
    struct http_client_reply *reply; /* of an open exchange */
    struct buf fields;               /* its header lines */
    bool events;                     /* it is an event stream */
    bool streaming, head_sent;
    struct buf nonce, plain, fresh; /* fresh: content just decoded */
    struct buf content;             /* all of it, the receipt's line left out */
    struct buf receipt;             /* base64 */
    struct bhttp_reader reader;
    int64_t max_tokens;             /* said outside the seal, for admission */
    bool again;                     /* refused before anything ran, by a node that has gone on: seal again */
    struct err *e;
    enum err_code code;
};

/* The receipt rides in a comment line of the event stream, which is no part of what it commits to. */
static void take_receipt(struct exchange *t)
{
    char *at = t->fresh.len ? memmem(t->fresh.data, t->fresh.len, MARK, sizeof MARK - 1) : NULL;
    if (!at || (at != t->fresh.data && at[-1] != '\n'))
        return;
    size_t from = (size_t)(at - t->fresh.data);
    char *end = memmem(at, t->fresh.len - from, "\n\n", 2);
    if (!end || end - at > RECEIPT_LINE_MAX)
        return;
    buf_clear(&t->receipt);
    buf_append(&t->receipt, at + sizeof MARK - 1, (size_t)(end - at) - (sizeof MARK - 1));
    size_t after = (size_t)(end + 2 - t->fresh.data);
    memmove(at, end + 2, t->fresh.len - after);
    t->fresh.len -= after - from;
}

/* What is in fresh goes to the asker, but for the receipt. */
static bool hand_over(struct exchange *t)
{
    take_receipt(t);
    buf_append(&t->content, buf_str(&t->fresh), t->fresh.len);
    bool alive = !t->fresh.len || t->sink->data(t->sink->arg, as_span(&t->fresh));
    buf_clear(&t->fresh);
    if (t->content.overflow)
        t->code = err_set(t->e, ERR_LIMIT, "the response is too long");
    else if (!alive)
        t->code = err_set(t->e, ERR_BUSY, "the asker is gone");
    return !t->code;
}

static bool pass_on(struct exchange *t)
{
    struct span type = { "", 0 }, receipt = { "", 0 };
    bool twice;
    t->code = bhttp_read(&t->reader, as_span(&t->plain), &t->fresh, t->e);
    buf_clear(&t->plain);
    if (t->code)
        return false;
    if (t->reader.state != BHTTP_HEAD && !t->head_sent) {
        bhttp_field_get(&t->reader.message, "content-type", &type, &twice);
        if (bhttp_field_get(&t->reader.message, "tw-receipt", &receipt, &twice))
            buf_append(&t->receipt, receipt.data, receipt.len);
        t->sink->head(t->sink->arg, t->reader.message.status, type);
        t->head_sent = true;
    }
    return hand_over(t);
}

static bool on_data(void *arg, const char *data, size_t n)
{
    struct exchange *t = arg;
    struct span in = { data, n };
    size_t need = ohttp_nonce_bytes(&t->x);
    if (!t->streaming) {
        size_t take = need - t->nonce.len < n ? need - t->nonce.len : n;
        buf_append(&t->nonce, data, take);
        in = (struct span){ data + take, n - take };
        if (t->nonce.len < need)
            return true;
        t->code = ohttp_response_reader(&t->x, as_span(&t->nonce), &t->stream, t->e);
        t->streaming = !t->code;
    }
    if (!t->code)
        t->code = ohttp_read(&t->stream, in, &t->plain, t->e);
    return !t->code && pass_on(t);
}

/* ---- one that is signed and not sealed */

/* The value of the reply's only field of that name. */
static struct span reply_field(const struct exchange *t, const char *name)
{
    struct span rest = as_span(&t->fields), line, found = { "", 0 };
    size_t n = strlen(name);
    while (span_line(&rest, &line))
        if (line.len > n && !strncasecmp(line.data, name, n) && line.data[n] == ':') {
            found = (struct span){ line.data + n + 1, line.len - n - 1 };
            while (found.len && *found.data == ' ')
                found.data++, found.len--;
        }
    return found;
}

/* Before the first byte of an answer. */
static bool begin_open(struct exchange *t)
{
    struct span salt = reply_field(t, "tw-receipt-salt"), note = reply_field(t, "tw-receipt");
    struct span type = reply_field(t, "content-type");
    t->head_sent = true;
    if (!code_unbase64_exact(t->salts.request, COMMIT_SALT_BYTES, salt)) {
        t->code = err_set(t->e, ERR_DENIED, "the site's answer has no TW-Receipt-Salt: it keeps no evidence");
        return false;
    }
    memcpy(t->salts.response, t->salts.request, COMMIT_SALT_BYTES);
    buf_append(&t->receipt, note.data, note.len);
    t->events = type.len >= 17 && !memcmp(type.data, "text/event-stream", 17);
    t->sink->head(t->sink->arg, t->reply->status, type);
    return true;
}

/* Of a stream whole events go on: the receipt's is among them. */
static bool on_open_data(void *arg, const char *data, size_t n)
{
    struct exchange *t = arg;
    if (!t->head_sent && !begin_open(t))
        return false;
    buf_append(&t->plain, data, n);
    size_t whole = t->plain.len;
    while (t->events && whole && !(whole >= 2 && t->plain.data[whole - 1] == '\n' && t->plain.data[whole - 2] == '\n'))
        whole--;
    if (!whole)
        return true;
    buf_append(&t->fresh, t->plain.data, whole);
    memmove(t->plain.data, t->plain.data + whole, t->plain.len - whole);
    t->plain.len -= whole;
    return hand_over(t);
}

static enum err_code send_open(struct proxy_site *p, struct http_client *http, const struct client_request *q,
                               const struct buf *lines, struct exchange *t, struct err *e)
{
    struct buf url = { 0 }, copy = { 0 };
    struct http_client_reply reply = { 0 };
    struct err why = { 0 };
    buf_printf(&url, "%s%s", p->url, q->path);
    buf_append(&copy, lines->data, lines->len);
    struct http_client_request r = { .url = buf_str(&url), .bearer = p->api_key, .body = q->body.data,
                                     .body_len = q->body.len, .stall_ms = STALL_MS, .on_data = on_open_data, .arg = t,
                                     .fields = &t->fields };
    char *at = copy.data;
    for (int i = 0; i < HTTP_CLIENT_HEADERS_MAX && at < copy.data + copy.len; i++) {
        char *end = strchr(at, '\n');
        *end = '\0';
        r.headers[i] = at;
        at = end + 1;
    }
    t->reply = &reply;
    enum err_code c = http_client_run(http, &r, &reply, &why);
    if (!t->code && !c && !t->head_sent)
        begin_open(t); /* an error, or an answer without a byte */
    if (!t->code && !c) { /* of an error the body was collected; of a stream there may be a rest */
        buf_append(&t->fresh, t->plain.data, t->plain.len);
        buf_append(&t->fresh, buf_str(&reply.body), reply.body.len);
        hand_over(t);
    }
    if (t->code)
        c = t->code;
    else if (c)
        err_set(e, c, "%s", why.text);
    http_client_reply_release(&reply);
    buf_release(&url);
    buf_release(&copy);
    return c;
}

/* ---- what is left */

/* Kept by id: the note, and what is needed to show what it commits to. */
static enum err_code keep_receipt(const struct proxy_site *p, const struct exchange *t, struct span note,
                                  const struct receipt *r, struct err *e)
{
    struct buf path = { 0 }, salts = { 0 };
    if (strchr(r->id, '/') || r->id[0] == '.')
        return err_set(e, ERR_CORRUPT, "the receipt's id is no file name");
    buf_printf(&path, "%s/receipts/%s.note", p->dir, r->id);
    enum err_code c = file_write(buf_str(&path), note.data, note.len, e);
    buf_puts(&salts, "request ");
    code_base64(&salts, t->salts.request, COMMIT_SALT_BYTES);
    buf_puts(&salts, "\nresponse ");
    code_base64(&salts, t->salts.response, COMMIT_SALT_BYTES);
    buf_putc(&salts, '\n');
    buf_clear(&path);
    buf_printf(&path, "%s/receipts/%s.salts", p->dir, r->id);
    if (!c)
        c = file_write(buf_str(&path), salts.data, salts.len, e);
    mem_wipe(salts.data, salts.len);
    buf_release(&salts);
    buf_release(&path);
    return c;
}

/* The last chunk was there, and nothing is missing after it. */
static enum err_code end_sealed(struct exchange *t, struct err *e)
{
    enum err_code c = t->streaming ? ohttp_read_end(&t->stream, &t->plain, e)
                                   : err_set(e, ERR_DENIED, "the site sent no sealed response");
    if (!c && !pass_on(t))
        c = t->code;
    if (!c && t->reader.state != BHTTP_DONE)
        c = err_set(e, ERR_DENIED, "the response was cut");
    client_salts_sealed(&t->x, &t->salts);
    return c;
}

static enum err_code finish(const struct proxy_site *p, struct exchange *t, const struct client_session *s,
                            struct span body, struct err *e)
{
    struct receipt r;
    uint8_t raw[RECEIPT_NOTE_MAX];
    size_t n = sizeof raw;
    enum err_code c = p->open ? ERR_OK : end_sealed(t, e);
    if (!c && (!t->receipt.len || t->receipt.len > RECEIPT_LINE_MAX || !code_unbase64(raw, &n, as_span(&t->receipt))))
        c = err_set(e, ERR_DENIED, "the site gave no receipt");
    const struct span note = { (char *)raw, n };
    if (!c)
        c = client_check_receipt(s, &t->salts, note, body, as_span(&t->content), &r, e);
    if (!c && p->open && p->has_key && r.allow && !r.has_reqsig)
        c = err_set(e, ERR_DENIED, "the receipt says nothing of the request's signature");
    if (!c)
        c = keep_receipt(p, t, note, &r, e);
    if (!c)
        log_line(LOG_INFO, "proxy", "receipt %s kept: %s by %s", r.id, r.allow ? "allow" : "deny", r.rule);
    return c;
}

static enum err_code send_sealed(struct proxy_site *p, struct http_client *http, const struct buf *sealed,
                                 struct exchange *t, struct err *e)
{
    struct buf url = { 0 };
    struct http_client_reply reply = { 0 };
    char max_tokens[64];
    snprintf(max_tokens, sizeof max_tokens, "TW-Max-Tokens: %lld", (long long)t->max_tokens);
    buf_printf(&url, "%s/v1/sealed", p->url);
    const struct http_client_request r = { .url = buf_str(&url), .bearer = p->api_key, .body = sealed->data,
                                           .body_len = sealed->len, .stall_ms = STALL_MS, .on_data = on_data, .arg = t,
                                           .headers = { "Content-Type: message/ohttp-chunked-req", max_tokens } };
    struct err why = { 0 };
    enum err_code c = http_client_run(http, &r, &reply, &why);
    if (t->code)
        c = t->code; /* its sentence is in e already */
    else if (c)
        err_set(e, c, "%s", why.text);
    else if (reply.status == 503 && !t->streaming)
        t->again = true, c = err_set(e, ERR_BUSY, "the site cannot take a sealed request now");
    else if (reply.status != 200)
        c = err_set(e, ERR_IO, "the site answered %d to a sealed request", reply.status);
    http_client_reply_release(&reply);
    buf_release(&url);
    return c;
}

static void exchange_release(struct exchange *t)
{
    struct buf *const all[] = { &t->nonce, &t->plain, &t->fresh, &t->content, &t->receipt, &t->fields };
    for (size_t i = 0; i < MEM_COUNT(all); i++)
        buf_release(all[i]);
    bhttp_reader_release(&t->reader);
    ohttp_stream_release(&t->stream);
    ohttp_wipe(&t->x);
    mem_wipe(&t->salts, sizeof t->salts);
}

/* What the request may take at most, as its body says; 0: it does not. */
static int64_t max_tokens_of(struct span body)
{
    static const char *const keys[] = { "max_tokens", "max_completion_tokens", "max_output_tokens" };
    json_t *v = jsonx_parse(body.data, body.len, NULL);
    int64_t n = 0;
    for (size_t i = 0; i < MEM_COUNT(keys); i++)
        jsonx_get_int(v, keys[i], 0, INT32_MAX, &n, NULL);
    json_decref(v);
    return n;
}

/* Once: asks for the offer, seals to what it names or signs for it, sends, checks. *again: nothing ran, it may be
 * tried anew. */
static enum err_code ask_once(struct proxy_site *p, const struct client_request *q, const struct proxy_sink *sink,
                              bool *again, struct err *e)
{
    struct http_client *http = http_client_new();
    struct client_session *s = MEM_NEW(struct client_session);
    struct exchange *t = MEM_NEW(struct exchange);
    struct buf sealed = { 0 };
    t->sink = sink;
    t->e = e;
    t->max_tokens = max_tokens_of(q->body);
    buf_init(&t->content, PROXY_REPLY_MAX);
    pthread_mutex_lock(&p->lock);
    enum err_code c = accept_offer(p, http, s, e);
    pthread_mutex_unlock(&p->lock);
    *again = c == ERR_BUSY;
    if (!c)
        c = p->open ? client_sign(s, q, &sealed, e) : client_seal(s, q, &t->x, &sealed, e);
    if (!c)
        c = p->open ? send_open(p, http, q, &sealed, t, e) : send_sealed(p, http, &sealed, t, e);
    if (!c)
        c = finish(p, t, s, q->body, e);
    *again |= t->again;
    exchange_release(t);
    buf_release(&sealed);
    client_session_release(s);
    mem_free(s);
    mem_free(t);
    http_client_free(http);
    return c;
}

/* The authority of our URL, as a request to it carries it: no default port. */
static void authority_of(const char *url, char *out, size_t room)
{
    const char *host = strstr(url, "://"), *port = !strncmp(url, "https:", 6) ? ":443" : ":80";
    host = host ? host + 3 : url;
    size_t n = strcspn(host, "/");
    snprintf(out, room, "%.*s", (int)n, host);
    n = strlen(out);
    if (n > strlen(port) && !strcmp(out + n - strlen(port), port))
        out[n - strlen(port)] = '\0';
}

enum err_code proxy_site_ask(struct proxy_site *p, const char *method, const char *path, struct span body,
                             const struct proxy_sink *sink, struct err *e)
{
    enum { TRIES = 8, PAUSE_S_MAX = 3 };
    char authority[256];
    bool again = true;
    enum err_code c = ERR_OK;
    authority_of(p->url, authority, sizeof authority);
    for (int i = 0; again && i < TRIES; i++) { /* a new engine has a new key, and a moment later a note */
        const struct client_request q = { .method = method, .authority = authority, .path = path,
                                          .data_class = p->data_class, .body = body,
                                          .key = p->has_key ? &p->key : NULL, .now_s = clock_wall_s() };
        if (i)
            nanosleep(&(struct timespec){ .tv_sec = i < PAUSE_S_MAX ? i : PAUSE_S_MAX }, NULL);
        c = ask_once(p, &q, sink, &again, e);
    }
    return c;
}
