/* enrolled -- whose signatures a site takes: tenants' public keys, a line each in <site>/clients: "<tenant> <vkey>".
 *
 * `tokenworks trust client` writes it; `trust revoke VKEY` ends a key everywhere. */
#ifndef TRUST_ENROLLED_H
#define TRUST_ENROLLED_H
#include "trust/site.h"

enum { ENROLLED_MAX = 4096, ENROLLED_TENANT_MAX = 128 };

struct enrolled_key {
    char tenant[ENROLLED_TENANT_MAX + 1], vkey[KEY_TEXT_MAX];
};
struct enrolled {
    int count;
    struct enrolled_key *of;
};

/* Those the chain has not revoked; no file: none. A line that is malformed is an error naming it. */
enum err_code enrolled_read(const struct site *s, const struct chain *c, struct enrolled *out, struct err *e);
enum err_code enrolled_add(const struct site *s, const char *tenant, const struct key_public *key, struct err *e);
void enrolled_release(struct enrolled *n);
#endif
