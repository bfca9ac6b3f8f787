/* book -- the ledger in memory: keys by hash, limits and meters, prices, the requests in flight. Pure: decisions
 * depend on the book and the time passed in, nothing waits, nothing is written. Owned by the front's thread.
 *
 * Subjects and keys are never freed while the book lives: a request in flight may outlive its key's revocation. */
#ifndef LEDGER_BOOK_H
#define LEDGER_BOOK_H
#include "ledger/directory.h"

struct book;

/* The row's part that is fixed when a request is admitted. */
struct book_booking {
    char request_id[LEDGER_REQUEST_ID_MAX + 1];
    char model[LEDGER_NAME_MAX + 1];
    int64_t tenant, team, key; /* ids; team and key may be 0 */
    int64_t started_ms;
};

/* A settled request: enough to make its row, and to take it back should the row exist already. */
struct book_settled {
    struct book_booking booking;
    int64_t prompt_tokens, cached_tokens, output_tokens; /* brought within sense: 0 <= cached <= prompt */
    bool energy_modelled;
    int64_t cost_micros;
    int64_t settled_ms;
    struct meter_amount used;
    void *subjects[LEDGER_SCOPES];
};

struct book *book_new(void);
void book_free(struct book *b);
/* Takes what d says: new subjects appear, known ones change, none vanishes. first: also take d's used amounts. */
void book_update(struct book *b, const struct directory *d, bool first);

int book_key_count(const struct book *b); /* keys not revoked */
enum ledger_found book_find_key(const struct book *b, const uint8_t hash[LEDGER_HASH_BYTES], int64_t now_ms,
                                const struct ledger_key **out);

const struct ledger_key *book_key_by_id(const struct book *b, int64_t id, int64_t now_ms);
bool book_principal(const struct book *b, const char *tenant, const char *team, struct ledger_key *out);
void book_admit(struct book *b, const struct ledger_ask *ask, int64_t now_ms, struct ledger_answer *out);
void book_revise(struct book *b, int ticket, int64_t prompt_tokens, int64_t output_tokens, int64_t now_ms,
                 struct ledger_answer *out);
struct meter_amount book_held(const struct book *b, int ticket); /* its worst case, as admitted or revised */
void book_settle(struct book *b, int ticket, const struct ledger_use *use, int64_t now_ms, struct book_settled *out);
/* Energy: see charge.h. */
void book_worked(struct book *b, int ticket, int64_t tokens);
void book_energy(struct book *b, int64_t mj, bool modelled);
int64_t book_idle_mj(const struct book *b);
void book_abandon(struct book *b, int ticket, int64_t now_ms);
void book_take_back(struct book *b, const struct book_settled *s, int64_t now_ms);
void book_total_add(const struct book_settled *s); /* its row is durable */
int book_totals(const struct book *b, struct ledger_total *out, int max);
int book_in_flight(const struct book *b);
bool book_limits(const struct book *b, enum ledger_scope scope, int64_t id, struct ledger_limits *out);
/* Tests and consoles: the counters of a subject; false when it does not exist. */
bool book_used(struct book *b, enum ledger_scope scope, int64_t id, int64_t now_ms,
               int64_t used[2][METER_KINDS], int64_t held[METER_KINDS]);
#endif
