/* engine -- tokenworks engine: the engine process of `serve`, started by the front with a socketpair on fd 3. */
#include "cmd/cmd.h"

#include "engine/engine.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>

enum { ENGINE_SOCKET = 3 };

static const struct opt rows[] = { { 0 } };
const struct opt_command cmd_engine_spec = {
    "engine", "", "the engine process; `tokenworks serve` starts it",
    "Speaks the frame protocol (docs/frames.md) on file descriptor 3. Not for use by hand.", rows,
};

int cmd_engine(int argc, char **argv)
{
    int positional;
    enum opt_result r = opt_parse(&cmd_engine_spec, argc, argv, NULL, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    struct err e = { 0 };
    struct stat st;
    if (fstat(ENGINE_SOCKET, &st) || !S_ISSOCK(st.st_mode)) {
        err_set(&e, ERR_INVALID, "no socket on descriptor 3; `tokenworks serve` starts engines");
        return cmd_fail(&cmd_engine_spec, &e);
    }
    prctl(PR_SET_NAME, "tw-engine");
    signal(SIGINT, SIG_IGN); /* Ctrl-C reaches the whole group; the front decides when an engine ends */
    return engine_run(ENGINE_SOCKET, &e) ? 1 : 0; /* the front was told why, and says it */
}
