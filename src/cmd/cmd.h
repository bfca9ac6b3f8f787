/* cmd -- what every subcommand file gives to main.c: `cmd_NAME_spec` (its option table) and `cmd_NAME`. */
#ifndef CMD_CMD_H
#define CMD_CMD_H
#include "base/err.h"
#include "base/opt.h"

/* Prints "tokenworks NAME: sentence" on stderr and returns exit status 1. */
int cmd_fail(const struct opt_command *spec, const struct err *e);

#define COMMAND(name) \
    extern const struct opt_command cmd_##name##_spec; \
    int cmd_##name(int argc, char **argv);
#include "cmd/commands.def"
#undef COMMAND
#endif
