/* httpsig -- signed requests: the first line is Signature-Input, the second Signature, the rest Content-Digest. */
#include "base/assert.h"
#include "base/mem.h"
#include "trust/httpsig.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = { (const char *)data, size }, input, sig;
    struct httpsig s;
    struct key_public k = { .type = KEY_NOTE };
    uint8_t hash[HASH_BYTES];
    int64_t when;
    static struct sfv_dictionary d;
    sfv_parse(rest, &d, NULL);
    httpsig_date(rest, &when);
    if (!span_line(&rest, &input) || !span_line(&rest, &sig))
        return 0;
    const struct bhttp_message m = {
        .is_request = true, .method = SPAN("POST"), .authority = SPAN("a"), .path = SPAN("/"), .field_count = 2,
        .fields = { { SPAN("signature-input"), input }, { SPAN("signature"), sig } } };
    if (!httpsig_find(&m, &s, NULL)) {
        ASSERT(s.nonce.len >= 16 && s.nonce.len <= HTTPSIG_NONCE_MAX);
        ASSERT(httpsig_verify(&m, &s, &k, hash, NULL) != ERR_OK); /* covered fields are missing */
    }
    httpsig_check_digest(rest, SPAN(""), NULL);
    return 0;
}
