/* trust_sub -- the subcommands of `tokenworks trust` that live in files of their own. */
#ifndef CMD_TRUST_SUB_H
#define CMD_TRUST_SUB_H
#include "base/err.h"
#include "base/opt.h"
#include "trust/site.h"

void trust_site_open(struct site *s, const char *state); /* <state>/trust */
int trust_end(const struct opt_command *spec, enum err_code c, const struct err *e);

int trust_run_client(int argc, char **argv);
int trust_run_log(int argc, char **argv);
int trust_run_policy(int argc, char **argv);
int trust_run_receipts(int argc, char **argv);
int trust_run_bench(int argc, char **argv);
#endif
