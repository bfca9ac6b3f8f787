/* book -- see book.h. Admission walks a request's subjects (key, team, tenant, model) twice: all must fit, then all
 * hold. */
#include "ledger/book.h"

#include "base/assert.h"
#include "base/mem.h"
#include "ledger/charge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct subject {
    enum ledger_scope scope;
    int64_t id;
    char name[LEDGER_NAME_MAX + 1];
    int weight, priority; /* tenants */
    int64_t tenant;       /* teams: whose it is */
    struct ledger_limits limits;
    struct meter meter;
    int64_t energy_mj, energy_tokens; /* models: what a token has cost so far, for worst cases */
    struct ledger_total total;        /* tenants: of durable rows; its name is filled in when asked */
};

struct key {
    struct ledger_key pub;
    struct dir_key raw;
    struct subject *subject, *team, *tenant;
};

struct list { /* pointers ordered by id */
    struct subject **v;
    int count, cap;
};

struct ticket {
    bool live;
    int next_free;
    struct book_booking booking;
    struct subject *subjects[LEDGER_SCOPES]; /* NULL where there is none */
    struct meter_amount held;
    struct price price;
    struct charge charge;
};

struct book {
    struct list subjects[LEDGER_SCOPES];
    struct key **keys;           /* ordered by id */
    int key_count, key_cap, live_keys;
    struct key **by_hash;        /* open addressing; hashes are uniform as they are */
    size_t slots;                /* a power of two */
    struct dir_price *prices;
    int price_count;
    struct ticket *tickets;      /* [LEDGER_IN_FLIGHT_MAX] */
    int first_free, in_flight;
    struct charge_pool energy;
    struct charge **running;     /* [LEDGER_IN_FLIGHT_MAX], for book_energy */
};

const char *const ledger_limit_names[LEDGER_LIMITS] = {
    "requests per minute", "tokens per minute", "concurrent requests", "tokens per day", "tokens per month",
    "money per day", "money per month", "energy per day", "energy per month",
};
const char *const ledger_scope_names[LEDGER_SCOPES] = { "key", "team", "tenant", "model" };
const char *const ledger_role_names[] = { "user", "admin", "auditor" };

struct book *book_new(void)
{
    struct book *b = MEM_NEW(struct book);
    b->tickets = mem_new(LEDGER_IN_FLIGHT_MAX, sizeof *b->tickets);
    b->running = mem_new(LEDGER_IN_FLIGHT_MAX, sizeof(struct charge *));
    for (int i = 0; i < LEDGER_IN_FLIGHT_MAX; i++)
        b->tickets[i].next_free = i + 1 < LEDGER_IN_FLIGHT_MAX ? i + 1 : -1;
    return b;
}

void book_free(struct book *b)
{
    if (!b)
        return;
    for (int s = 0; s < LEDGER_SCOPES; s++) {
        for (int i = 0; i < b->subjects[s].count; i++)
            mem_free(b->subjects[s].v[i]);
        mem_free(b->subjects[s].v);
    }
    for (int i = 0; i < b->key_count; i++)
        mem_free(b->keys[i]);
    mem_free(b->keys);
    mem_free(b->by_hash);
    mem_free(b->prices);
    mem_free(b->tickets);
    mem_free(b->running);
    mem_free(b);
}

/* ---- what the file says */

static struct subject *find_subject(const struct book *b, enum ledger_scope scope, int64_t id)
{
    const struct list *l = &b->subjects[scope];
    for (int lo = 0, hi = l->count; lo < hi;) {
        int mid = lo + (hi - lo) / 2;
        if (l->v[mid]->id == id)
            return l->v[mid];
        if (l->v[mid]->id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static struct subject *update_subject(struct book *b, enum ledger_scope scope, int64_t id, const char *name,
                                      const struct ledger_limits *limits)
{
    struct subject *s = find_subject(b, scope, id);
    if (!s) { /* ids only grow: a new one belongs at the end */
        struct list *l = &b->subjects[scope];
        ASSERT(!l->count || l->v[l->count - 1]->id < id);
        if (l->count == l->cap) {
            l->cap = l->cap ? l->cap * 2 : 16;
            l->v = mem_grow(l->v, (size_t)l->cap, sizeof *l->v);
        }
        s = l->v[l->count++] = MEM_NEW(struct subject);
        s->scope = scope;
        s->id = id;
        s->weight = 1;
    }
    snprintf(s->name, sizeof s->name, "%s", name);
    s->limits = *limits;
    return s;
}

static struct key *find_key_by_id(const struct book *b, int64_t id)
{
    for (int lo = 0, hi = b->key_count; lo < hi;) {
        int mid = lo + (hi - lo) / 2;
        if (b->keys[mid]->raw.id == id)
            return b->keys[mid];
        if (b->keys[mid]->raw.id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static void update_key(struct book *b, const struct dir_key *d)
{
    struct key *k = find_key_by_id(b, d->id);
    if (!find_subject(b, LEDGER_TENANT, d->tenant))
        return; /* the file was changed by hand: nobody's key opens nothing */
    if (!k) {
        if (b->key_count == b->key_cap) {
            b->key_cap = b->key_cap ? b->key_cap * 2 : 16;
            b->keys = mem_grow(b->keys, (size_t)b->key_cap, sizeof *b->keys);
        }
        k = b->keys[b->key_count++] = MEM_NEW(struct key);
    }
    k->raw = *d;
    k->subject = update_subject(b, LEDGER_KEY, d->id, d->name, &d->limits);
    k->team = d->team ? find_subject(b, LEDGER_TEAM, d->team) : NULL;
    k->tenant = find_subject(b, LEDGER_TENANT, d->tenant);
    k->pub = (struct ledger_key){ .id = d->id, .tenant_id = d->tenant, .name = k->raw.name, .tenant = k->tenant->name,
                                  .team = k->team ? k->team->name : "", .models = k->raw.models,
                                  .jurisdictions = k->raw.jurisdictions, .role = d->role,
                                  .weight = k->tenant->weight, .priority_max = k->tenant->priority,
                                  .team_id = d->team };
}

static size_t slot_of(const struct book *b, const uint8_t hash[LEDGER_HASH_BYTES])
{
    uint64_t h;
    memcpy(&h, hash, sizeof h);
    return (size_t)h & (b->slots - 1);
}

static void index_keys(struct book *b)
{
    mem_free(b->by_hash);
    for (b->slots = 16; b->slots < (size_t)b->key_count * 2; b->slots *= 2)
        ;
    b->by_hash = mem_new(b->slots, sizeof(struct key *));
    b->live_keys = 0;
    for (int i = 0; i < b->key_count; i++) {
        size_t s = slot_of(b, b->keys[i]->raw.hash);
        while (b->by_hash[s])
            s = (s + 1) & (b->slots - 1);
        b->by_hash[s] = b->keys[i];
        b->live_keys += !b->keys[i]->raw.revoked_ms;
    }
}

void book_update(struct book *b, const struct directory *d, bool first)
{
    for (int i = 0; i < d->tenant_count; i++) {
        const struct dir_tenant *t = &d->tenants[i];
        struct subject *s = update_subject(b, LEDGER_TENANT, t->id, t->name, &t->limits);
        s->weight = t->weight;
        s->priority = t->priority;
    }
    for (int i = 0; i < d->team_count; i++)
        update_subject(b, LEDGER_TEAM, d->teams[i].id, d->teams[i].name, &d->teams[i].limits)->tenant =
            d->teams[i].tenant;
    for (int i = 0; i < d->model_count; i++)
        update_subject(b, LEDGER_MODEL, d->models[i].id, d->models[i].name, &d->models[i].limits);
    for (int i = 0; i < d->key_count; i++)
        update_key(b, &d->keys[i]);
    index_keys(b);
    mem_free(b->prices);
    b->prices = d->price_count ? mem_dup(d->prices, (size_t)d->price_count * sizeof *d->prices) : NULL;
    b->price_count = d->price_count;
    for (int i = 0; first && i < d->used_count; i++) {
        struct subject *s = find_subject(b, d->used[i].scope, d->used[i].id);
        if (!s)
            continue;
        memcpy(s->meter.used, d->used[i].used, sizeof s->meter.used);
        s->meter.day = d->day;
        s->meter.month = d->month;
    }
}

int book_key_count(const struct book *b)
{
    return b->live_keys;
}

enum ledger_found book_find_key(const struct book *b, const uint8_t hash[LEDGER_HASH_BYTES], int64_t now_ms,
                                const struct ledger_key **out)
{
    for (size_t s = b->slots ? slot_of(b, hash) : 0; b->slots && b->by_hash[s]; s = (s + 1) & (b->slots - 1)) {
        const struct key *k = b->by_hash[s];
        if (memcmp(k->raw.hash, hash, LEDGER_HASH_BYTES))
            continue;
        if (k->raw.revoked_ms)
            return LEDGER_REVOKED;
        if (k->raw.expires_ms && k->raw.expires_ms <= now_ms)
            return LEDGER_EXPIRED;
        *out = &k->pub;
        return LEDGER_FOUND;
    }
    return LEDGER_UNKNOWN;
}

static struct subject *find_named(const struct book *b, enum ledger_scope scope, const char *name)
{
    for (int i = 0; i < b->subjects[scope].count; i++)
        if (!strcmp(b->subjects[scope].v[i]->name, name))
            return b->subjects[scope].v[i];
    return NULL;
}

bool book_principal(const struct book *b, const char *tenant, const char *team, struct ledger_key *out)
{
    const struct subject *t = find_named(b, LEDGER_TENANT, tenant), *in = NULL;
    if (!t)
        return false;
    for (int i = 0; *team && i < b->subjects[LEDGER_TEAM].count; i++) {
        const struct subject *s = b->subjects[LEDGER_TEAM].v[i];
        if (s->tenant == t->id && !strcmp(s->name, team))
            in = s;
    }
    *out = (struct ledger_key){ .tenant_id = t->id, .name = "", .tenant = t->name, .team = in ? in->name : "",
                                .models = "", .jurisdictions = "", .role = LEDGER_USER, .weight = t->weight,
                                .priority_max = t->priority, .team_id = in ? in->id : 0 };
    return true;
}

const struct ledger_key *book_key_by_id(const struct book *b, int64_t id, int64_t now_ms)
{
    const struct key *k = find_key_by_id(b, id);
    bool valid = k && !k->raw.revoked_ms && (!k->raw.expires_ms || k->raw.expires_ms > now_ms);
    return valid ? &k->pub : NULL;
}

/* ---- one request */

/* The last price of this model, else of "*", that is in force. */
static struct price find_price(const struct book *b, const char *model, int64_t now_ms)
{
    struct price own = { 0 }, any = { 0 };
    bool has_own = false;
    for (int i = 0; i < b->price_count; i++) {
        const struct dir_price *p = &b->prices[i];
        if (p->from_ms > now_ms)
            continue;
        if (!strcmp(p->model, model)) {
            own = p->price;
            has_own = true;
        } else if (!strcmp(p->model, "*")) {
            any = p->price;
        }
    }
    return has_own ? own : any;
}

static int64_t clamp_tokens(int64_t n)
{
    return n < 0 ? 0 : n > PRICE_TOKENS_MAX ? PRICE_TOKENS_MAX : n;
}

static struct meter_amount worst_case(const struct ticket *t, int64_t prompt, int64_t output)
{
    const struct subject *model = t->subjects[LEDGER_MODEL];
    int64_t tokens = clamp_tokens(prompt) + clamp_tokens(output);
    int64_t energy = model && model->energy_tokens ?
                     (int64_t)((double)model->energy_mj / (double)model->energy_tokens * (double)tokens) : 0;
    struct price dearest = t->price; /* nothing of it may come from the cache */
    return (struct meter_amount){ { tokens, price_cost(&dearest, prompt, 0, output), energy } };
}

static bool all_fit(struct ticket *t, const struct meter_amount *need, const struct meter_amount *old, int64_t now_ms,
                    struct ledger_answer *out)
{
    struct meter_refusal worst = { 0, 0 }, why;
    bool ok = true;
    for (int s = 0; s < LEDGER_SCOPES; s++) {
        struct subject *x = t->subjects[s];
        if (!x || meter_fits(&x->meter, &x->limits, need, old, now_ms, &why))
            continue;
        if (ok || why.retry_ms < 0 || (worst.retry_ms >= 0 && why.retry_ms > worst.retry_ms)) {
            worst = why;
            out->scope = (enum ledger_scope)s;
        }
        ok = false;
    }
    if (ok)
        return true;
    const char *name = t->subjects[out->scope]->name, *scope = ledger_scope_names[out->scope];
    out->limit = worst.limit;
    out->verdict = worst.retry_ms < 0 ? LEDGER_TOO_LARGE : LEDGER_LIMITED;
    if (worst.retry_ms < 0) {
        snprintf(out->message, sizeof out->message, "this request could use more than the %s '%s' may ever have (%s); "
                 "lower max_tokens or shorten the prompt", scope, name, ledger_limit_names[worst.limit]);
    } else {
        out->retry_after_s = (worst.retry_ms + 999) / 1000;
        snprintf(out->message, sizeof out->message, "the %s '%s' has reached its limit of %s; try again in %lld s",
                 scope, name, ledger_limit_names[worst.limit], (long long)out->retry_after_s);
    }
    return false;
}

/* The tightest of the subjects: the one with the smallest share of its limit left. */
static void tightest(const struct ticket *t, enum ledger_limit which, int64_t now_ms, struct ledger_rate *out)
{
    for (int s = 0; s < LEDGER_SCOPES; s++) {
        struct subject *x = t->subjects[s];
        struct ledger_rate r = x ? meter_rate(&x->meter, &x->limits, which, now_ms) : (struct ledger_rate){ 0 };
        if (r.limit && (!out->limit || r.remaining < out->remaining))
            *out = r;
    }
}

static int64_t tokens_for(int64_t left, int64_t per_million)
{
    if (left == INT64_MAX || per_million <= 0)
        return INT64_MAX;
    return left / per_million > INT64_MAX / 2000000 ? INT64_MAX :
           left / per_million * 1000000 + left % per_million * 1000000 / per_million;
}

/* What the request may use in all: what it holds and what nobody else holds, under every limit. */
static int64_t allowance(const struct ticket *t, int64_t now_ms)
{
    const struct price *p = &t->price;
    int64_t dearest = p->prompt > p->output ? p->prompt : p->output, most = INT64_MAX;
    for (int s = 0; s < LEDGER_SCOPES; s++) {
        struct subject *x = t->subjects[s];
        if (!x)
            continue;
        int64_t tokens = meter_left(&x->meter, &x->limits, METER_TOKENS, now_ms);
        int64_t money = tokens_for(meter_left(&x->meter, &x->limits, METER_MONEY, now_ms), dearest);
        most = tokens < most ? tokens : most;
        most = money < most ? money : most;
    }
    return most == INT64_MAX ? -1 : most + t->held.v[METER_TOKENS];
}

static void finish_answer(const struct ticket *t, int64_t now_ms, struct ledger_answer *out)
{
    out->allowance_tokens = allowance(t, now_ms);
    tightest(t, LEDGER_REQUESTS_MINUTE, now_ms, &out->requests);
    tightest(t, LEDGER_TOKENS_MINUTE, now_ms, &out->tokens);
}

static void fill_ticket(struct book *b, struct ticket *t, const struct ledger_ask *ask, int64_t now_ms)
{
    const struct ledger_key *pub = ask->key; /* of a key, or of a token somebody else issued: then its id is 0 */
    const struct key *k = pub && pub->id ? find_key_by_id(b, pub->id) : NULL;
    t->booking = (struct book_booking){ .key = k ? k->raw.id : 0, .team = pub ? pub->team_id : 0,
                                        .tenant = pub ? pub->tenant_id : 1, .started_ms = now_ms };
    snprintf(t->booking.request_id, sizeof t->booking.request_id, "%s", ask->request_id);
    snprintf(t->booking.model, sizeof t->booking.model, "%s", ask->model);
    t->subjects[LEDGER_KEY] = k ? k->subject : NULL;
    t->subjects[LEDGER_TEAM] = t->booking.team ? find_subject(b, LEDGER_TEAM, t->booking.team) : NULL;
    t->subjects[LEDGER_TENANT] = find_subject(b, LEDGER_TENANT, t->booking.tenant);
    t->subjects[LEDGER_MODEL] = find_named(b, LEDGER_MODEL, ask->model);
    t->price = find_price(b, ask->model, now_ms);
    t->held = (struct meter_amount){ { 0 } };
    t->charge = (struct charge){ 0 };
}

void book_admit(struct book *b, const struct ledger_ask *ask, int64_t now_ms, struct ledger_answer *out)
{
    *out = (struct ledger_answer){ .ticket = -1, .allowance_tokens = -1 };
    if (ask->key && !ledger_key_may_use(ask->key, ask->model)) {
        out->verdict = LEDGER_FORBIDDEN;
        snprintf(out->message, sizeof out->message, "this key may not use the model '%.100s'", ask->model);
        return;
    }
    if (b->first_free < 0) {
        out->verdict = LEDGER_BUSY;
        out->retry_after_s = 1;
        snprintf(out->message, sizeof out->message, "more than %d requests are in flight; try again in a moment",
                 LEDGER_IN_FLIGHT_MAX);
        return;
    }
    int at = b->first_free;
    struct ticket *t = &b->tickets[at];
    fill_ticket(b, t, ask, now_ms);
    struct meter_amount need = worst_case(t, ask->prompt_tokens, ask->output_tokens);
    if (all_fit(t, &need, NULL, now_ms, out)) {
        for (int s = 0; s < LEDGER_SCOPES; s++)
            if (t->subjects[s])
                meter_hold(&t->subjects[s]->meter, &t->subjects[s]->limits, &need, NULL, now_ms);
        t->held = need;
        t->live = true;
        b->first_free = t->next_free;
        b->in_flight++;
        out->ticket = at;
    }
    finish_answer(t, now_ms, out);
}

static struct ticket *live_ticket(struct book *b, int ticket)
{
    ASSERT(ticket >= 0 && ticket < LEDGER_IN_FLIGHT_MAX && b->tickets[ticket].live);
    return &b->tickets[ticket];
}

struct meter_amount book_held(const struct book *b, int ticket)
{
    ASSERT(ticket >= 0 && ticket < LEDGER_IN_FLIGHT_MAX && b->tickets[ticket].live);
    return b->tickets[ticket].held;
}

void book_revise(struct book *b, int ticket, int64_t prompt_tokens, int64_t output_tokens, int64_t now_ms,
                 struct ledger_answer *out)
{
    struct ticket *t = live_ticket(b, ticket);
    *out = (struct ledger_answer){ .ticket = ticket };
    struct meter_amount need = worst_case(t, prompt_tokens, output_tokens);
    if (all_fit(t, &need, &t->held, now_ms, out)) {
        for (int s = 0; s < LEDGER_SCOPES; s++)
            if (t->subjects[s])
                meter_hold(&t->subjects[s]->meter, &t->subjects[s]->limits, &need, &t->held, now_ms);
        t->held = need;
    }
    finish_answer(t, now_ms, out);
}

static void end_ticket(struct book *b, int ticket, const struct meter_amount *used, int64_t now_ms)
{
    struct ticket *t = live_ticket(b, ticket);
    for (int s = 0; s < LEDGER_SCOPES; s++)
        if (t->subjects[s])
            meter_settle(&t->subjects[s]->meter, &t->subjects[s]->limits, &t->held, used, now_ms);
    t->live = false;
    t->next_free = b->first_free;
    b->first_free = ticket;
    b->in_flight--;
}

void book_settle(struct book *b, int ticket, const struct ledger_use *use, int64_t now_ms, struct book_settled *out)
{
    struct ticket *t = live_ticket(b, ticket);
    int64_t charged = charge_end(&b->energy, &t->charge), energy = use->energy_mj < 0 ? charged : use->energy_mj;
    int64_t prompt = clamp_tokens(use->prompt_tokens), output = clamp_tokens(use->output_tokens);
    int64_t cached = clamp_tokens(use->cached_tokens), tokens = prompt + output;
    cached = cached < prompt ? cached : prompt;
    int64_t cost = price_cost(&t->price, prompt, cached, output);
    *out = (struct book_settled){ .booking = t->booking, .prompt_tokens = prompt, .cached_tokens = cached,
                                  .output_tokens = output, .cost_micros = cost, .settled_ms = now_ms,
                                  .energy_modelled = use->energy_mj < 0 ? t->charge.modelled : use->energy_modelled,
                                  .used = { { tokens, cost, energy } } };
    memcpy(out->subjects, t->subjects, sizeof out->subjects);
    struct subject *model = t->subjects[LEDGER_MODEL];
    if (model) {
        model->energy_mj += out->used.v[METER_ENERGY];
        model->energy_tokens += tokens;
    }
    end_ticket(b, ticket, &out->used, now_ms);
}

void book_worked(struct book *b, int ticket, int64_t tokens)
{
    charge_work(&b->energy, &live_ticket(b, ticket)->charge, tokens);
}

void book_energy(struct book *b, int64_t mj, bool modelled)
{
    int n = 0;
    for (int i = 0; i < LEDGER_IN_FLIGHT_MAX && n < b->in_flight; i++)
        if (b->tickets[i].live)
            b->running[n++] = &b->tickets[i].charge;
    charge_reading(&b->energy, b->running, n, mj, modelled);
}

int64_t book_idle_mj(const struct book *b)
{
    return b->energy.idle_mj;
}

void book_abandon(struct book *b, int ticket, int64_t now_ms)
{
    static const struct meter_amount nothing = { { 0 } };
    charge_end(&b->energy, &live_ticket(b, ticket)->charge);
    end_ticket(b, ticket, &nothing, now_ms);
}

void book_take_back(struct book *b, const struct book_settled *s, int64_t now_ms)
{
    for (int i = 0; i < LEDGER_SCOPES; i++) {
        struct subject *x = s->subjects[i];
        if (x)
            meter_unuse(&x->meter, &s->used, s->settled_ms, now_ms);
    }
}

static void total_add(struct ledger_total *to, const struct ledger_total *t)
{
    to->requests += t->requests;
    for (int i = 0; i < 3; i++)
        to->tokens[i] += t->tokens[i];
    to->cost_micros += t->cost_micros;
    to->energy_mj += t->energy_mj;
}

void book_total_add(const struct book_settled *s)
{
    struct ledger_total t = { .requests = 1, .tokens = { s->prompt_tokens, s->cached_tokens, s->output_tokens },
                              .cost_micros = s->cost_micros, .energy_mj = s->used.v[METER_ENERGY] };
    struct subject *tenant = s->subjects[LEDGER_TENANT];
    if (tenant)
        total_add(&tenant->total, &t);
}

int book_totals(const struct book *b, struct ledger_total *out, int max)
{
    const struct list *l = &b->subjects[LEDGER_TENANT];
    int count = 0;
    ASSERT(max > 0);
    for (int i = 0; i < l->count; i++) {
        const struct subject *s = l->v[i];
        bool new = count < max;
        if (new)
            out[count++] = (struct ledger_total){ .requests = 0 };
        struct ledger_total *t = &out[count - 1];
        total_add(t, &s->total);
        snprintf(t->tenant, sizeof t->tenant, "%s", new ? s->name : "(others)");
    }
    return count;
}

int book_in_flight(const struct book *b)
{
    return b->in_flight;
}

bool book_limits(const struct book *b, enum ledger_scope scope, int64_t id, struct ledger_limits *out)
{
    const struct subject *s = find_subject(b, scope, id);
    if (s)
        *out = s->limits;
    return s != NULL;
}

bool book_used(struct book *b, enum ledger_scope scope, int64_t id, int64_t now_ms, int64_t used[2][METER_KINDS],
               int64_t held[METER_KINDS])
{
    struct subject *s = find_subject(b, scope, id);
    if (!s)
        return false;
    static const struct meter_amount nothing = { { 0 } };
    meter_unuse(&s->meter, &nothing, now_ms, now_ms); /* brings it to the present period */
    memcpy(used, s->meter.used, sizeof s->meter.used);
    memcpy(held, s->meter.held, sizeof s->meter.held);
    return true;
}
