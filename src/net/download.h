/* download -- one file from a URL to a path: resumed where it broke off, checked against its SHA-256, then renamed.
 *
 * The bytes gather beside the target in .NAME.HASH.part, so what is half there is only ever continued with more of the
 * same file, and the target is the old file or the whole new one. A server that sends the file from its start instead
 * of the part asked for is taken at its word. Blocking; one thread. */
#ifndef NET_DOWNLOAD_H
#define NET_DOWNLOAD_H
#include "base/err.h"
#include "base/sha256.h"

#include <stdint.h>

enum { DOWNLOAD_TRIES = 5 };

struct download {
    const char *url;
    const char *bearer;              /* or NULL */
    const char *path;                /* of the file; its folder must exist */
    const char *what;                /* for the progress bar */
    uint8_t sha256[SHA256_BYTES];
    int64_t bytes;                   /* -1: not known */
    int64_t pause_ms;                /* after the first broken try, doubled after each that brought nothing; 0: 1 s */
};

/* ERR_CORRUPT: all is there and it is not what was asked for (the part is deleted). ERR_BUSY: another process fetches
 * the same. ERR_IO, ERR_DENIED, ERR_NOT_FOUND: as they say; what came is kept for the next time. */
enum err_code download_run(const struct download *d, struct err *e);
#endif
