/* relay -- one request carried to an engine, and its reply carried back as it comes, and billed.
 *
 *   answer_relay --its model is ready, request frames--> WAITING --head--> STREAMING --end--> over
 *                                       `--error, engine lost--> error reply      `--error, lost--> error event, closed
 *   The client hangs up in any state: relay_gone sends cancel at once.
 *
 * Here is the way there; relay_take.c is the way back.
 *
 * Back-pressure (invariant I1): the engine may send at most RELAY_WINDOW data frames that the client has not taken.
 * Credit is given back half a window at a time, and only while fewer than PENDING_LOW bytes wait for the client. */
#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "front/relay_impl.h"
#include "trust/gate.h"

#include <stdio.h>
#include <string.h>

enum { RESPONSE_ID_BYTES = 18 };

void relay_free(struct relay *r)
{
    struct front *f = r->front;
    if (r->ask)
        r->ask->r = NULL;
    models_forget(f->models, &r->wait);
    if (r->call.id) {
        link_call_close(r->link, &r->call);
        models_released(f->models, r->link);
    }
    recent_close(r->line, r->status ? r->status : r->x ? 200 : 499);
    account_abandon(f->accounts, &r->bill); /* unless it was settled */
    fleet_hold_end(front_fleet_limits(f->fleet), &r->hold, &r->bill.booked);
    if (r->repeat >= 0)
        repeat_end(f->repeats, r->repeat, !r->bill.settled ? REPEAT_NOT_BOOKED :
                   r->ending ? REPEAT_WHOLE : REPEAT_PART);
    buf_release(&r->lines);
    buf_release(&r->type);
    buf_release(&r->body);
    buf_release(&r->unsent);
    buf_release(&r->tail);
    buf_release(&r->usage);
    buf_release(&r->note);
    json_decref(r->end);
    if (r->prev)
        r->prev->next = r->next;
    else
        f->relays = r->next;
    if (r->next)
        r->next->prev = r->prev;
    f->relay_count--;
    double seconds = (double)(clock_mono_ns() - r->started_ns) / 1e9;
    metrics_seconds(f, seconds);
    trace_send(f->telemetry, &r->trace, r->route->path);
    mem_free(r);
}

/* ---- client to engine */

/* The id of a stored response ends in a mark of its model, so that who asks for it is led to the right engine. */
static void make_response_id(const char *prefix, const char *model, char *out, size_t size)
{
    static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    uint8_t random[RESPONSE_ID_BYTES];
    rng_system(random, sizeof random);
    size_t n = (size_t)snprintf(out, size, "%s", prefix);
    for (size_t i = 0; i < sizeof random && n + 1 < size; i++)
        out[n++] = digits[random[i] % (sizeof digits - 1)];
    out[n] = '\0';
    if (!strcmp(prefix, "resp_") && n + RESPONSE_MARK_BYTES < size)
        response_mark(model, out + n);
}

/* What is left of its time, at least a millisecond: the engine says when it is over; 0: it has no deadline. */
static int64_t left_ms(const struct relay *r)
{
    int64_t left = r->claim.deadline_ms - (clock_mono_ns() - r->started_ns) / 1000000;
    return !r->claim.deadline_ms ? 0 : left > 0 ? left : 1;
}

/* How a request is sealed, by its content type; NULL: it is not. */
static const char *sealed_how(const struct http_head *h)
{
    const struct http_field *type = http_head_field(h, "content-type");
    if (type && http_slice_is(type->value, "message/ohttp-chunked-req"))
        return "chunked";
    return type && http_slice_is(type->value, "message/ohttp-req") ? "whole" : NULL;
}

/* What a gateway may know of it. Of a stream with several choices the order of events is its engine's: it is not gone
 * on with elsewhere; nor is what is sealed to one engine. */
static struct fleet_request fleet_request(const struct relay *r)
{
    const struct http_head *h = http_request_head(r->x);
    const struct http_field *repeat = http_head_field(h, "idempotency-key");
    struct fleet_request q = { .tenant = front_tenant(r->front, h), .path = h->path, .body = http_request_body(r->x),
                               .max_tokens = r->env.max_tokens, .deadline_ms = left_ms(r),
                               .resumable = !r->sealed && !(r->env.stream && r->env.choices > 1),
                               .draft = &r->draft };
    if (repeat)
        q.idempotency = repeat->value;
    return q;
}

/* Opens the call. false: refused, and r is gone. */
static bool open_call(struct relay *r)
{
    struct error busy = { .status = 503, .code = "engine_unavailable",
                          .message = "the engine cannot take this request now; try again in a moment" };
    struct err e = { 0 };
    if (!link_is_far(r->link)) {
        if (link_call_open(r->link, &r->call))
            return true;
        relay_fail(r, &busy, link_retry_s(r->link));
        return false;
    }
    struct fleet_request q = fleet_request(r);
    enum err_code c = front_fleet_call(r->front->fleet, r->link, &r->call, &q, &e);
    if (!c)
        return true;
    busy.message = e.text;
    if (c == ERR_DENIED)
        busy = (struct error){ .status = 403, .code = "jurisdiction_not_allowed", .message = e.text };
    relay_fail(r, &busy, c == ERR_DENIED ? 0 : r->call.far.retry_s);
    return false;
}

static void send_request(struct relay *r, int64_t allowance)
{
    const struct http_head *h = http_request_head(r->x);
    struct http_slice body = http_request_body(r->x);
    const char *tenant = front_tenant(r->front, http_request_head(r->x));
    json_t *head = json_pack("{s:s%, s:s%, s:s, s:I, s:s, s:I, s:I, s:I}", "method", h->method.p, h->method.n, "path",
                             h->path.p, h->path.n, "tenant", tenant, "created",
                             (json_int_t)(r->draft.log ? r->draft.r.started : clock_wall_s()), "response_id",
                             r->response_id, "deadline_ms", (json_int_t)left_ms(r), "priority",
                             (json_int_t)r->claim.priority, "weight", (json_int_t)r->claim.weight);
    if (r->sealed)
        json_object_set_new(head, "sealed", json_string(sealed_how(h)));
    if (r->front->fleet && !r->sealed) {
        struct fleet_request q = fleet_request(r);
        json_object_set_new(head, "seed", json_integer(front_fleet_seed(r->front->fleet, &q)));
    }
    if (allowance >= 0)
        json_object_set_new(head, "allowance", json_integer(allowance));
    link_call_request(r->link, &r->call, head, body.p, body.n);
    json_decref(head);
    static const unsigned char window[4] = { RELAY_WINDOW, 0, 0, 0 };
    link_call_send(r->link, &r->call, FRAME_CREDIT, 0, window, sizeof window);
}

/* Whose an Idempotency-Key is, at every gateway of a fleet alike; 0: nobody's. */
static int64_t owner_of(const struct ledger_key *key)
{
    struct buf b = { 0 };
    uint8_t digest[DIGEST_BYTES];
    int64_t owner;
    if (!key)
        return 0;
    buf_printf(&b, "%s\n%s\n%s", key->tenant, key->team, key->name);
    digest_sha256(b.data, b.len, digest);
    buf_release(&b);
    memcpy(&owner, digest, sizeof owner);
    return owner;
}

/* The request's id for the ledger: with an Idempotency-Key one that a repeated request has again. false: refused. */
static bool name_request(struct relay *r, const struct ledger_key *key, char id[REPEAT_ID_SIZE])
{
    const struct http_head *h = http_request_head(r->x);
    const struct http_field *field = http_head_field(h, "idempotency-key");
    snprintf(id, REPEAT_ID_SIZE, "%s", r->response_id);
    if (!field || !accounts_booking(r->front->accounts))
        return true;
    struct repeat_ask ask = { owner_of(key), field->value, h->path, http_request_body(r->x),
                              clock_wall_ns() / 1000000 };
    enum repeat_verdict v = repeat_begin(r->front->repeats, &ask, id, &r->repeat);
    if (v == REPEAT_GO)
        return true;
    relay_fail(r, &(struct error){ .status = v == REPEAT_MALFORMED ? 400 : v == REPEAT_DIFFERENT ? 422 : 409,
                             .message = repeat_sentence(v), .code = "idempotency_key" }, v == REPEAT_UNDER_WAY);
    return false;
}

/* Asks the ledger; false: refused, and r is gone. */
static bool admit(struct relay *r, const struct envelope *env, struct ledger_answer *answer)
{
    struct accounts *a = r->front->accounts;
    const struct ledger_key *key = accounts_key(a, keys_shown(http_request_head(r->x)));
    char id[REPEAT_ID_SIZE];
    recent_tenant(r->line, front_tenant(r->front, http_request_head(r->x)));
    if (!name_request(r, key, id))
        return false;
    struct account_ask ask = { .key = key, .model = link_model_id(r->link), .request_id = id,
                               .path = http_request_head(r->x)->path, .body_bytes = (int64_t)http_request_body(r->x).n,
                               .choices = env->choices, .max_tokens = env->max_tokens,
                               .ctx = json_integer_value(json_object_get(link_facts(r->link), "ctx")) };
    if (!account_admit(a, &r->bill, &ask, answer)) {
        relay_refuse_account(r, answer);
        return false;
    }
    if (accounts_booking(a))
        ledger_rate_headers(answer, &r->lines);
    return true;
}

static void granted(void *arg)
{
    struct relay *r = arg;
    send_request(r, r->allowance);
    http_request_forget_body(r->x);
}

static void not_granted(void *arg, const struct ledger_answer *why)
{
    struct relay *r = arg;
    account_abandon(r->front->accounts, &r->bill);
    relay_refuse_account(r, why);
}

/* This gateway's ledger has admitted it; what all gateways keep together has its say too. */
static void hold(struct relay *r)
{
    struct ledger_answer why;
    const struct ledger_key *key = accounts_key(r->front->accounts, keys_shown(http_request_head(r->x)));
    r->hold = (struct fleet_hold){ .granted = granted, .refused = not_granted, .arg = r, .worst = r->bill.worst,
                                   .limits = account_tenant_limits(r->front->accounts, key) };
    snprintf(r->hold.tenant, sizeof r->hold.tenant, "%s", key ? key->tenant : "local");
    enum hold_verdict v = fleet_hold_take(front_fleet_limits(r->front->fleet), &r->hold, &why);
    if (v == HOLD_GRANTED)
        granted(r);
    else if (v == HOLD_REFUSED)
        not_granted(r, &why);
}

/* The engine takes calls: the request goes to it. */
static void model_ready(void *arg)
{
    struct relay *r = arg;
    r->trace.ready_mono_ns = clock_mono_ns();
    bool far = link_is_far(r->link); /* where it may go is decided first */
    if (!far && !open_call(r))
        return;
    struct ledger_answer answer;
    struct policy_decision why;
    char who[SIGNATURE_TENANT_MAX + 1];
    const struct trustlog_model *model = introduce_model(r->front, r->link);
    struct http_exchange *x = r->x;
    struct front *f = r->front;
    const char *tenant = front_tenant(f, http_request_head(x)), *stopped = introduce_stopped(f, r->link);
    if (stopped) {
        draft_deny(&r->draft, "gate/revoked");
        relay_fail(r, &(struct error){ .status = 403, .message = stopped, .code = "revoked" }, 0);
        return;
    }
    r->draft.r.has_numerics = introduce_numerics(f, r->link, r->draft.r.numerics);
    snprintf(who, sizeof who, "%s", tenant);
    if (!r->sealed && !signature_check(f, r->link, x, &r->draft, who)) {
        relay_fail(r, &(struct error){ .status = 400, .message = GATE_REFUSAL, .code = "not_accepted" }, 0);
        return;
    }
    if (r->sealed ? !draft_may_seal(&r->draft, model, tenant, &why)
                  : !draft_decide(&r->draft, model, http_request_head(x), who, &why)) {
        struct draft draft = r->draft;
        http_exchange_set_user(x, NULL);
        relay_free(r);
        receipts_problem(f, x, &draft, &why);
        return;
    }
    if (far && !open_call(r))
        return;
    if (admit(r, &r->env, &answer)) {
        r->allowance = answer.allowance_tokens;
        hold(r);
    }
}

static void model_refused(void *arg, const struct error *e, int64_t retry_s)
{
    relay_fail(arg, e, retry_s);
}

static struct relay *begin(struct front *f, struct http_exchange *x, const struct route *route, struct link *link)
{
    struct relay *r = MEM_NEW(struct relay);
    *r = (struct relay){ .call = { .frame = relay_frame, .lost = relay_lost, .arg = r }, .front = f, .link = link,
                         .x = x, .route = route, .next = f->relays, .started_ns = clock_mono_ns(),
                         .wait = { .ready = model_ready, .refused = model_refused, .arg = r } };
    if (r->next)
        r->next->prev = r;
    f->relays = r;
    f->relay_count++;
    r->bill.ticket = r->repeat = -1;
    make_response_id(route->id_prefix, link_model_id(link), r->response_id, sizeof r->response_id);
    r->line = recent_open(f->recents, r->response_id, route->path, link_model_id(link));
    draft_begin(&r->draft, f->trust, r->response_id, http_request_body(x));
    r->tells = http_head_field(http_request_head(x), "x-tokenworks-usage") != NULL;
    http_exchange_set_user(x, r);
    return r;
}

static void refuse_unknown(struct front *f, struct http_exchange *x, const char *name)
{
    struct buf sentence = { 0 };
    buf_printf(&sentence, "The model '%s' does not exist here; there are: ", name);
    models_names(f->models, &sentence);
    front_reply_error(f, x, &(struct error){ .status = 404, .message = buf_str(&sentence),
                                             .type = "invalid_request_error", .param = "model",
                                             .code = "model_not_found" }, NULL);
    buf_release(&sentence);
}

static void begin_trace(struct relay *r)
{
    trace_begin(r->front->telemetry, &r->trace, http_request_head(r->x));
    snprintf(r->trace.model, sizeof r->trace.model, "%.127s", link_model_id(r->link));
    snprintf(r->trace.response_id, sizeof r->trace.response_id, "%s", r->response_id);
    r->trace.max_tokens = r->env.max_tokens;
    r->trace.stream = r->env.stream;
}

/* What it claims of the scheduler; then it waits for its model. */
static void want(struct relay *r)
{
    const struct http_head *h = http_request_head(r->x);
    struct error refusal;
    struct err why;
    if (!claim_read(h, &r->env, accounts_key(r->front->accounts, keys_shown(h)), &r->claim, &refusal, &why))
        relay_fail(r, &refusal, 0);
    else {
        recent_tenant(r->line, front_tenant(r->front, h));
        recent_claim(r->line, r->claim.priority, r->claim.deadline_ms);
        if (models_want(r->front->models, r->link, &r->wait))
            model_ready(r);
    }
}

void answer_relay(struct front *f, struct http_exchange *x, const struct route *route)
{
    struct http_slice body = http_request_body(x);
    struct envelope env = { .model = "" };
    struct err e = { 0 };
    const char *param = "";
    if (http_slice_is(http_request_head(x)->method, "POST") && envelope_scan(body.p, body.n, &env, &param, &e)) {
        front_reply_error(f, x, &(struct error){ .status = 400, .message = e.text, .param = param }, NULL);
        return;
    }
    struct link *link = front_find_named(f, route->dialect, env.model);
    if (link)
        relay_start(f, x, route, link, &env);
    else
        refuse_unknown(f, x, env.model);
}

void relay_start(struct front *f, struct http_exchange *x, const struct route *route, struct link *link,
                 const struct envelope *env)
{
    struct relay *r = begin(f, x, route, link);
    r->env = *env;
    begin_trace(r);
    want(r);
}

/* The key id, the first byte, names the engine; TW-Max-Tokens outside bounds what it may take. */
void answer_sealed(struct front *f, struct http_exchange *x, const struct route *route)
{
    struct http_slice body = http_request_body(x);
    const struct http_field *most = http_head_field(http_request_head(x), "tw-max-tokens");
    struct envelope env = { .model = "", .choices = 1 };
    struct link *link = body.n ? introduce_link(f, (uint8_t)body.p[0]) : NULL;
    uint64_t tokens = 0;
    if (most && (!code_uint((struct span){ most->value.p, most->value.n }, &tokens) || tokens > INT32_MAX)) {
        front_reply_error(f, x, &(struct error){ .status = 400, .message = "TW-Max-Tokens is a number" }, NULL);
        return;
    }
    if (!link && f->fleet && !introduce_takes_sealed(f)) {
        static const char why[] = "a gateway takes no sealed requests: who computes could not be named before it is "
                                  "sealed. Send it signed (tokenworks proxy --no-seal), or to a server with an engine";
        front_reply_error(f, x, &(struct error){ .status = 404, .code = "sealed_not_taken", .message = why }, NULL);
        return;
    }
    /* The key died with its engine, or never was: the client asks for the offer and seals again. */
    if (!link || link_state(link) != LINK_READY) {
        front_reply_error(f, x, &(struct error){ .status = 503, .code = "sealed_key_gone",
                          .message = "no engine here has the key this was sealed to; ask /v1/evidence again" },
                          "Retry-After: 1\r\n");
        return;
    }
    env.max_tokens = (int64_t)tokens;
    struct relay *r = begin(f, x, route, link);
    r->sealed = r->draft.r.sealed = true;
    r->env = env;
    begin_trace(r);
    want(r);
}

void relay_gone(struct http_exchange *x, void *front)
{
    struct relay *r = http_exchange_user(x);
    if (receipts_gone(front, x) || evidence_gone(front, x) || adapters_gone(front, x) || !r)
        return; /* it left before its request was whole */
    struct front *f = r->front;
    http_exchange_set_user(x, NULL);
    r->x = NULL;
    if (r->ending) /* all was sent but the last byte: billed as it is, freed by booked() */
        return;
    relay_take_back_unsent(r, http_reply_pending(x));
    draft_computed(&r->draft, &r->call.far);
    if (r->call.id && link_state(r->link) == LINK_READY)
        link_call_send(r->link, &r->call, FRAME_CANCEL, 0, NULL, 0);
    f->metrics.cancelled++;
    r->trace.status = 499;
    snprintf(r->trace.error, sizeof r->trace.error, "client_left");
    front_note(f, x, 499);
    account_settle(f->accounts, &r->bill, NULL, "cancelled", NULL, NULL, NULL);
    draft_file(&r->draft, "aborted", NULL, NULL);
    relay_free(r);
}

void relay_drained(struct http_exchange *x, void *front)
{
    struct relay *r = http_exchange_user(x);
    if (r && (r->begun || r->held) && !r->ending)
        relay_give_credit(r);
}

void relay_cut_all(struct front *f, const char *why)
{
    struct error e = { .status = 503, .message = why, .code = "shutting_down" };
    for (struct relay *r = f->relays, *next; r; r = next) {
        next = r->next;
        if (r->ending)
            continue;
        if (r->call.id && link_state(r->link) == LINK_READY)
            link_call_send(r->link, &r->call, FRAME_CANCEL, 0, NULL, 0);
        relay_fail(r, &e, 1);
    }
}
