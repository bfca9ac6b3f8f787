/* model_path -- which file a --model argument means: a path, or a name in the state folder's models/. */
#ifndef CMD_MODEL_PATH_H
#define CMD_MODEL_PATH_H
#include "base/err.h"

/* arg: a path to a .gguf file; NAME for <state>/models/NAME.gguf; NULL or "default" for the first file there by
 * name. state: the --state option or NULL. The caller frees *path. ERR_NOT_FOUND says what is there instead. */
enum err_code model_path_find(const char *arg, const char *state, char **path, struct err *e);
/* The model's id: the file name without .gguf. The caller frees it. */
char *model_path_id(const char *path);
#endif
