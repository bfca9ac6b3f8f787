/* report -- the ledger told to people and programs: listings, statements, the FOCUS export. Only reads. */
#ifndef LEDGER_REPORT_H
#define LEDGER_REPORT_H
#include "ledger/store.h"

#include <stdio.h>

struct report_range {
    int64_t from_ms, to_ms; /* [from, to) by the moment a request was settled */
    int64_t tenant;         /* 0: all */
};

enum report_list { REPORT_TENANTS, REPORT_KEYS, REPORT_PRICES, REPORT_LIMITS };
enum report_by { REPORT_BY_TENANT, REPORT_BY_TEAM, REPORT_BY_KEY, REPORT_BY_MODEL, REPORT_BY_DAY, REPORT_BY_MONTH,
                 REPORT_BY_TENANT_DAY };
extern const char *const report_by_names[]; /* "tenant", ..., NULL */

/* Aligned columns, or a JSON array of objects (money and energy as integers there). */
enum err_code report_list(struct store *s, enum report_list what, bool json, FILE *out, struct err *e);
/* Sums over whole days, from the daily sums: rows that were purged still count. */
enum err_code report_usage(struct store *s, const struct report_range *r, enum report_by by, bool json, FILE *out,
                           struct err *e);
/* One tenant's month: a line for each model and key, the total, what it rests on. month: since 1970. */
enum err_code report_statement(struct store *s, int64_t tenant, int64_t month, bool json, FILE *out, struct err *e);

struct report_export { /* what was written, for the closing line */
    int64_t rows, cost_micros, prompt, cached, output, energy_mj;
};
/* FOCUS 1.2 CSV, a line for each request. provider: who sends the bill. */
enum err_code report_focus(struct store *s, const struct report_range *r, const char *provider, FILE *out,
                           struct report_export *sums, struct err *e);
#endif
