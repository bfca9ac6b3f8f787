/* ledger_args -- what the ledger's commands (key, tenant, usage) share: the file, limits as options, dates, verbs. */
#ifndef CMD_LEDGER_ARGS_H
#define CMD_LEDGER_ARGS_H
#include "base/opt.h"
#include "ledger/admin.h"

/* -1 and NULL: not given. 0 removes a limit. */
struct limit_args {
    int64_t requests_minute, tokens_minute, concurrent, tokens_day, tokens_month, joules_day, joules_month;
    const char *money_day, *money_month;
};
#define LIMIT_ARGS_NONE { -1, -1, -1, -1, -1, -1, -1, NULL, NULL }

#define LIMIT_ROWS(type, field) \
    { "requests-per-minute", 0, OPT_INT, "N", "limit; 0 removes it, as for all limits", \
      OPT_FIELD(type, field.requests_minute), 0, 1e12 }, \
    { "tokens-per-minute", 0, OPT_INT, "N", "limit", OPT_FIELD(type, field.tokens_minute), 0, 1e12 }, \
    { "concurrent", 0, OPT_INT, "N", "limit of requests at once", OPT_FIELD(type, field.concurrent), 0, 1e6 }, \
    { "tokens-per-day", 0, OPT_INT, "N", "budget", OPT_FIELD(type, field.tokens_day), 0, 1e12 }, \
    { "tokens-per-month", 0, OPT_INT, "N", "budget", OPT_FIELD(type, field.tokens_month), 0, 1e12 }, \
    { "money-per-day", 0, OPT_STRING, "AMOUNT", "budget, like 12.50", OPT_FIELD(type, field.money_day), 0, 0 }, \
    { "money-per-month", 0, OPT_STRING, "AMOUNT", "budget", OPT_FIELD(type, field.money_month), 0, 0 }, \
    { "joules-per-day", 0, OPT_INT, "N", "budget", OPT_FIELD(type, field.joules_day), 0, 1e9 }, \
    { "joules-per-month", 0, OPT_INT, "N", "budget", OPT_FIELD(type, field.joules_month), 0, 1e9 }

enum err_code limit_args_set(struct store *s, enum ledger_scope scope, int64_t id, const struct limit_args *a,
                             struct err *e);

int64_t ledger_args_now_ms(void);
/* The ledger of a state folder (file_state_dir's option). create: make it when missing. */
enum err_code ledger_args_open(const char *state, bool create, struct store **out, struct err *e);
/* YYYY-MM-DD as the first millisecond of that day, YYYY-MM of that month, or Nd: N days from now. */
enum err_code ledger_args_date(const char *text, int64_t now_ms, int64_t *out, struct err *e);

/* A command's verbs: argv[1] names one. */
struct ledger_verb {
    const char *name;
    int arguments;                  /* that must follow it */
    bool create;                    /* the ledger's file, when missing */
    enum err_code (*run)(struct store *s, void *options, char **arguments, struct err *e);
};
/* Finds the verb, opens the ledger, runs it; the exit status. fallback: the verb when none is given, or NULL. */
struct opt_command;
int ledger_args_run(const struct opt_command *spec, const struct ledger_verb *verbs, const char *fallback,
                    const char *state, void *options, int positional, char **argv);
#endif
