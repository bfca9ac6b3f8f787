/* main -- the table of subcommands, and nothing else. */
#include "cmd/cmd.h"

#include "base/mem.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const struct opt_command *spec;
    int (*run)(int argc, char **argv);
} commands[] = {
#define COMMAND(name) { &cmd_##name##_spec, cmd_##name },
#include "cmd/commands.def"
#undef COMMAND
};

int cmd_fail(const struct opt_command *spec, const struct err *e)
{
    fprintf(stderr, "tokenworks %s: %s\n", spec->name, e->text);
    return 1;
}

static int usage(FILE *out)
{
    fprintf(out, "usage: tokenworks COMMAND [options]     (tokenworks COMMAND --help explains one)\n\n");
    for (size_t i = 0; i < MEM_COUNT(commands); i++)
        fprintf(out, "  %-10s %s\n", commands[i].spec->name, commands[i].spec->summary);
    return out == stdout ? 0 : 2;
}

/* `tokenworks man NAME` prints a man page as roff: the packaging installs what it prints. */
static int man(const char *name)
{
    for (size_t i = 0; i < MEM_COUNT(commands); i++)
        if (!strcmp(name, commands[i].spec->name)) {
            opt_print_man(commands[i].spec, stdout);
            return 0;
        }
    fprintf(stderr, "tokenworks man: no command '%s'\n", name);
    return 2;
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN); /* a closed socket or pipe is an error to report, not a death */
    if (argc < 2)
        return usage(stderr);
    bool help = !strcmp(argv[1], "help");
    if ((help && argc == 2) || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
        return usage(stdout);
    if (!strcmp(argv[1], "man") && argc == 3)
        return man(argv[2]);
    const char *name = help ? argv[2] : strcmp(argv[1], "--version") ? argv[1] : "version";
    static char ask[] = "--help";
    for (int i = 1; help && i < argc; i++) /* `help trust log` is `trust log --help` */
        argv[i] = i + 1 < argc ? argv[i + 1] : ask;
    for (size_t i = 0; i < MEM_COUNT(commands); i++)
        if (!strcmp(name, commands[i].spec->name))
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "tokenworks: no command '%s' (tokenworks help lists them)\n", name);
    return 2;
}
