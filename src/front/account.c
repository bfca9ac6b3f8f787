/* account -- see account.h. */
#include "front/account.h"

#include "base/clock.h"
#include "base/mem.h"

#include <string.h>

enum { ENERGY_EVERY_MS = 1000 };

struct accounts {
    struct ledger *ledger;
    struct loop_watch *watch;
    struct loop_timer *timer;
    struct energy *energy;
    bool locked; /* a key was seen: revoking the last one must not open the doors */
};

static int64_t now_ms(void)
{
    return clock_wall_ns() / 1000000;
}

static void poll_ledger(void *arg)
{
    struct accounts *a = arg;
    ledger_poll(a->ledger, now_ms());
    accounts_have_keys(a); /* looks, so that a key revoked before anybody asked has locked too */
}

static void read_energy(void *arg)
{
    struct accounts *a = arg;
    ledger_energy(a->ledger, energy_read(a->energy, clock_mono_ns()), energy_modelled(a->energy));
    loop_timer_set(a->timer, ENERGY_EVERY_MS);
}

struct accounts *accounts_open(struct loop *l, const char *dir, struct err *e)
{
    struct ledger *ledger;
    if (ledger_open(dir, "", now_ms(), &ledger, e))
        return NULL;
    struct accounts *a = MEM_NEW(struct accounts);
    struct energy_model machine = ledger_machine(ledger);
    a->ledger = ledger;
    a->energy = energy_open("", &machine);
    a->watch = loop_watch_new(l, ledger_fd(ledger), poll_ledger, a);
    a->timer = loop_timer_new(l, read_energy, a);
    loop_timer_set(a->timer, ENERGY_EVERY_MS);
    return a;
}

void accounts_close(struct accounts *a)
{
    if (!a)
        return;
    loop_watch_free(a->watch);
    loop_timer_free(a->timer);
    ledger_close(a->ledger);
    energy_close(a->energy);
    mem_free(a);
}

bool accounts_have_keys(struct accounts *a)
{
    if (a && ledger_has_keys(a->ledger))
        a->locked = true;
    return a && a->locked;
}

const struct ledger_key *accounts_key(const struct accounts *a, struct http_slice shown)
{
    const struct ledger_key *key = NULL;
    if (!a || !shown.n || ledger_key_lookup(a->ledger, shown.p, shown.n, now_ms(), &key) != LEDGER_FOUND)
        return NULL;
    return key;
}

bool account_admit(struct accounts *a, struct bill *b, const struct ledger_ask *ask, struct ledger_answer *answer)
{
    *b = (struct bill){ .ticket = -1, .max_output = ask->output_tokens };
    *answer = (struct ledger_answer){ .ticket = -1, .allowance_tokens = -1 };
    if (!a)
        return true;
    ledger_admit(a->ledger, ask, now_ms(), answer);
    b->ticket = answer->verdict == LEDGER_ADMITTED ? answer->ticket : -1;
    return answer->verdict == LEDGER_ADMITTED;
}

static void read_counts(struct bill *b, const json_t *usage)
{
    jsonx_get_int(usage, "prompt_tokens", 0, INT64_MAX, &b->prompt, NULL);
    jsonx_get_int(usage, "cached_tokens", 0, INT64_MAX, &b->cached, NULL);
}

bool account_usage(struct accounts *a, struct bill *b, const json_t *usage, struct ledger_answer *answer)
{
    if (!a || b->ticket < 0)
        return true;
    bool first = !b->counted;
    read_counts(b, usage);
    b->counted = true;
    if (!first)
        return true;
    ledger_revise(a->ledger, b->ticket, b->prompt, b->max_output, now_ms(), answer);
    if (answer->verdict != LEDGER_ADMITTED)
        return false;
    ledger_worked(a->ledger, b->ticket, b->prompt - b->cached);
    return true;
}

void account_data(struct accounts *a, struct bill *b)
{
    if (!a || b->ticket < 0)
        return;
    b->output++;
    ledger_worked(a->ledger, b->ticket, 1);
}

bool account_settle(struct accounts *a, struct bill *b, const json_t *end, const char *finish, ledger_done_fn *done,
                    void *arg)
{
    if (!a || b->ticket < 0)
        return false;
    if (!b->counted) { /* the engine had not begun */
        account_abandon(a, b);
        return false;
    }
    const json_t *usage = json_object_get(end, "usage");
    const char *said = json_string_value(json_object_get(end, "finish"));
    read_counts(b, usage);
    jsonx_get_int(usage, "completion_tokens", 0, INT64_MAX, &b->output, NULL);
    struct ledger_use use = {
        .prompt_tokens = b->prompt, .cached_tokens = b->cached, .output_tokens = b->output, .energy_mj = -1,
        .queue_us = (int64_t)(1000 * json_number_value(json_object_get(end, "queue_ms"))),
        .finish = said ? said : finish,
    };
    ledger_settle(a->ledger, b->ticket, &use, now_ms(), done, arg);
    b->ticket = -1;
    return done != NULL;
}

void account_abandon(struct accounts *a, struct bill *b)
{
    if (a && b->ticket >= 0)
        ledger_abandon(a->ledger, b->ticket, now_ms());
    b->ticket = -1;
}
