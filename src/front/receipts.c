/* receipts -- see receipts.h. */
#include "front/receipts.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "front/front_impl.h"

#include <ctype.h>

#include <stdio.h>
#include <string.h>

_Static_assert((int)FLEET_PARTS_MAX == (int)COMPUTED_MAX, "a receipt can name all who had a request");

static void make_id(char out[DRAFT_ID_SIZE])
{
    uint8_t raw[12];
    int n = snprintf(out, DRAFT_ID_SIZE, "twr-");
    rng_system(raw, sizeof raw);
    code_hex(out + n, raw, sizeof raw);
}

void draft_begin(struct draft *d, struct trustlog *t, const char *id, struct http_slice body)
{
    *d = (struct draft){ .log = t };
    if (!t)
        return;
    if (id)
        snprintf(d->r.id, sizeof d->r.id, "%s", id);
    else
        make_id(d->r.id);
    d->r.started = clock_wall_s();
    trustlog_describe(t, &d->r);
    rng_system(d->salt, sizeof d->salt);
    commit_begin(&d->request, COMMIT_REQUEST, d->salt);
    commit_add(&d->request, body.p, body.n);
    commit_end(&d->request, d->r.request);
    commit_begin(&d->response, COMMIT_RESPONSE, d->salt);
}

/* The class a request asks for, "" when it asks for none; what no class can be called reads as NO_CLASS. */
static void asked_class(const struct http_head *h, char out[POLICY_NAME_MAX + 1])
{
    const struct http_field *f = http_head_field(h, "tw-data-class");
    struct span asked = { f ? f->value.p : "", f ? f->value.n : 0 };
    receipt_class(asked, out);
}

/* The class a receipt names, from which the auditor decides again: an unknown one as it was asked for. */
static const char *in_force(const struct policy_decision *p, const char *asked)
{
    return !p->data_class[0] || !strcmp(p->rule, "builtin/unknown-class") ? asked : p->data_class;
}

bool draft_decide(struct draft *d, const struct trustlog_model *m, const struct http_head *h, const char *tenant,
                  struct policy_decision *out)
{
    char data_class[POLICY_NAME_MAX + 1];
    *out = (struct policy_decision){ .allow = true };
    if (!d->log)
        return true;
    asked_class(h, data_class);
    trustlog_describe(d->log, &d->r);
    snprintf(d->tenant, sizeof d->tenant, "%s", tenant ? tenant : "");
    d->r.has_model = m->is_signed;
    memcpy(d->r.model, m->note, sizeof d->r.model);
    const struct policy_request q = { .tenant = d->tenant, .model = m->is_signed ? m->name : NULL,
                                      .data_class = data_class[0] ? data_class : NULL,
                                      .is_signed = d->r.has_reqsig };
    trustlog_decide(d->log, &q, out);
    d->decided = true;
    d->r.allow = out->allow;
    snprintf(d->r.rule, sizeof d->r.rule, "%s", out->rule);
    snprintf(d->r.data_class, sizeof d->r.data_class, "%s", in_force(out, data_class));
    return out->allow;
}

bool draft_may_seal(struct draft *d, const struct trustlog_model *m, const char *tenant, struct policy_decision *out)
{
    struct policy_decision when_signed;
    *out = (struct policy_decision){ .allow = true };
    d->r.has_model = m->is_signed;
    memcpy(d->r.model, m->note, sizeof d->r.model);
    snprintf(d->tenant, sizeof d->tenant, "%s", tenant);
    if (!*tenant)
        return true; /* the signature inside will name it */
    struct policy_request q = { .tenant = tenant, .model = m->is_signed ? m->name : NULL, .is_sealed = true };
    trustlog_decide(d->log, &q, out);
    q.is_signed = true;
    trustlog_decide(d->log, &q, &when_signed);
    if (out->allow || when_signed.allow)
        return true;
    d->decided = true;
    snprintf(d->r.rule, sizeof d->r.rule, "%s", out->rule);
    snprintf(d->r.data_class, sizeof d->r.data_class, "%s", out->data_class);
    return false;
}

static bool take_hash(const json_t *v, const char *key, uint8_t out[HASH_BYTES])
{
    const char *s = json_string_value(json_object_get(v, key));
    return s && code_unhex(out, HASH_BYTES, span_of(s));
}

bool draft_from_engine(struct draft *d, const json_t *v)
{
    const char *rule = "", *data_class = "", *tenant = "", *policy = "";
    struct err e = { 0 };
    if (!json_is_object(v) || jsonx_get_string(v, "rule", &rule, &e) || jsonx_get_string(v, "class", &data_class, &e) ||
        jsonx_get_string(v, "tenant", &tenant, &e) || jsonx_get_string(v, "policy", &policy, &e) ||
        !take_hash(v, "request", d->r.request))
        return false;
    d->decided = true;
    d->r.has_policy = code_unhash_text(d->r.policy, span_of(policy)); /* the one it was decided by */
    d->r.allow = json_is_true(json_object_get(v, "allow"));
    d->r.has_reqsig = take_hash(v, "reqsig", d->r.reqsig);
    d->r.has_response = d->by_engine = take_hash(v, "response", d->r.response);
    snprintf(d->r.rule, sizeof d->r.rule, "%s", rule);
    snprintf(d->r.data_class, sizeof d->r.data_class, "%s", data_class);
    snprintf(d->tenant, sizeof d->tenant, "%s", tenant);
    return true;
}

void draft_deny(struct draft *d, const char *rule)
{
    if (!d->log)
        return;
    d->decided = true;
    d->r.allow = false;
    snprintf(d->r.rule, sizeof d->r.rule, "%s", rule);
}

void draft_response(struct draft *d, const void *data, size_t n)
{
    if (!d->log)
        return;
    d->r.has_response = true;
    commit_add(&d->response, data, n);
}

void draft_tokens(struct draft *d, int64_t n)
{
    int64_t most = -(int64_t)d->r.tokens_out;
    d->r.tokens_out += (uint64_t)(n > most ? n : most);
    if (d->r.computed_count && n > 0)
        d->r.computed[d->part].tokens += (uint64_t)n;
}

json_t *draft_places(const struct draft *d, const struct trustlog_model *m)
{
    if (!d->log)
        return NULL;
    const struct policy_request q = { .tenant = d->tenant, .model = m->is_signed ? m->name : NULL,
                                      .data_class = d->r.data_class[0] ? d->r.data_class : NULL,
                                      .is_signed = d->r.has_reqsig };
    return trustlog_places(d->log, &q);
}

static void name_part(struct computed *out, const struct fleet_part *p)
{
    const char *cc = p->place.jurisdiction;
    bool country = isalpha((unsigned char)cc[0]) && isalpha((unsigned char)cc[1]) && !cc[2];
    snprintf(out->jurisdiction, sizeof out->jurisdiction, "%c%c", country ? toupper((unsigned char)cc[0]) : 'Z',
             country ? toupper((unsigned char)cc[1]) : 'Z');
    snprintf(out->site, sizeof out->site, "%s", p->place.site);
    snprintf(out->worker, sizeof out->worker, "%s", p->place.name);
    out->boot = p->boot;
    out->has_model = code_unhex(out->model, HASH_BYTES, span_of(p->hash));
    out->has_numerics = code_unhex(out->numerics, HASH_BYTES, span_of(p->numerics));
}

void draft_computed(struct draft *d, const struct fleet_call *c)
{
    if (!d->log || d->filed)
        return;
    for (; d->r.computed_count < c->part_count; d->r.computed_count++)
        name_part(&d->r.computed[d->r.computed_count], &c->parts[d->r.computed_count]);
    d->part = c->part;
}

/* What was not seen to be given piece by piece is his who answered last: it made the answer. What was taken back is
 * his too, as far as he had given any. The arithmetic is that of who answered. */
static void settle_parts(struct receipt *r, int part)
{
    uint64_t sum = 0;
    for (int i = 0; i < r->computed_count; i++)
        sum += r->computed[i].tokens;
    for (int n = 0; n < r->computed_count && sum > r->tokens_out; n++) {
        int i = (part + r->computed_count - n) % r->computed_count;
        uint64_t over = sum - r->tokens_out, had = r->computed[i].tokens;
        r->computed[i].tokens -= over < had ? over : had;
        sum -= over < had ? over : had;
    }
    if (!r->computed_count)
        return;
    struct computed *last = &r->computed[part];
    last->tokens += r->tokens_out - sum;
    r->has_numerics = last->has_numerics;
    memcpy(r->numerics, last->numerics, HASH_BYTES);
}

void draft_usage(struct draft *d, const json_t *usage)
{
    int64_t prompt = (int64_t)d->r.tokens_in, output = (int64_t)d->r.tokens_out, seed = (int64_t)d->r.seed;
    const char *sampling = NULL;
    if (!d->log)
        return;
    jsonx_get_int(usage, "prompt_tokens", 0, INT64_MAX, &prompt, NULL);
    jsonx_get_int(usage, "completion_tokens", 0, INT64_MAX, &output, NULL);
    jsonx_get_int(usage, "seed", 0, INT64_MAX, &seed, NULL);
    jsonx_get_string(usage, "sampling", &sampling, NULL);
    d->r.tokens_in = (uint64_t)prompt;
    d->r.tokens_out = output > (int64_t)d->r.tokens_out ? (uint64_t)output : d->r.tokens_out;
    d->r.has_seed |= json_is_integer(json_object_get(usage, "seed"));
    d->r.seed = (uint64_t)seed;
    if (sampling)
        snprintf(d->r.sampling, sizeof d->r.sampling, "%s", sampling);
}

void draft_file(struct draft *d, const char *finish, trustlog_done done, void *arg)
{
    if (!d->log || d->filed)
        return;
    d->filed = true;
    if (!d->decided)
        draft_deny(d, "gate/request");
    d->r.has_response |= d->r.allow; /* an answer that was cut before its first byte commits to nothing, but says so */
    if (!d->by_engine)
        commit_end(&d->response, d->r.response);
    snprintf(d->r.finish, sizeof d->r.finish, "%s", finish);
    d->r.ended = clock_wall_s();
    if (d->r.ended < d->r.started)
        d->r.ended = d->r.started; /* the clock was turned back */
    settle_parts(&d->r, d->part);
    trustlog_receipt(d->log, &d->r, d->tenant, done, arg);
}

void draft_headers(const struct draft *d, struct span note, struct buf *lines)
{
    struct buf b = { 0 };
    if (!d->log)
        return;
    http_field_write(lines, "TW-Receipt-Id", d->r.id);
    code_base64(&b, d->salt, sizeof d->salt);
    http_field_write(lines, "TW-Receipt-Salt", buf_str(&b));
    buf_clear(&b);
    if (note.len) {
        code_base64(&b, note.data, note.len);
        http_field_write(lines, "TW-Receipt", buf_str(&b));
    }
    buf_release(&b);
}

void draft_comment(struct span note, struct buf *out)
{
    buf_puts(out, ": tw-receipt ");
    code_base64(out, note.data, note.len);
    buf_puts(out, "\n\n");
}

/* ---- replies that wait for their receipt */

struct waiting {
    struct waiting *next, *prev;
    struct front *front;
    struct http_exchange *x; /* NULL: its client left */
    struct draft draft;
    int status;
    struct buf type, headers, body;
};

bool receipts_wanted(struct front *f, const struct http_exchange *x)
{
    const struct route *r = route_of(x);
    return f->trust && r->id_prefix;
}

static void release(struct waiting *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        w->front->waiting = w->next;
    if (w->next)
        w->next->prev = w->prev;
    buf_release(&w->type);
    buf_release(&w->headers);
    buf_release(&w->body);
    mem_free(w);
}

static void receipt_is_there(void *arg, const struct trustlog_answer *a)
{
    struct waiting *w = arg;
    struct http_exchange *x = w->x;
    static const char broken[] = "{\"error\":{\"message\":\"the receipt of this request could not be kept\","
                                 "\"type\":\"server_error\"}}";
    if (x && a->code) {
        const struct http_reply r = { .status = 503, .content_type = "application/json", .close = true };
        front_reply_bytes(w->front, x, &r, broken, sizeof broken - 1);
    } else if (x) {
        draft_headers(&w->draft, a->text, &w->headers);
        const struct http_reply r = { .status = w->status, .content_type = buf_str(&w->type),
                                      .headers = buf_str(&w->headers) };
        front_reply_bytes(w->front, x, &r, w->body.data, w->body.len);
    }
    release(w);
}

/* Which refusal of ours a status stands for, in a receipt. */
static const char *rule_of(const struct error *e)
{
    switch (e->status) {
    case 401: return "gate/key";
    case 403: return e->code && !strcmp(e->code, "jurisdiction_not_allowed") ? "limit/place" : "limit/model";
    case 404: return "gate/not-found";
    case 409:
    case 422: return "gate/repeat";
    case 421: return "gate/host";
    case 429: return "limit/rate";
    default: return e->status >= 500 ? "limit/busy" : "gate/request";
    }
}

static struct waiting *hold(struct front *f, struct http_exchange *x, const struct draft *d, int status)
{
    struct waiting *w = MEM_NEW(struct waiting);
    *w = (struct waiting){ .front = f, .x = x, .next = f->waiting, .status = status };
    if (w->next)
        w->next->prev = w;
    f->waiting = w;
    if (d && d->log)
        w->draft = *d;
    else
        draft_begin(&w->draft, f->trust, NULL, http_request_body(x));
    http_exchange_set_user(x, NULL);
    http_request_hold(x);
    return w;
}

void receipts_refuse(struct front *f, struct http_exchange *x, const struct draft *d, const struct error *e,
                     const char *headers)
{
    struct waiting *w = hold(f, x, d, e->status);
    bool by_limits = w->draft.r.allow && (e->status == 429 || e->status == 403); /* after the policy had allowed it */
    if (!w->draft.decided || by_limits)
        draft_deny(&w->draft, rule_of(e));
    buf_puts(&w->headers, headers ? headers : "");
    buf_puts(&w->type, "application/json");
    error_body(route_of(x)->dialect, e, &w->body);
    draft_response(&w->draft, w->body.data, w->body.len);
    draft_file(&w->draft, w->draft.r.allow ? "error" : "denied", receipt_is_there, w);
}

void receipts_problem(struct front *f, struct http_exchange *x, const struct draft *d,
                      const struct policy_decision *why)
{
    struct waiting *w = hold(f, x, d, 403);
    buf_puts(&w->type, "application/problem+json");
    policy_problem(why, &w->body);
    draft_response(&w->draft, w->body.data, w->body.len);
    draft_file(&w->draft, "denied", receipt_is_there, w);
}

static struct waiting *find(struct front *f, const struct http_exchange *x)
{
    struct waiting *w = f->waiting;
    while (w && w->x != x)
        w = w->next;
    return w;
}

bool receipts_waiting(struct front *f, const struct http_exchange *x)
{
    return find(f, x) != NULL;
}

bool receipts_gone(struct front *f, const struct http_exchange *x)
{
    struct waiting *w = find(f, x);
    if (w)
        w->x = NULL;
    return w != NULL;
}
