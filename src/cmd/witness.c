/* witness -- tokenworks witness: cosign what a log shows, remember it, and never cosign a log that rewrote itself. */
#include "cmd/cmd.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"
#include "cmd/witness_serve.h"
#include "trust/witness.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { REQUEST_MAX = WITNESS_REQUEST_MAX, KEY_FILE_MAX = 4096 };

struct witness_options {
    const char *state, *name, *listen;
    struct opt_strings logs;
};

static const struct opt rows[] = {
    { "state", 0, OPT_STRING, "DIR", "where state lives", OPT_FIELD(struct witness_options, state), 0, 0 },
    { "name", 0, OPT_STRING, "NAME", "the witness's name, for init", OPT_FIELD(struct witness_options, name), 0, 0 },
    { "listen", 0, OPT_STRING, "ADDR:PORT", "where serve answers (default 127.0.0.1:9330)",
      OPT_FIELD(struct witness_options, listen), 0, 0 },
    { "log", 'l', OPT_STRINGS, "VKEY", "a log to watch; remembered", OPT_FIELD(struct witness_options, logs), 0, 0 },
    { 0 } };
const struct opt_command cmd_witness_spec = {
    "witness", "init --name NAME [--log VKEY]... | sign FILE | serve [--listen ADDR:PORT] | key",
    "watch logs and cosign their checkpoints",
    "init makes a key and prints its verifier key for the log's trust policy. sign reads an add-checkpoint request "
    "(tokenworks trust log request) and prints the cosignature line: for machines that share no network. serve does "
    "the same over HTTP (C2SP tlog-witness: POST /add-checkpoint).", rows };

static enum err_code read_line_file(const char *dir, const char *name, struct buf *out, struct err *e)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/%s", dir, name);
    enum err_code c = file_read(buf_str(&path), KEY_FILE_MAX * WITNESS_LOGS_MAX, out, e);
    buf_release(&path);
    return c;
}

static enum err_code write_file(const char *dir, const char *name, const struct buf *text, struct err *e)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s/%s", dir, name);
    enum err_code c = file_write(buf_str(&path), text->data, text->len, e);
    buf_release(&path);
    return c;
}

static enum err_code make(const char *dir, const struct witness_options *o, struct err *e)
{
    struct key_secret k = { 0 };
    struct buf text = { 0 };
    char line[KEY_TEXT_MAX];
    struct err none;
    enum err_code c = o->name ? file_make_dirs(dir, e) : err_set(e, ERR_INVALID, "give --name");
    if (!c && !read_line_file(dir, "key", &text, &none))
        c = err_set(e, ERR_INVALID, "%s has a witness already", dir);
    if (!c)
        c = key_secret_new(o->name, KEY_COSIGNATURE, NULL, &k, e);
    if (!c) {
        key_secret_text(&k, line);
        buf_printf(&text, "%s\n", line);
        c = write_file(dir, "key", &text, e);
        key_public_text(&k.pub, line);
    }
    if (!c)
        puts(line);
    if (text.data)
        mem_wipe(text.data, text.len);
    buf_release(&text);
    key_secret_wipe(&k);
    return c;
}

static enum err_code load_key(const char *dir, struct key_secret *k, struct err *e)
{
    struct buf text = { 0 };
    struct span rest, line;
    enum err_code c = read_line_file(dir, "key", &text, e);
    if (c && access(dir, F_OK))
        c = err_set(e, c, "no witness in %s: `tokenworks witness init --name NAME` makes one", dir);
    rest = (struct span){ buf_str(&text), text.len };
    if (!c)
        c = span_line(&rest, &line) ? key_secret_parse(line, k, e) : err_set(e, ERR_CORRUPT, "%s/key is damaged", dir);
    if (text.data)
        mem_wipe(text.data, text.len);
    buf_release(&text);
    return c;
}

/* The file `logs`, a key a line; those on the command line are added to it. */
static enum err_code load_logs(const char *dir, const struct witness_options *o, struct witness *w, struct err *e)
{
    struct buf text = { 0 };
    struct err none;
    enum err_code c = ERR_OK;
    if (read_line_file(dir, "logs", &text, &none))
        buf_clear(&text);
    for (int i = 0; i < o->logs.count; i++)
        if (!strstr(buf_str(&text), o->logs.v[i]))
            buf_printf(&text, "%s\n", o->logs.v[i]);
    if (o->logs.count)
        c = write_file(dir, "logs", &text, e);
    struct span rest = { buf_str(&text), text.len }, line;
    while (!c && w && span_line(&rest, &line)) {
        struct key_public log;
        c = key_public_parse(line, &log, e);
        if (!c)
            c = witness_add_log(w, &log, e);
    }
    buf_release(&text);
    return c;
}

static enum err_code sign(struct witness *w, const char *file, struct err *e)
{
    struct buf request = { 0 }, out = { 0 };
    int status = 0;
    enum err_code c = file_read(file, REQUEST_MAX, &request, e);
    if (!c) {
        const struct span text = { buf_str(&request), request.len };
        c = witness_add_checkpoint(w, text, clock_wall_s(), &status, &out, e);
        if (c)
            err_prefix(e, "refused (%d)", status);
    }
    if (!c)
        fwrite(out.data, 1, out.len, stdout);
    buf_release(&request);
    buf_release(&out);
    return c;
}

/* sign FILE, serve, key */
static enum err_code use(const char *dir, const struct witness_options *o, char **args, struct err *e)
{
    struct key_secret k = { 0 };
    struct witness w = { .lock_fd = -1 };
    enum err_code c = load_key(dir, &k, e);
    if (!c)
        c = witness_open(&w, dir, &k, e);
    if (!c) {
        c = load_logs(dir, o, &w, e);
        if (!c && !strcmp(args[0], "sign"))
            c = sign(&w, args[1], e);
        else if (!c && !strcmp(args[0], "serve"))
            c = witness_serve(&w, o->listen ? o->listen : "127.0.0.1:9330", e);
        else if (!c) {
            char line[KEY_TEXT_MAX];
            key_public_text(&k.pub, line);
            puts(line);
        }
        witness_close(&w);
    }
    key_secret_wipe(&k);
    return c;
}

int cmd_witness(int argc, char **argv)
{
    struct witness_options o = { 0 };
    struct buf dir = { 0 };
    struct err e = { 0 };
    int n;
    enum opt_result r = opt_parse(&cmd_witness_spec, argc, argv, &o, &n);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    char *home = file_state_dir(o.state);
    buf_printf(&dir, "%s/witness", home);
    const char *verb = n ? argv[1] : "";
    enum err_code c = trust_init(&e);
    if (n != (!strcmp(verb, "sign") ? 2 : 1) ||
        (strcmp(verb, "init") && strcmp(verb, "sign") && strcmp(verb, "serve") && strcmp(verb, "key")))
        c = err_set(&e, ERR_INVALID, "say init --name NAME, sign FILE, serve or key (tokenworks witness --help)");
    if (!c && !strcmp(verb, "init")) {
        c = make(buf_str(&dir), &o, &e);
        if (!c && o.logs.count)
            c = load_logs(buf_str(&dir), &o, NULL, &e);
    } else if (!c) {
        c = use(buf_str(&dir), &o, argv + 1, &e);
    }
    mem_free(home);
    buf_release(&dir);
    return c ? cmd_fail(&cmd_witness_spec, &e) : 0;
}
