/* computed -- who computed an answer that came through a fleet's gateway, as its receipt names them: a part for each
 * worker that had the request, in the order in which they had it.
 *
 *     DE/fra/one boot=0123456789abcdef model=sha256:... numerics=sha256:... tokens=120
 *
 * Place and boot are what the bus says of the worker; model (SHA-256 of its file) and numerics are what it says of
 * itself, "-" when it says nothing; tokens are those the client has from it. The gateway signs that this is what it
 * saw: a worker signs nothing. */
#ifndef TRUST_COMPUTED_H
#define TRUST_COMPUTED_H
#include "trust/code.h"

enum { COMPUTED_MAX = 8, COMPUTED_NAME_MAX = 64, COMPUTED_TEXT_MAX = 512 };

struct computed {
    char jurisdiction[3];         /* ISO 3166-1 alpha-2; "ZZ": it is called otherwise on the bus */
    char site[COMPUTED_NAME_MAX + 1], worker[COMPUTED_NAME_MAX + 1];
    uint64_t boot, tokens;
    bool has_model, has_numerics;
    uint8_t model[HASH_BYTES], numerics[HASH_BYTES];
};

void computed_text(const struct computed *c, char out[COMPUTED_TEXT_MAX]);
bool computed_parse(struct span text, struct computed *out);
#endif
