/* completion -- tokenworks completion bash|zsh|fish: the shell's completions, from the same tables as --help. */
#include "cmd/cmd.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static const struct opt rows[] = { { 0 } };
const struct opt_command cmd_completion_spec = {
    "completion", "bash|zsh|fish", "print what completes this command in a shell",
    "bash:  tokenworks completion bash > ~/.local/share/bash-completion/completions/tokenworks\n"
    "zsh:   tokenworks completion zsh > a folder of $fpath, as _tokenworks\n"
    "fish:  tokenworks completion fish > ~/.config/fish/completions/tokenworks.fish", rows,
};

static const struct opt_command *const commands[] = {
#define COMMAND(name) &cmd_##name##_spec,
#include "cmd/commands.def"
#undef COMMAND
};

/* Those a person types. */
static bool is_shown(const struct opt_command *c)
{
    return strcmp(c->name, "engine") && strcmp(c->name, "keeper");
}

static bool is_path(const struct opt *o)
{
    return o->arg && (strstr(o->arg, "FILE") || strstr(o->arg, "DIR") || strstr(o->arg, "PROGRAM"));
}

static bool takes_files(const struct opt_command *c)
{
    return strstr(c->usage, "FILE") || strstr(c->usage, "IN OUT") || strstr(c->usage, "DIR");
}

/* text with each byte of `special` behind a backslash; a single quote becomes what ends a quoted word, adds it and goes
 * on. */
static void put(const char *text, const char *special)
{
    for (; *text; text++) {
        if (*text == '\'') {
            fputs("'\\''", stdout);
            continue;
        }
        if (strchr(special, *text))
            putchar('\\');
        putchar(*text == '\n' ? ' ' : *text);
    }
}

static void bash(void)
{
    printf("# bash completion for tokenworks; made by `tokenworks completion bash`\n_tokenworks()\n{\n"
           "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words= paths= files=\n"
           "    COMPREPLY=()\n    if [ \"$COMP_CWORD\" = 1 ]; then\n        COMPREPLY=($(compgen -W \"help");
    for (size_t i = 0; i < MEM_COUNT(commands); i++)
        if (is_shown(commands[i]))
            printf(" %s", commands[i]->name);
    printf("\" -- \"$cur\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n");
    for (size_t i = 0; i < MEM_COUNT(commands); i++) {
        const struct opt_command *c = commands[i];
        if (!is_shown(c))
            continue;
        printf("    %s)\n        words=\"--help", c->name);
        for (const struct opt *o = c->rows; o->name; o++)
            printf(" --%s", o->name);
        printf("\"\n        paths=\"");
        for (const struct opt *o = c->rows; o->name; o++)
            if (is_path(o))
                printf(" --%s", o->name);
        printf(" \"\n        files=%s ;;\n", takes_files(c) ? "1" : "");
    }
    printf("    esac\n    if [[ $cur == -* ]]; then\n        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
           "    elif [[ $paths == *\" $prev \"* || -n $files ]]; then\n        compopt -o filenames\n"
           "        COMPREPLY=($(compgen -f -- \"$cur\"))\n    fi\n}\ncomplete -F _tokenworks tokenworks\n");
}

static void zsh_option(const struct opt *o)
{
    printf("            '--%s[", o->name);
    put(o->help, "[]:\\");
    printf("]");
    if (o->arg) {
        printf(":");
        put(o->arg, "[]:\\");
        printf(":%s", is_path(o) ? "_files" : "");
    }
    printf("' \\\n");
}

static void zsh(void)
{
    printf("#compdef tokenworks\n# made by `tokenworks completion zsh`\n_tokenworks() {\n    local -a commands\n"
           "    commands=(\n");
    for (size_t i = 0; i < MEM_COUNT(commands); i++) {
        if (!is_shown(commands[i]))
            continue;
        printf("        '%s:", commands[i]->name);
        put(commands[i]->summary, ":\\");
        printf("'\n");
    }
    printf("    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
           "    local which=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $which in\n");
    for (size_t i = 0; i < MEM_COUNT(commands); i++) {
        if (!is_shown(commands[i]))
            continue;
        printf("    %s)\n        _arguments \\\n", commands[i]->name);
        for (const struct opt *o = commands[i]->rows; o->name; o++)
            zsh_option(o);
        printf("            '--help[explain it]' \\\n            '*:%s' ;;\n",
               takes_files(commands[i]) ? "file:_files" : "argument:");
    }
    printf("    esac\n}\n_tokenworks \"$@\"\n");
}

static void fish(void)
{
    printf("# fish completion for tokenworks; made by `tokenworks completion fish`\n"
           "complete -c tokenworks -n __fish_use_subcommand -f\n");
    for (size_t i = 0; i < MEM_COUNT(commands); i++) {
        const struct opt_command *c = commands[i];
        if (!is_shown(c))
            continue;
        printf("complete -c tokenworks -n __fish_use_subcommand -f -a %s -d '", c->name);
        put(c->summary, "\\");
        printf("'\n");
        for (const struct opt *o = c->rows; o->name; o++) {
            printf("complete -c tokenworks -n '__fish_seen_subcommand_from %s' -l %s", c->name, o->name);
            if (o->letter)
                printf(" -s %c", o->letter);
            printf("%s -d '", !o->arg ? "" : is_path(o) ? " -r -F" : " -x");
            put(o->help, "\\");
            printf("'\n");
        }
    }
}

int cmd_completion(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = { { "bash", bash }, { "zsh", zsh }, { "fish", fish } };
    int positional;
    enum opt_result r = opt_parse(&cmd_completion_spec, argc, argv, NULL, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    for (size_t i = 0; positional == 1 && i < MEM_COUNT(shells); i++)
        if (!strcmp(argv[1], shells[i].name)) {
            shells[i].print();
            return 0;
        }
    fprintf(stderr, "tokenworks completion: name a shell: bash, zsh or fish\n");
    return 2;
}
