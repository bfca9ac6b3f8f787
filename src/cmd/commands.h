/* commands -- the subcommands, a line each: COMMAND(name). Included by main.c alone, several times. */
COMMAND(version)
