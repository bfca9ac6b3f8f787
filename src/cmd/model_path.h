/* model_path -- what --model names: a file, or a name in the state folder's models/. */
#ifndef CMD_MODEL_PATH_H
#define CMD_MODEL_PATH_H
#include "base/err.h"

struct model_path {
    char *path; /* owned, both */
    char *id;   /* the file's name without .gguf; through a link, that of the file it points to */
};

/* name: a path to a file (it has a '/' or ends with .gguf), else <state>/models/NAME.gguf. `default` is
 * models/default.gguf or models/default (a link or file), else the first .gguf there by name. What `pull` fetched
 * is found by what it was pulled as, too. state: --state. */
enum err_code model_path_find(const char *name, const char *state, struct model_path *out, struct err *e);
void model_path_release(struct model_path *m);
#endif
