/* keeper -- the process that holds a site's private keys and signs what a fixed table lets it sign.
 *
 * It reads its keys, makes the boot's receipt key, goes into the sandbox, and answers one request after the other
 * on its socket until that closes. It opens no file and no socket after start. It sees hashes, never content.
 *
 * What it will not do, whoever asks: sign a receipt out of order or for another boot; sign a checkpoint that does
 * not grow out of the last it signed; sign a node note for a key that is not its own; sign anything after the close. */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H
#include "base/err.h"

#include <stdbool.h>

struct keeper_options {
    const char *site_dir;  /* trust/site.h: where keys/ and public/ are */
    const char *boot;      /* this boot's id */
    bool best_effort;      /* --sandbox=best-effort */
    bool air_gapped;       /* --air-gapped */
    bool no_sandbox;       /* tests that run it as a thread */
};

/* Serves on socket until it closes. ERR_OK then. */
enum err_code keeper_run(int socket, const struct keeper_options *o, struct err *e);
#endif
