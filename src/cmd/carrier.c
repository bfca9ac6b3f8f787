/* carrier -- tokenworks carrier: one rank of a split model, started by mpirun for `serve --ranks`. */
#include "cmd/cmd.h"

#include "dist/carrier.h"

#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

static const struct opt rows[] = {
    { "socket", 0, OPT_STRING, "NAME", "where the engine waits for rank 0",
      OPT_FIELD(struct carrier_options, socket), 0, 0 },
    { "model", 0, OPT_STRING, "FILE", "the model's file on this machine",
      OPT_FIELD(struct carrier_options, model), 0, 0 },
    { 0 },
};
const struct opt_command cmd_carrier_spec = {
    "carrier", "--socket NAME --model FILE", "carry rows between the ranks of a split model (started by mpirun)",
    "`tokenworks serve --ranks N` starts N of these under mpirun (docs/split.md). Not for use by hand.", rows,
};

int cmd_carrier(int argc, char **argv)
{
    struct carrier_options o = { 0 };
    char self[4096];
    int positional;
    enum opt_result r = opt_parse(&cmd_carrier_spec, argc, argv, &o, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    struct err e = { 0 };
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    self[n > 0 ? n : 0] = '\0';
    const char *const stage[] = { self, "stage", NULL };
    o.stage = stage;
    prctl(PR_SET_NAME, "tw-carrier");
    return carrier_run(&o, &e) ? cmd_fail(&cmd_carrier_spec, &e) : 0;
}
