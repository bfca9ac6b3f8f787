/* stage -- tokenworks stage: the layers of one rank of a split model, started by its carrier with a socket on fd 3. */
#include "cmd/cmd.h"

#include "dist/stage.h"

#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

enum { STAGE_SOCKET = 3 };

static const struct opt rows[] = { { 0 } };
const struct opt_command cmd_stage_spec = {
    "stage", "", "compute some layers of a split model (started by its carrier)",
    "Speaks with its carrier on file descriptor 3 (docs/split.md). Not for use by hand.", rows,
};

int cmd_stage(int argc, char **argv)
{
    int positional;
    enum opt_result r = opt_parse(&cmd_stage_spec, argc, argv, NULL, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    struct err e = { 0 };
    struct stat st;
    if (fstat(STAGE_SOCKET, &st) || !S_ISSOCK(st.st_mode)) {
        err_set(&e, ERR_INVALID, "no socket on descriptor 3; carriers start stages");
        return cmd_fail(&cmd_stage_spec, &e);
    }
    prctl(PR_SET_NAME, "tw-stage");
    setrlimit(RLIMIT_CORE, &(struct rlimit){ .rlim_cur = 1, .rlim_max = 1 }); /* as spawn.c says */
    return stage_run(STAGE_SOCKET, &e) ? cmd_fail(&cmd_stage_spec, &e) : 0;
}
