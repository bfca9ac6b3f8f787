/* signature -- see signature.h. */
#include "front/signature.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "front/front_impl.h"
#include "trust/gate.h"

#include <stdio.h>
#include <string.h>

struct signatures {
    struct trustlog *log;
    struct gate gate;
};

static enum err_code find_key(void *ctx, struct span keyid, int64_t now_s, struct key_public *key,
                              char tenant[GATE_NAME_MAX + 1], struct err *e)
{
    const struct signatures *s = ctx;
    return trustlog_client(s->log, keyid, key, tenant, e);
}

struct signatures *signatures_new(struct trustlog *t)
{
    if (!t)
        return NULL;
    struct signatures *s = MEM_NEW(struct signatures);
    s->log = t;
    gate_init(&s->gate, "", find_key, s);
    return s;
}

void signatures_free(struct signatures *s)
{
    if (s)
        gate_release(&s->gate);
    mem_free(s);
}

static struct span as_span(struct http_slice s)
{
    return (struct span){ s.p, s.n };
}

/* What a signature can cover, in the form the gate reads: names in small letters, each as often as it is there. */
static void read_message(struct http_exchange *x, struct bhttp_message *m, struct buf *path)
{
    static const char *const names[] = { "content-type", "content-digest", "date", "tw-node", "tw-model",
                                         "tw-data-class", "tw-policy", "signature", "signature-input" };
    const struct http_head *h = http_request_head(x);
    buf_append(path, h->path.p, h->path.n);
    if (h->query.n) {
        buf_putc(path, '?');
        buf_append(path, h->query.p, h->query.n);
    }
    *m = (struct bhttp_message){ .is_request = true, .method = as_span(h->method), .authority = as_span(h->host),
                                 .scheme = SPAN("https"), .path = { buf_str(path), path->len },
                                 .content = as_span(http_request_body(x)) };
    for (int i = 0; i < h->field_count; i++)
        for (size_t k = 0; k < MEM_COUNT(names) && m->field_count < BHTTP_FIELDS_MAX; k++)
            if (http_slice_is_nocase(h->fields[i].name, names[k]))
                m->fields[m->field_count++] = (struct bhttp_field){ span_of(names[k]), as_span(h->fields[i].value) };
}

/* What was agreed on before sending is what runs here. */
static enum err_code check_agreed(const struct front *f, const struct link *k, const struct gate_result *g,
                                  struct err *e)
{
    const struct trustlog_model *m = introduce_model(f, k);
    char note[HASH_TEXT_MAX] = "-";
    if (m->is_signed)
        code_hash_text(note, m->note);
    if (g->is_signed && strcmp(g->model, note))
        return err_set(e, ERR_DENIED, "the request is for another model");
    if (g->is_signed && strcmp(g->policy, trustlog_policy_note(f->trust)))
        return err_set(e, ERR_DENIED, "the request was made under another policy");
    return ERR_OK;
}

bool signature_check(struct front *f, const struct link *k, struct http_exchange *x, struct draft *d,
                     char tenant[SIGNATURE_TENANT_MAX + 1])
{
    struct signatures *s = f->signatures;
    const struct http_head *h = http_request_head(x);
    if (!s || (!http_head_field(h, "signature") && !http_head_field(h, "signature-input")))
        return true; /* whether it needs one is the policy's to say */
    struct bhttp_message *m = MEM_NEW(struct bhttp_message);
    struct gate_result *g = MEM_NEW(struct gate_result);
    struct buf path = { 0 };
    struct err e = { 0 };
    char nodes[INTRODUCE_NODES][INTRODUCE_NODE_MAX + 1];
    int count = introduce_nodes(f, k, nodes);
    snprintf(s->gate.node, sizeof s->gate.node, "%s", count > 0 ? nodes[0] : "");
    snprintf(s->gate.previous_node, sizeof s->gate.previous_node, "%s", count > 1 ? nodes[1] : "");
    read_message(x, m, &path);
    enum err_code c = gate_check(&s->gate, m, NULL, *tenant ? tenant : NULL, clock_wall_s(), g, &e);
    if (!c)
        c = check_agreed(f, k, g, &e);
    if (c) {
        log_line(LOG_INFO, "front", "a signed request was refused: %s", e.text);
    } else if (g->is_signed) {
        d->r.has_reqsig = true;
        memcpy(d->r.reqsig, g->reqsig, sizeof d->r.reqsig);
        snprintf(tenant, SIGNATURE_TENANT_MAX + 1, "%s", g->tenant);
    }
    buf_release(&path);
    mem_free(g);
    mem_free(m);
    return !c;
}
