/* admin -- what an operator does to the ledger's file: tenants, teams, keys, limits, prices, retention, erasure. Used
 * by the commands on a store of their own; a running server notices within a second. Names are checked here. */
#ifndef LEDGER_ADMIN_H
#define LEDGER_ADMIN_H
#include "ledger/store.h"

enum { ADMIN_WEIGHT_MAX = 1000, ADMIN_PRIORITY_MAX = 100 };
enum { ADMIN_HINT_BYTES = 8, ADMIN_PURGE_STEP = 20000, ADMIN_RETENTION_MAX = 36500 };
#define ADMIN_LIMIT_MAX ((int64_t)1000000000000) /* so that meter.c's products stay within 64 bits */

/* New ones must not exist (ERR_INVALID); the find forms give ERR_NOT_FOUND with a sentence. */
enum err_code admin_tenant_add(struct store *s, const char *name, int weight, int64_t now_ms, int64_t *id,
                               struct err *e);
enum err_code admin_tenant_find(struct store *s, const char *name, int64_t *id, struct err *e);
enum err_code admin_tenant_weight(struct store *s, int64_t id, int weight, struct err *e);
/* The highest class the tenant's requests may ask for. */
enum err_code admin_tenant_priority(struct store *s, int64_t id, int priority, struct err *e);
enum err_code admin_team_need(struct store *s, int64_t tenant, const char *name, int64_t now_ms, int64_t *id,
                              struct err *e); /* found or added */
enum err_code admin_model_need(struct store *s, const char *name, int64_t *id, struct err *e);

struct admin_key {
    int64_t tenant, team;      /* team 0: none */
    const char *name;
    const char *models;        /* comma or space separated, NULL or "" for all */
    const char *jurisdictions;
    enum ledger_role role;
    int64_t expires_ms;        /* 0: never */
};
/* text: the only time the key itself is seen; the caller shows it once and wipes it. */
enum err_code admin_key_add(struct store *s, const struct admin_key *k, int64_t now_ms,
                            char text[LEDGER_KEY_CHARS + 1], int64_t *id, struct err *e);
/* which: its number, or the beginning shown in the list ("tw-AbCdE"), or the key itself. */
enum err_code admin_key_find(struct store *s, const char *which, int64_t *id, struct err *e);
enum err_code admin_key_revoke(struct store *s, int64_t id, int64_t now_ms, struct err *e);

enum err_code admin_limit_set(struct store *s, enum ledger_scope scope, int64_t id, enum ledger_limit kind,
                              int64_t value, struct err *e); /* 0 removes it */
/* model "*": every model without a price of its own. In force from from_ms on; rows keep what they were billed. */
enum err_code admin_price_set(struct store *s, const char *model, int64_t from_ms, const struct price *p,
                              const char *source, struct err *e);
/* Three letters; only while nothing was billed. */
enum err_code admin_currency_set(struct store *s, const char *currency, struct err *e);

/* Deletes rows settled before a day, but for those that the fleet's book does not have yet (their daily sums stay),
 * ADMIN_PURGE_STEP in a transaction so that nobody waits long; *rows: how many. _step does one transaction; fewer rows
 * than a step: there are no more. */
enum err_code admin_purge(struct store *s, int64_t before_day, int64_t *rows, struct err *e);
enum err_code admin_purge_step(struct store *s, int64_t before_day, int64_t *rows, struct err *e);
/* Rows older than this many days are purged by the server as it runs; 0: kept for ever. */
enum err_code admin_retention_set(struct store *s, int64_t days, struct err *e);
/* The machine as the operator states it, for where no counter can be read. */
enum err_code admin_machine_set(struct store *s, int64_t idle_mw, int64_t core_mw, struct err *e);
/* Revokes the tenant's keys, wipes its names and hashes, deletes its rows and rewrites the file so that nothing of it
 * is left in free pages. Its sums stay, under the name erased-ID. ERR_BUSY: rows of it have not reached the fleet's
 * book yet (erased.h). */
enum err_code admin_tenant_erase(struct store *s, int64_t id, int64_t now_ms, struct err *e);

struct admin_check {
    int64_t rows, requests;    /* rows kept; requests in the daily sums they belong to */
    int64_t cost_micros;       /* of the rows */
    int64_t wrong;             /* days whose sums and rows differ, in any column */
};
enum err_code admin_verify(struct store *s, struct admin_check *out, struct err *e);
#endif
