/* model_path -- see model_path.h. */
#include "cmd/model_path.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"
#include "cmd/hub.h"

#include <dirent.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum { ENTRIES_MAX = 100000 };

static bool ends_gguf(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && !strcmp(name + n - 5, ".gguf");
}

/* The first .gguf of a folder in the order of their names; the caller frees. NULL: none. */
static char *first_model(const char *folder)
{
    DIR *d = opendir(folder);
    struct dirent *entry;
    char *best = NULL;
    for (int i = 0; d && i < ENTRIES_MAX && (entry = readdir(d)); i++)
        if (ends_gguf(entry->d_name) && (!best || strcmp(entry->d_name, best) < 0)) {
            mem_free(best);
            best = mem_strdup(entry->d_name);
        }
    if (d)
        closedir(d);
    if (!best)
        return NULL;
    struct buf b = { 0 };
    buf_printf(&b, "%s/%s", folder, best);
    mem_free(best);
    return buf_take(&b);
}

/* folder/name+suffix if it can be read, else NULL. */
static char *readable(const char *folder, const char *name, const char *suffix)
{
    struct buf b = { 0 };
    buf_printf(&b, "%s/%s%s", folder, name, suffix);
    if (!access(buf_str(&b), R_OK))
        return buf_take(&b);
    buf_release(&b);
    return NULL;
}

static char *find_by_name(const char *name, const char *folder)
{
    char *path = readable(folder, name, ".gguf");
    if (!path && !strcmp(name, "default"))
        path = readable(folder, name, "");
    if (!path && !strcmp(name, "default"))
        path = first_model(folder);
    return path;
}

/* The model that `pull` got as `name` (hf:OWNER/REPO, hf:OWNER/REPO:PATH or :TYPE; a short name): beside each file it
 * left a .source. NULL: none. */
static char *find_pulled(const char *name, const char *folder)
{
    struct hub_name want;
    DIR *d = hub_name_parse(name, &want, NULL) ? NULL : opendir(folder);
    struct dirent *entry;
    char *best = NULL;
    for (int i = 0; d && !best && i < ENTRIES_MAX && (entry = readdir(d)); i++) {
        size_t n = strlen(entry->d_name);
        struct hub_name have;
        struct buf text = { 0 }, path = { 0 };
        if (n <= 12 || strcmp(entry->d_name + n - 12, ".gguf.source"))
            continue;
        buf_printf(&path, "%s/%s", folder, entry->d_name);
        bool read = !file_read(buf_str(&path), 4096, &text, NULL) && text.len;
        if (read)
            text.data[strcspn(text.data, "\n")] = '\0';
        if (read && !hub_name_parse(text.data, &have, NULL) && !strcasecmp(have.owner, want.owner) &&
            !strcasecmp(have.repo, want.repo) && (!want.file[0] || strcasestr(have.file, want.file)))
            best = mem_strndup(buf_str(&path), path.len - strlen(".source"));
        buf_release(&text);
        buf_release(&path);
    }
    if (d)
        closedir(d);
    return best;
}

static char *id_of(const char *path)
{
    char real[PATH_MAX];
    const char *full = realpath(path, real) ? real : path;
    const char *slash = strrchr(full, '/'), *name = slash ? slash + 1 : full;
    return mem_strndup(name, strlen(name) - (ends_gguf(name) ? 5 : 0));
}

enum err_code model_path_find(const char *name, const char *state, struct model_path *out, struct err *e)
{
    char *path = NULL;
    if (!hub_is_name(name) && (strchr(name, '/') || ends_gguf(name))) {
        if (access(name, R_OK))
            return err_errno(e, "%s: cannot read the model", name);
        path = mem_strdup(name);
    } else {
        char *dir = file_state_dir(state);
        struct buf folder = { 0 };
        buf_printf(&folder, "%s/models", dir);
        path = find_by_name(name, buf_str(&folder));
        if (!path)
            path = find_pulled(name, buf_str(&folder));
        if (!path && hub_is_name(name))
            err_set(e, ERR_NOT_FOUND, "%s is not here yet: tokenworks pull %s", name, name);
        else if (!path)
            err_set(e, ERR_NOT_FOUND, "no model '%s' in %s; name a .gguf file, or let `make run` fetch the default one",
                    name, buf_str(&folder));
        buf_release(&folder);
        mem_free(dir);
        if (!path)
            return ERR_NOT_FOUND;
    }
    *out = (struct model_path){ .path = path, .id = id_of(path) };
    return ERR_OK;
}

void model_path_release(struct model_path *m)
{
    mem_free(m->path);
    mem_free(m->id);
    *m = (struct model_path){ .path = NULL };
}
