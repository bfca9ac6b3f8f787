/* claim -- see claim.h. */
#include "front/claim.h"

/* A header's whole number, or what it was without the header. false: it is none, or out of bounds. */
static bool read_header(const struct http_head *h, const char *name, int64_t min, int64_t max, int64_t *out)
{
    const struct http_field *f = http_head_field(h, name);
    if (!f)
        return true;
    bool negative = f->value.n && f->value.p[0] == '-';
    size_t i = negative;
    int64_t v = 0;
    for (; i < f->value.n && f->value.p[i] >= '0' && f->value.p[i] <= '9' && v <= max; i++)
        v = v * 10 + (f->value.p[i] - '0');
    v = negative ? -v : v;
    if (i == negative || i != f->value.n || v < min || v > max)
        return false;
    *out = v;
    return true;
}

static bool refuse(struct error *e, int status, const char *param, const char *code, const char *sentence)
{
    *e = (struct error){ .status = status, .message = sentence, .param = param, .code = code };
    return false;
}

bool claim_read(const struct http_head *h, const struct envelope *env, const struct ledger_key *key,
                struct claim *out, struct error *e, struct err *why)
{
    struct claim c = { .weight = key ? key->weight : 0 };
    if (!read_header(h, "tw-priority", -CLAIM_PRIORITY_MAX, CLAIM_PRIORITY_MAX, &c.priority))
        return refuse(e, 400, "TW-Priority", "invalid_value", "TW-Priority must be a whole number from -100 to 100");
    if (!read_header(h, "tw-deadline-ms", 1, CLAIM_DEADLINE_MS_MAX, &c.deadline_ms))
        return refuse(e, 400, "TW-Deadline-Ms", "invalid_value",
                      "TW-Deadline-Ms must be a whole number of milliseconds from 1 to 86400000");
    c.priority = env->priority ? env->priority : c.priority;
    c.deadline_ms = env->deadline_ms ? env->deadline_ms : c.deadline_ms;
    if (c.priority < -CLAIM_PRIORITY_MAX || c.priority > CLAIM_PRIORITY_MAX)
        return refuse(e, 400, "priority", "invalid_value", "'priority' must be a whole number from -100 to 100");
    if (c.deadline_ms < 0 || c.deadline_ms > CLAIM_DEADLINE_MS_MAX)
        return refuse(e, 400, "deadline_ms", "invalid_value", "'deadline_ms' must be between 1 and 86400000");
    if (key && c.priority > key->priority_max) {
        err_set(why, ERR_DENIED, "the tenant '%.100s' may use classes up to %d, not %lld (tokenworks tenant set NAME "
                "--priority N)", key->tenant, key->priority_max, (long long)c.priority);
        return refuse(e, 403, "priority", "priority_not_allowed", why->text);
    }
    *out = c;
    return true;
}
