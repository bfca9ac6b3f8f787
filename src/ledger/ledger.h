/* ledger -- who may use what, and who used it: tenants, keys, limits, prices and one row for each request, in one
 * SQLite file that survives a power cut.
 *
 * Two threads. The front's thread owns the book (everything in memory): all functions below are called from it, none
 * waits for the disk. A writer thread owns the file: rows go to it through a bounded queue and are committed in
 * groups; what it has made durable comes back through ledger_poll. The commands work on the file themselves
 * (admin.h); a running server notices within a second.
 *
 * L1  A request id has at most one row, whatever is retried, crashes or is said twice.
 * L2  A settled request's done() is called only after its row is on disk (synchronous=FULL): a client that was sent
 *     its last bytes in done() is billed, one that was not is not.
 * L3  An admitted request always has a place in the queue: settling never waits and never fails.
 * L4  Used plus held never passes a budget at admission, so a budget is overrun by no more than the requests in flight
 *     used above their stated worst case.
 *
 * Money is in micro-units of the ledger's currency, energy in millijoules, time in Unix milliseconds (passed in). */
#ifndef LEDGER_LEDGER_H
#define LEDGER_LEDGER_H
#include "base/buf.h"
#include "base/err.h"
#include "ledger/energy.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    LEDGER_KEY_CHARS = 46,        /* "tw-" and 43 base64url characters: 256 random bits */
    LEDGER_HASH_BYTES = 32,
    LEDGER_NAME_MAX = 128,        /* of tenants, teams, keys, models */
    LEDGER_REQUEST_ID_MAX = 80,
    LEDGER_JURISDICTION_MAX = 16,
    LEDGER_IN_FLIGHT_MAX = 16384, /* admitted and not yet durable; beyond: LEDGER_BUSY */
};

enum ledger_limit { /* 0 stands for no limit */
    LEDGER_REQUESTS_MINUTE, LEDGER_TOKENS_MINUTE, LEDGER_CONCURRENT,
    LEDGER_DAY_TOKENS, LEDGER_MONTH_TOKENS,  /* calendar days and months, UTC */
    LEDGER_DAY_MONEY, LEDGER_MONTH_MONEY,    /* micro-units */
    LEDGER_DAY_ENERGY, LEDGER_MONTH_ENERGY,  /* millijoules */
    LEDGER_LIMITS,
};
enum ledger_scope { LEDGER_KEY, LEDGER_TEAM, LEDGER_TENANT, LEDGER_MODEL, LEDGER_SCOPES };
enum ledger_role { LEDGER_USER, LEDGER_ADMIN, LEDGER_AUDITOR };

struct ledger_limits {
    int64_t v[LEDGER_LIMITS];
};
extern const char *const ledger_limit_names[LEDGER_LIMITS]; /* "requests per minute" */
extern const char *const ledger_scope_names[LEDGER_SCOPES]; /* "key" */
extern const char *const ledger_role_names[];               /* "user", "admin", "auditor" */

struct ledger; /* opened once, by the front */

/* What the front needs of a key; borrowed, valid until ledger_close, its strings until the next ledger_poll. */
struct ledger_key {
    int64_t id, tenant_id;
    const char *name, *tenant, *team; /* team "" when none */
    const char *models;               /* space-separated ids, "" for all */
    const char *jurisdictions;        /* likewise: where this key's requests may be served */
    enum ledger_role role;
    int weight;                       /* of the tenant, for fairness; 1 and up */
    int priority_max;                 /* of the tenant: the highest class its requests may ask for */
    int64_t team_id;                  /* 0: none */
};

/* Opens (or creates) DIR/ledger.db, reads the book, starts the writer. jurisdiction: where this machine stands, "" when
 * not stated. */
enum err_code ledger_open(const char *dir, const char *jurisdiction, int64_t now_ms, struct ledger **out,
                          struct err *e);
void ledger_close(struct ledger *l); /* writes what is queued, calls the remaining done(), then closes */

/* A descriptor that turns readable when ledger_poll has something to do. */
int ledger_fd(const struct ledger *l);
void ledger_poll(struct ledger *l, int64_t now_ms); /* done() callbacks; keys and limits the commands changed */

bool ledger_has_keys(const struct ledger *l); /* once true, every route asks for a key */
/* Whether DIR/ledger.db exists and a key was ever made in it, revoked or not; also when it cannot be read. */
bool ledger_ever_had_keys(const char *dir, int64_t now_ms);

enum ledger_found { LEDGER_FOUND, LEDGER_MALFORMED, LEDGER_UNKNOWN, LEDGER_EXPIRED, LEDGER_REVOKED };
/* text: what came as Bearer or x-api-key. Anything but FOUND is a 401; the caller tells nobody which. */
enum ledger_found ledger_key_lookup(const struct ledger *l, const char *text, size_t n, int64_t now_ms,
                                    const struct ledger_key **out);
/* The key of that number, if it is neither expired nor revoked; NULL: it is not. */
const struct ledger_key *ledger_key_by_id(const struct ledger *l, int64_t id, int64_t now_ms);
/* A key that stands for somebody another authority vouches for: id 0, role user, every model. Its tenant must be in the
 * ledger (false: it is not); a team that is not there is none. Strings are borrowed as a key's are. */
bool ledger_principal(const struct ledger *l, const char *tenant, const char *team, struct ledger_key *out);
bool ledger_key_may_use(const struct ledger_key *k, const char *model);
/* A country (ISO 3166-1 alpha-2), perhaps with a part of it: DE, DE-BY; in any case. Copied in capitals. */
bool ledger_place(const char *text, size_t n, char *out, size_t size);
/* Whether its requests may be served where this machine stands: "DE" in its list fits "DE" and "DE-BY". */
bool ledger_key_may_be_served(const struct ledger_key *k, const char *jurisdiction);

/* The limits of a key's tenant; NULL: of nobody's, "local". */
struct ledger_limits ledger_tenant_limits(const struct ledger *l, const struct ledger_key *k);

struct ledger_ask {
    const struct ledger_key *key; /* NULL: nobody, while no key exists; booked on the tenant "local" */
    const char *model;
    const char *request_id;       /* the row's; unique for ever */
    int64_t prompt_tokens;        /* the worst case: 0 where not known yet, see ledger_revise */
    int64_t output_tokens;        /* likewise: max_tokens x choices */
};

enum ledger_verdict {
    LEDGER_ADMITTED,
    LEDGER_FORBIDDEN, /* 403: the key may not use this model, or not be served here */
    LEDGER_LIMITED,   /* 429 */
    LEDGER_TOO_LARGE, /* 429 without Retry-After: this request can never fit the limit */
    LEDGER_BUSY,      /* 503: the disk does not keep up */
};

struct ledger_rate { /* the tightest of the subjects that have such a limit; limit 0: none has */
    int64_t limit, remaining, reset_ms;
};

struct ledger_answer {
    enum ledger_verdict verdict;
    int ticket;                    /* to be given back once: ledger_settle or ledger_abandon. -1: none */
    int64_t retry_after_s;         /* >= 1 when LIMITED or BUSY */
    enum ledger_limit limit;       /* which limit, whose */
    enum ledger_scope scope;
    int64_t allowance_tokens;      /* what this request may use in all, for the request frame; -1: any number */
    struct ledger_rate requests, tokens;
    char message[ERR_TEXT_MAX];    /* when refused */
};

struct ledger_amount {
    int64_t tokens, cost_micros, energy_mj;
};
/* What an admitted request holds: its worst case. */
struct ledger_amount ledger_held(const struct ledger *l, int ticket);

void ledger_admit(struct ledger *l, const struct ledger_ask *ask, int64_t now_ms, struct ledger_answer *out);
/* The engine has counted the prompt: holds the new worst case instead. Not ADMITTED: nothing was changed, the request
 * should be cancelled and abandoned. */
void ledger_revise(struct ledger *l, int ticket, int64_t prompt_tokens, int64_t output_tokens, int64_t now_ms,
                   struct ledger_answer *out);

struct ledger_use {
    int64_t prompt_tokens, cached_tokens, output_tokens;
    int64_t queue_us, prefill_us, decode_us;
    int64_t kv_page_ms;
    int64_t energy_mj;                       /* -1: what ledger_worked and ledger_energy found */
    bool energy_modelled;                    /* no counter was read: energy.h; ignored with -1 */
    const char *finish;                      /* "stop", "length", "cancelled", ... */
    const uint8_t *receipt_hash;             /* LEDGER_HASH_BYTES, or NULL */
};

typedef void ledger_done_fn(void *arg, int64_t cost_micros);
/* Books what was used and returns its cost at once; done (may be NULL) follows once it is on disk. *use is brought to
 * what was booked (counts within sense, energy filled in), ready for ledger_usage_header. */
int64_t ledger_settle(struct ledger *l, int ticket, struct ledger_use *use, int64_t now_ms,
                      ledger_done_fn *done, void *arg);
/* Nothing was used (refused later on, or failed before the first token): no row, everything held is given back. */
void ledger_abandon(struct ledger *l, int ticket, int64_t now_ms);

/* Energy. worked: tokens the engine computed for this request since it was last told (prompt tokens not cached, and
 * output). energy: what energy_read gave, about once a second; it is split over those who worked (charge.h). */
void ledger_worked(struct ledger *l, int ticket, int64_t tokens);
void ledger_energy(struct ledger *l, int64_t mj, bool modelled);

/* "Name: value\r\n" lines: x-ratelimit-* as OpenAI writes them, RateLimit and RateLimit-Policy as the IETF draft
 * does, and Retry-After where one is due. */
void ledger_rate_headers(const struct ledger_answer *a, struct buf *out);

/* The value of x-tokenworks-usage: what one answer took, for clients that want to know. */
void ledger_usage_header(const struct ledger_use *u, int64_t cost_micros, struct buf *out);

/* What the operator stated of this machine, for energy_open. */
struct energy_model ledger_machine(const struct ledger *l);

struct ledger_stats {
    int64_t rows, duplicates, commits, failed_commits, queued, in_flight;
    int64_t idle_mj; /* read while nothing was computed: charged to nobody */
};
void ledger_get_stats(const struct ledger *l, struct ledger_stats *out);

/* What a tenant's rows made durable since ledger_open add up to; a row that was there already adds nothing. Fills at
 * most max (the last one is "(others)" when there are more) and returns how many. */
struct ledger_total {
    char tenant[LEDGER_NAME_MAX + 1];
    int64_t requests, tokens[3], cost_micros, energy_mj; /* prompt, cached, output */
};
int ledger_totals(const struct ledger *l, struct ledger_total *out, int max);

/* Shared with the commands: the key's text made of random bits, and what is stored of it. */
void ledger_key_make(char text[LEDGER_KEY_CHARS + 1], uint8_t hash[LEDGER_HASH_BYTES]);
bool ledger_key_hash(const char *text, size_t n, uint8_t hash[LEDGER_HASH_BYTES]); /* false: not of that form */
#endif
