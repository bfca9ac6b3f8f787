/* note -- signed notes: what parses is UTF-8 lines whose signature lines lie inside the input, and no signature holds. */
#include "base/assert.h"
#include "trust/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct note n;
    static struct key_public k;
    struct span in = { (const char *)data, size };
    int64_t when;
    static const char vkey[] = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
    if (!k.type && key_public_parse(span_of(vkey), &k, NULL))
        return 0;
    if (note_parse(in, &n, NULL))
        return 0;
    ASSERT(note_text_ok(n.text) && n.text.data == in.data && n.sig_count >= 1);
    for (int i = 0; i < n.sig_count; i++)
        ASSERT(n.sigs[i].line.data > n.text.data && n.sigs[i].line.data + n.sigs[i].line.len <= in.data + in.len);
    if (note_verify(&n, &k, NULL) == ERR_OK) /* the corpus holds the one note this key signed */
        ASSERT(span_is(n.text, "This is an example message.\n"));
    cosign_verify(&n, &k, &when, NULL);
    return 0;
}
