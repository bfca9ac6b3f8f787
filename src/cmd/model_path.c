/* model_path -- see model_path.h. */
#include "cmd/model_path.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/mem.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool has_suffix(const char *s, const char *suffix)
{
    size_t n = strlen(s), k = strlen(suffix);
    return n >= k && !strcmp(s + n - k, suffix);
}

static int is_model(const struct dirent *d)
{
    return has_suffix(d->d_name, ".gguf");
}

char *model_path_id(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name);
    return mem_strndup(name, has_suffix(name, ".gguf") ? n - 5 : n);
}

/* The models there, for the sentence that says a name is none of them. */
static void list_names(const char *folder, struct buf *out)
{
    struct dirent **names;
    int n = scandir(folder, &names, is_model, alphasort);
    for (int i = 0; i < n; i++) {
        if (i < 8)
            buf_printf(out, "%s%.*s", i ? ", " : "", (int)strlen(names[i]->d_name) - 5, names[i]->d_name);
        free(names[i]);
    }
    if (n >= 0)
        free(names);
}

static enum err_code first_of(const char *folder, struct buf *path, struct err *e)
{
    struct dirent **names;
    int n = scandir(folder, &names, is_model, alphasort);
    if (n > 0)
        buf_printf(path, "%s/%s", folder, names[0]->d_name);
    for (int i = 0; i < n; i++)
        free(names[i]);
    if (n >= 0)
        free(names);
    if (n > 0)
        return ERR_OK;
    return err_set(e, ERR_NOT_FOUND, "no model in %s; `make run` fetches one, or name a .gguf file", folder);
}

enum err_code model_path_find(const char *arg, const char *state, char **path, struct err *e)
{
    if (arg && (strchr(arg, '/') || has_suffix(arg, ".gguf"))) {
        *path = mem_strdup(arg);
        return ERR_OK;
    }
    char *home = file_state_dir(state);
    struct buf folder = { 0 }, found = { 0 };
    buf_printf(&folder, "%s/models", home);
    mem_free(home);
    enum err_code c = ERR_OK;
    if (arg && strcmp(arg, "default")) {
        buf_printf(&found, "%s/%s.gguf", buf_str(&folder), arg);
        if (access(buf_str(&found), R_OK)) {
            struct buf names = { 0 };
            list_names(buf_str(&folder), &names);
            c = err_set(e, ERR_NOT_FOUND, "no model '%.80s' in %s (there: %s)", arg, buf_str(&folder),
                        names.len ? buf_str(&names) : "none");
            buf_release(&names);
        }
    } else {
        c = first_of(buf_str(&folder), &found, e);
    }
    buf_release(&folder);
    if (c)
        buf_release(&found);
    else
        *path = buf_take(&found);
    return c;
}
