/* keeper -- tokenworks keeper: the key-holding process; the server starts it with its socket on descriptor 3. */
#include "cmd/cmd.h"

#include "keeper/keeper.h"

#include <stdio.h>
#include <sys/prctl.h>

enum { SOCKET_FD = 3 };

struct keeper_cmd_options {
    const char *site, *boot;
    bool best_effort, air_gapped;
};

static const struct opt rows[] = {
    { "site", 0, OPT_STRING, "DIR", "the site's folder (<state>/trust)",
      OPT_FIELD(struct keeper_cmd_options, site), 0, 0 },
    { "boot", 0, OPT_STRING, "ID", "this boot's id", OPT_FIELD(struct keeper_cmd_options, boot), 0, 0 },
    { "best-effort", 0, OPT_FLAG, NULL, "run with the sandbox layers this machine has",
      OPT_FIELD(struct keeper_cmd_options, best_effort), 0, 0 },
    { "air-gapped", 0, OPT_FLAG, NULL, "prove that there is no way out, or refuse",
      OPT_FIELD(struct keeper_cmd_options, air_gapped), 0, 0 },
    { 0 } };
const struct opt_command cmd_keeper_spec = {
    "keeper", "--site DIR --boot ID", "hold the private keys and sign for the server (started by serve)",
    "Speaks docs/keeper-protocol.md on descriptor 3. Not meant to be run by hand.", rows };

int cmd_keeper(int argc, char **argv)
{
    struct keeper_cmd_options o = { 0 };
    struct err e = { 0 };
    int n;
    enum opt_result r = opt_parse(&cmd_keeper_spec, argc, argv, &o, &n);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (!o.site || !o.boot || n) {
        fprintf(stderr, "tokenworks keeper: give --site and --boot\n");
        return 2;
    }
    prctl(PR_SET_NAME, "tw-keeper");
    const struct keeper_options k = { .site_dir = o.site, .boot = o.boot, .best_effort = o.best_effort,
                                      .air_gapped = o.air_gapped };
    return keeper_run(SOCKET_FD, &k, &e) ? cmd_fail(&cmd_keeper_spec, &e) : 0;
}
