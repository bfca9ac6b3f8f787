/* version -- tokenworks version: what was built. */
#include "cmd/cmd.h"

#include <stdio.h>

static const struct opt rows[] = { { 0 } };
const struct opt_command cmd_version_spec = {
    "version", "", "print the version, the processor features in use and the floors compiled in", NULL, rows,
};

int cmd_version(int argc, char **argv)
{
    int positional;
    enum opt_result r = opt_parse(&cmd_version_spec, argc, argv, NULL, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    puts("tokenworks " TW_VERSION);
    return 0;
}
