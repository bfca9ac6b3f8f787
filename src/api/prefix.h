/* prefix -- which prompts begin alike, told without telling what they say. The gateway asks it where to send a
 * request (the worker that has computed the longest common beginning), the engine which beginnings it holds.
 *
 * The text identified: canonical JSON of `tools` (null when absent), a newline, then of each message, a newline
 * after each; for /v1/completions "p", a newline, and the prompt. Canonical: compact, keys sorted by their bytes,
 * strings as base/json writes them, nothing else changed. So a conversation that goes on keeps every hash it had.
 *
 * hash[0] = SipHash-2-4(salt, 8 zero bytes || block 0), hash[i] = SipHash-2-4(salt, hash[i-1] little-endian ||
 * block i), over blocks of 256 bytes. A last block that is not full has no hash: it would change with the next byte. */
#ifndef API_PREFIX_H
#define API_PREFIX_H
#include "api/siphash.h"
#include "base/err.h"

enum { API_PREFIX_BLOCK_BYTES = 256, API_PREFIX_BLOCKS_MAX = 4096 };

struct api_prefix {
    uint64_t *hash; /* [count], owned; hash[i] identifies the first (i + 1) * 256 bytes */
    int count;      /* at most API_PREFIX_BLOCKS_MAX: what is alike for a megabyte may go anywhere */
};

/* body: the request's JSON. salt: the tenant's, so that tenants cannot find out about each other's prompts. Bytes that
 * are no JSON object, or a body with neither messages nor a text prompt, are ERR_INVALID; count 0 is no error. */
enum err_code api_prefix_of(const uint8_t salt[SIPHASH_KEY_BYTES], const char *body, size_t n,
                            struct api_prefix *out, struct err *e);
void api_prefix_release(struct api_prefix *p);
/* How many blocks two requests have in common. */
int api_prefix_common(const struct api_prefix *a, const struct api_prefix *b);
#endif
