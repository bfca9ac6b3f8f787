/* pull -- tokenworks pull: a model from a hub or a URL into the state folder's models/, checked against its SHA-256. */
#include "cmd/cmd.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "cmd/hub.h"
#include "net/download.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct pull_options {
    const char *state, *name, *sha256;
    bool list, force, plan;
};

#define FIELD(name) OPT_FIELD(struct pull_options, name)
static const struct opt rows[] = {
    { "name", 'n', OPT_STRING, "NAME", "what the model is called here (the file's own name)", FIELD(name), 0, 0 },
    { "sha256", 0, OPT_STRING, "HEX", "what the file's SHA-256 must be; a URL needs it", FIELD(sha256), 0, 0 },
    { "force", 'f', OPT_FLAG, NULL, "replace a model of the same name from elsewhere", FIELD(force), 0, 0 },
    { "plan", 0, OPT_FLAG, NULL, "only print which file it would be", FIELD(plan), 0, 0 },
    { "list", 0, OPT_FLAG, NULL, "print the short names", FIELD(list), 0, 0 },
    { "state", 0, OPT_STRING, "DIR", "state and models ($TOKENWORKS_HOME, ~/.cache/tokenworks)", FIELD(state), 0, 0 },
    { 0 },
};
const struct opt_command cmd_pull_spec = {
    "pull", "hf:OWNER/REPO[:FILE]|URL|SHORT-NAME [options]", "fetch a model, checked against its SHA-256",
    "FILE is a path in the repository, a file's name, or a type like Q4_K_M; without it the first of Q4_K_M, Q4_K_S,\n"
    "Q4_1, Q4_0, Q5_K_M ... that there is. What broke off is continued next time. HF_ENDPOINT names another hub,\n"
    "HF_TOKEN is for models that need one. `serve --model` then finds it by its name and by what it was pulled as.",
    rows,
};

struct target {
    struct hub_file file;
    struct buf source;   /* "hf:OWNER/REPO:PATH" or the URL */
    struct buf path;     /* where it comes to be */
    char name[HUB_PATH_MAX];
    const char *bearer;
};

static enum err_code find_url(const char *url, const struct pull_options *o, struct target *t, struct err *e)
{
    const char *end = url + strcspn(url, "?#"), *at = end;
    while (at > url && at[-1] != '/')
        at--;
    snprintf(t->file.name, sizeof t->file.name, "%.*s", (int)(end - at < 300 ? end - at : 300), at);
    snprintf(t->file.url, sizeof t->file.url, "%s", url);
    t->file.bytes = -1;
    buf_puts(&t->source, url);
    if (strlen(url) >= sizeof t->file.url)
        return err_set(e, ERR_LIMIT, "the URL is too long");
    return o->sha256 ? ERR_OK : err_set(e, ERR_INVALID, "a URL needs --sha256: what its bytes must be");
}

static enum err_code find_hub(const char *text, struct target *t, struct err *e)
{
    struct hub_name n;
    enum err_code c = hub_name_parse(text, &n, e);
    if (!c)
        c = hub_find(&n, &t->file, e);
    buf_printf(&t->source, "hf:%s/%s:%s", n.owner, n.repo, t->file.path);
    t->bearer = hub_token();
    return c;
}

static enum err_code find(const char *text, const struct pull_options *o, struct target *t, struct err *e)
{
    bool url = !strncmp(text, "https://", 8) || !strncmp(text, "http://", 7);
    enum err_code c = url ? find_url(text, o, t, e) : find_hub(text, t, e);
    if (c)
        return c;
    if (o->sha256 && !hub_unhex(o->sha256, t->file.sha256))
        return err_set(e, ERR_INVALID, "--sha256 wants 64 hexadecimal digits");
    snprintf(t->name, sizeof t->name, "%.300s%s", o->name ? o->name : t->file.name,
             o->name && !hub_file_name_ok(o->name) ? ".gguf" : "");
    if (!hub_file_name_ok(t->name))
        return err_set(e, ERR_INVALID, "'%.200s' cannot be a model's name here; give another with --name", t->name);
    char *state = file_state_dir(o->state);
    buf_printf(&t->path, "%s/models", state);
    mem_free(state);
    c = file_make_dirs(buf_str(&t->path), e);
    buf_printf(&t->path, "/%s", t->name);
    return c;
}

/* The first line of path + suffix; "" when there is none. */
static void read_note(const struct target *t, const char *suffix, struct buf *out)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s%s", buf_str(&t->path), suffix);
    if (file_read(buf_str(&path), 4096, out, NULL))
        buf_clear(out);
    buf_release(&path);
    if (out->len)
        out->len = strcspn(buf_str(out), "\n");
    if (out->data)
        out->data[out->len] = '\0';
}

static enum err_code write_note(const struct target *t, const char *suffix, const char *text, struct err *e)
{
    struct buf path = { 0 };
    buf_printf(&path, "%s%s", buf_str(&t->path), suffix);
    enum err_code c = file_write(buf_str(&path), text, strlen(text), e);
    buf_release(&path);
    return c;
}

/* *here: this very file was pulled before. A file of that name from elsewhere is not overwritten by a slip. */
static enum err_code look(const struct target *t, const struct pull_options *o, bool *here, struct err *e)
{
    struct buf sum = { 0 }, source = { 0 };
    char hex[SHA256_HEX_MAX];
    struct stat st;
    enum err_code c = ERR_OK;
    bool there = !lstat(buf_str(&t->path), &st);
    sha256_hex(t->file.sha256, hex);
    read_note(t, ".sha256", &sum);
    read_note(t, ".source", &source);
    bool same = there && (t->file.bytes < 0 || st.st_size == t->file.bytes);
    *here = same && !strncmp(buf_str(&sum), hex, strlen(hex));
    if (there && !*here && !o->force && strcmp(buf_str(&source), buf_str(&t->source)))
        c = err_set(e, ERR_INVALID, "%s is there already and came from %s; give --name, or --force to replace it",
                    buf_str(&t->path), source.len ? buf_str(&source) : "elsewhere");
    buf_release(&sum);
    buf_release(&source);
    return c;
}

static enum err_code fetch(const struct target *t, struct err *e)
{
    char hex[SHA256_HEX_MAX];
    struct download d = { .url = t->file.url, .bearer = t->bearer, .path = buf_str(&t->path), .what = t->name,
                          .bytes = t->file.bytes };
    const char *pause = getenv("TOKENWORKS_PULL_PAUSE_MS"); /* for tests */
    memcpy(d.sha256, t->file.sha256, sizeof d.sha256);
    d.pause_ms = pause ? strtol(pause, NULL, 10) : 0;
    enum err_code c = download_run(&d, e);
    struct buf sum = { 0 };
    sha256_hex(t->file.sha256, hex);
    buf_printf(&sum, "%s  %s\n", hex, t->name);
    if (!c)
        c = write_note(t, ".sha256", buf_str(&sum), e);
    buf_clear(&sum);
    buf_printf(&sum, "%s\n", buf_str(&t->source));
    if (!c)
        c = write_note(t, ".source", buf_str(&sum), e);
    buf_release(&sum);
    return c;
}

static int list_names(void)
{
    const char *means;
    for (int i = 0; hub_short_name(i, &means); i++)
        printf("%-14s %s\n", hub_short_name(i, &means), means);
    return 0;
}

int cmd_pull(int argc, char **argv)
{
    struct pull_options o = { .state = NULL };
    int positional;
    struct err e = { 0 };
    enum opt_result r = opt_parse(&cmd_pull_spec, argc, argv, &o, &positional);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (o.list)
        return list_names();
    if (positional != 1) {
        fprintf(stderr, "tokenworks pull: name one model: hf:OWNER/REPO[:FILE], a URL, or a short name (--list)\n");
        return 2;
    }
    struct target t = { .bearer = NULL };
    bool here = false;
    enum err_code c = find(argv[1], &o, &t, &e);
    if (!c)
        c = look(&t, &o, &here, &e);
    if (!c && o.plan)
        printf("%s %lld %s\n", t.file.url, (long long)t.file.bytes, buf_str(&t.path));
    else if (!c && !here)
        c = fetch(&t, &e);
    if (!c && !o.plan)
        printf("%s\n", buf_str(&t.path));
    buf_release(&t.source);
    buf_release(&t.path);
    return c ? cmd_fail(&cmd_pull_spec, &e) : 0;
}
