/* hub -- model repositories that speak Hugging Face's API: which files one has, which is meant, and where it lies.
 *
 * HF_ENDPOINT names another hub, HF_TOKEN is sent to it (never in the clear to another machine). What a hub says is
 * hostile until hub_find has checked it: a file's name is only ever one plain name. */
#ifndef CMD_HUB_H
#define CMD_HUB_H
#include "base/err.h"
#include "base/sha256.h"

#include <stdbool.h>
#include <stdint.h>

enum { HUB_PART_MAX = 97, HUB_PATH_MAX = 512 };

struct hub_name {
    char owner[HUB_PART_MAX], repo[HUB_PART_MAX];
    char file[HUB_PATH_MAX];     /* a path in the repository, a file's name or a type like Q4_K_M; "": ours to choose */
};

struct hub_file {
    char path[HUB_PATH_MAX];     /* in the repository */
    char name[HUB_PATH_MAX];     /* its last part: what it is called here */
    char url[2048];
    uint8_t sha256[SHA256_BYTES];
    int64_t bytes;
};

/* "hf:OWNER/REPO[:FILE]" or a short name of the table. ERR_INVALID says what a name looks like. */
enum err_code hub_name_parse(const char *text, struct hub_name *out, struct err *e);
bool hub_is_name(const char *text);                   /* it begins with hf: */
const char *hub_short_name(int i, const char **means);/* the table; NULL past the end */
/* Asks the hub. Among several .gguf files the one whose type comes first in a fixed order (Q4_K_M first). */
enum err_code hub_find(const struct hub_name *n, struct hub_file *out, struct err *e);
const char *hub_token(void);                          /* HF_TOKEN, or NULL */
/* May this be the name of a model file here? Letters, digits, . _ + - only, no leading dot, ending in .gguf. */
bool hub_file_name_ok(const char *name);
bool hub_unhex(const char *hex, uint8_t out[SHA256_BYTES]);
#endif
