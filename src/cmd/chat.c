/* chat -- tokenworks chat: a conversation in the terminal, in this process. One-shot with PROMPT. */
#include "cmd/cmd.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "base/progress.h"
#include "cmd/model_path.h"
#include "tokenworks.h"

#include <editline/readline.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct chat_options {
    const char *model, *state, *system, *isa;
    int64_t threads, ctx, kv_memory, max_tokens, top_k, seed;
    double temperature, top_p, min_p;
    bool stats;
};

static const struct opt rows[] = {
    { "model", 'm', OPT_STRING, "FILE|NAME", "model file, or a name in the state folder",
      OPT_FIELD(struct chat_options, model), 0, 0 },
    { "system", 's', OPT_STRING, "TEXT", "system message", OPT_FIELD(struct chat_options, system), 0, 0 },
    { "max-tokens", 'n', OPT_INT, "N", "longest answer (512)",
      OPT_FIELD(struct chat_options, max_tokens), 1, 1000000 },
    { "temperature", 0, OPT_FLOAT, "T", "0 takes the likeliest token (0)",
      OPT_FIELD(struct chat_options, temperature), 0, 2 },
    { "top-p", 0, OPT_FLOAT, "P", "nucleus sampling", OPT_FIELD(struct chat_options, top_p), 0, 1 },
    { "min-p", 0, OPT_FLOAT, "P", "least share of the best token's probability",
      OPT_FIELD(struct chat_options, min_p), 0, 1 },
    { "top-k", 0, OPT_INT, "K", "draw from the K best", OPT_FIELD(struct chat_options, top_k), 0, 1000000 },
    { "seed", 0, OPT_INT, "N", "repeat a conversation exactly", OPT_FIELD(struct chat_options, seed), 0, 0 },
    { "threads", 't', OPT_INT, "N", "kernel threads", OPT_FIELD(struct chat_options, threads), 1, 512 },
    { "ctx", 'c', OPT_INT, "N", "context in tokens", OPT_FIELD(struct chat_options, ctx), 64, 100000000 },
    { "kv-memory", 0, OPT_SIZE, "SIZE", "memory for KV pages", OPT_FIELD(struct chat_options, kv_memory), 0, 0 },
    { "isa", 0, OPT_STRING, "NAME", "cap: ref, avx2, avx512, amx", OPT_FIELD(struct chat_options, isa), 0, 0 },
    { "state", 0, OPT_STRING, "DIR", "state folder", OPT_FIELD(struct chat_options, state), 0, 0 },
    { "stats", 0, OPT_FLAG, NULL, "say after each answer what it took", OPT_FIELD(struct chat_options, stats), 0, 0 },
    { 0 },
};
const struct opt_command cmd_chat_spec = {
    "chat", "[options] [PROMPT]", "talk to a model in the terminal; one answer and out with PROMPT",
    "Without PROMPT: a conversation. Ctrl-C stops an answer, Ctrl-D ends. When standard input is no terminal it is\n"
    "read whole and becomes the prompt. Commands in a conversation:\n"
    "  /clear          forget the conversation\n"
    "  /system TEXT    a new system message (and a new conversation)\n"
    "  /stats          switch the line after each answer on or off\n"
    "  /save FILE      write the conversation as OpenAI messages JSON\n"
    "  /facts          what the model is\n"
    "  /help, /quit", rows,
};

enum { PROMPT_BYTES_MAX = 1 << 20, HISTORY_MAX = 1000 };

struct chat {
    struct chat_options o;
    struct tw_engine *engine;
    struct tw_session *session;
    bool show_stats;
};

static volatile sig_atomic_t interrupted; /* set by SIGINT, read by print */

static void on_interrupt(int sig)
{
    interrupted = 1;
}

static bool print(void *arg, const char *text, size_t n)
{
    fwrite(text, 1, n, stdout);
    fflush(stdout);
    return !interrupted;
}

static void on_progress(void *arg, double fraction)
{
    progress_update(arg, (int64_t)(fraction * 1000));
}

static bool new_session(struct chat *c, const char *system, struct tw_error *e)
{
    struct tw_session_options so = {
        .system = system,
        .max_tokens = (int)c->o.max_tokens,
        .temperature = (float)c->o.temperature,
        .top_p = (float)c->o.top_p,
        .min_p = (float)c->o.min_p,
        .top_k = (int)c->o.top_k,
        .seed = (uint64_t)c->o.seed,
    };
    struct tw_session *s = tw_session_new(c->engine, &so, e);
    if (!s)
        return false;
    tw_session_free(c->session);
    c->session = s;
    return true;
}

static bool say(struct chat *c, const char *text, struct tw_error *e)
{
    struct tw_reply r;
    interrupted = 0;
    if (!tw_say(c->session, text, print, NULL, &r, e))
        return false;
    printf("\n");
    if (!strcmp(r.finish, "length"))
        fprintf(stderr, "[stopped at the longest answer allowed: --max-tokens]\n");
    if (c->show_stats) {
        double seconds = (r.total_ms - r.first_ms) / 1000;
        fprintf(stderr, "[%d prompt tokens (%d cached), %d generated, first after %.0f ms, %.1f tokens/s]\n",
                r.prompt_tokens, r.cached_tokens, r.completion_tokens, r.first_ms,
                seconds > 0 ? (r.completion_tokens - 1) / seconds : 0.0);
    }
    return true;
}

static void save(const struct chat *c, const char *path)
{
    char *json = tw_session_messages(c->session);
    struct err e = { 0 };
    if (file_write(path, json, strlen(json), &e))
        fprintf(stderr, "%s\n", e.text);
    free(json);
}

/* false: leave. */
static bool command(struct chat *c, const char *line)
{
    struct tw_error e = { 0 };
    if (!strcmp(line, "/quit") || !strcmp(line, "/exit"))
        return false;
    if (!strcmp(line, "/clear"))
        tw_session_clear(c->session);
    else if (!strcmp(line, "/stats"))
        c->show_stats = !c->show_stats;
    else if (!strcmp(line, "/facts"))
        printf("%s\n", tw_facts(c->engine));
    else if (!strncmp(line, "/save ", 6))
        save(c, line + 6);
    else if (!strncmp(line, "/system ", 8)) {
        if (!new_session(c, line + 8, &e))
            fprintf(stderr, "%s\n", e.text);
    } else
        fprintf(stderr, "/clear  /system TEXT  /stats  /save FILE  /facts  /help  /quit\n");
    return true;
}

static void converse(struct chat *c)
{
    struct buf history = { 0 };
    char *home = file_state_dir(c->o.state);
    buf_printf(&history, "%s/chat_history", home);
    using_history();
    stifle_history(HISTORY_MAX);
    read_history(buf_str(&history));
    fprintf(stderr, "Type a message; /help lists the commands, Ctrl-D ends.\n");
    for (char *line; (line = readline("> "));) {
        struct tw_error e = { 0 };
        bool more = true;
        if (*line)
            add_history(line);
        if (*line == '/')
            more = command(c, line);
        else if (*line && !say(c, line, &e))
            fprintf(stderr, "%s\n", e.text);
        free(line);
        if (!more)
            break;
    }
    if (!file_make_dirs(home, NULL))
        write_history(buf_str(&history));
    mem_free(home);
    buf_release(&history);
}

static bool open_engine(struct chat *c, struct tw_error *e)
{
    struct err err = { 0 };
    struct model_path model = { 0 };
    if (model_path_find(c->o.model, c->o.state, &model, &err)) {
        snprintf(e->text, sizeof e->text, "%s", err.text);
        return false;
    }
    struct progress p;
    progress_start(&p, "loading", 1000);
    c->engine = tw_open(&(struct tw_options){ .model = model.path, .threads = (int)c->o.threads,
                                              .context = (int)c->o.ctx,
                                              .kv_memory = (size_t)c->o.kv_memory, .isa = c->o.isa,
                                              .progress = on_progress, .progress_arg = &p }, e);
    progress_end(&p);
    model_path_release(&model);
    return c->engine && new_session(c, c->o.system, e);
}

/* The prompt from standard input, for `echo ... | tokenworks chat`. */
static bool one_shot_stdin(struct chat *c, struct tw_error *e)
{
    struct buf b = { 0 };
    struct err err = { 0 };
    bool ok = !file_read("-", PROMPT_BYTES_MAX, &b, &err);
    if (ok && !buf_str(&b)[strspn(buf_str(&b), " \t\r\n")]) {
        ok = false;
        snprintf(e->text, sizeof e->text, "standard input is empty; pipe a text into it, or give a PROMPT");
    } else if (ok)
        ok = say(c, buf_str(&b), e);
    else
        snprintf(e->text, sizeof e->text, "%s", err.text);
    buf_release(&b);
    return ok;
}

int cmd_chat(int argc, char **argv)
{
    struct chat c = { .o = { .model = "default", .max_tokens = 512 } };
    int positional;
    enum opt_result r = opt_parse(&cmd_chat_spec, argc, argv, &c.o, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (positional > 1) {
        fprintf(stderr, "tokenworks chat: one PROMPT, in quotes (tokenworks chat --help)\n");
        return 2;
    }
    struct tw_error e = { 0 };
    c.show_stats = c.o.stats;
    bool ok = open_engine(&c, &e);
    umask(077); /* the history and saved conversations are nobody else's */
    struct sigaction sa = { .sa_handler = on_interrupt };
    sigaction(SIGINT, &sa, NULL);
    if (ok && positional)
        ok = say(&c, argv[1], &e);
    else if (ok && !isatty(STDIN_FILENO))
        ok = one_shot_stdin(&c, &e);
    else if (ok)
        converse(&c);
    tw_session_free(c.session);
    tw_close(c.engine);
    if (!ok)
        fprintf(stderr, "tokenworks chat: %s\n", e.text);
    return ok ? 0 : 1;
}
