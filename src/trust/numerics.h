/* numerics -- which arithmetic made an answer: two runs with one id give the same tokens for the same request and seed.
 *
 *     SHA-256("tokenworks/numerics/v1" LF build LF isa LF kv-type LF weights LF)
 *
 * build is the SHA-256 of the program, weights that of the model file. `tokenworks replay` needs an equal id. */
#ifndef TRUST_NUMERICS_H
#define TRUST_NUMERICS_H
#include "trust/code.h"

enum err_code numerics_build(uint8_t out[HASH_BYTES], struct err *e); /* of the running program: /proc/self/exe */
void numerics_id(const uint8_t build[HASH_BYTES], const char *isa, const char *kv_type,
                 const uint8_t weights[HASH_BYTES], uint8_t out[HASH_BYTES]);
#endif
