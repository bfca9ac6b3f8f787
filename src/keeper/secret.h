/* secret -- memory for keys: pages no other process and no kernel mapping reaches (memfd_secret), else locked ones. */
#ifndef KEEPER_SECRET_H
#define KEEPER_SECRET_H
#include "base/err.h"

#include <stddef.h>

struct secret {
    void *data; /* zeroed, page-aligned */
    size_t bytes;
    const char *kind; /* "memfd_secret" or "mlock" */
};

/* ERR_DENIED names the permission that is missing: keys never go to memory that may be swapped. */
enum err_code secret_new(size_t bytes, struct secret *out, struct err *e);
void secret_free(struct secret *s); /* wipes */
#endif
