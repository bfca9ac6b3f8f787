/* checkpoint -- see checkpoint.h. */
#include "trust/checkpoint.h"

#include <inttypes.h>
#include <string.h>

enum err_code checkpoint_parse(struct span text, struct checkpoint *out, struct err *e)
{
    struct span rest = text, size, root;
    struct checkpoint c = { 0 };
    if (text.len > CHECKPOINT_TEXT_MAX || !span_line(&rest, &c.origin) || !span_line(&rest, &size) ||
        !span_line(&rest, &root))
        return err_set(e, ERR_CORRUPT, "not a checkpoint: it has three lines, origin, size and root");
    if (rest.len)
        return err_set(e, ERR_UNSUPPORTED, "the checkpoint carries extension lines, which no auditor can check");
    if (!key_name_ok(c.origin) || !code_uint(size, &c.size) || c.size >> 63)
        return err_set(e, ERR_CORRUPT, "the checkpoint's origin or size is malformed");
    if (!code_unbase64_exact(c.root, HASH_BYTES, root))
        return err_set(e, ERR_CORRUPT, "the checkpoint's root is not 32 bytes in base64");
    *out = c;
    return ERR_OK;
}

void checkpoint_text(const char *origin, uint64_t size, const uint8_t root[HASH_BYTES], struct buf *out)
{
    buf_printf(out, "%s\n%" PRIu64 "\n", origin, size);
    code_base64(out, root, HASH_BYTES);
    buf_putc(out, '\n');
}

enum err_code checkpoint_open(struct span bytes, const struct key_public *log, struct note *n, struct checkpoint *out,
                              struct err *e)
{
    enum err_code c = note_parse(bytes, n, e);
    if (!c)
        c = note_verify(n, log, e);
    if (!c)
        c = checkpoint_parse(n->text, out, e);
    if (!c && !span_is(out->origin, log->name))
        c = err_set(e, ERR_DENIED, "the checkpoint of %.*s is signed by the key of another log, %s",
                    (int)out->origin.len, out->origin.data, log->name);
    return c;
}

static void cosigned_message(struct span text, uint64_t time_s, struct buf *out)
{
    buf_printf(out, "cosignature/v1\ntime %" PRIu64 "\n", time_s);
    buf_append(out, text.data, text.len);
}

enum err_code cosign_make(struct span text, const struct key_secret *witness, int64_t now_s, struct buf *out,
                          struct err *e)
{
    uint8_t sig[COSIG_BYTES];
    struct buf m = { 0 };
    if (witness->pub.type != KEY_COSIGNATURE || now_s < 0)
        return err_set(e, ERR_INVALID, "the key of %s is not a witness key", witness->pub.name);
    cosigned_message(text, (uint64_t)now_s, &m);
    for (int i = 0; i < 8; i++)
        sig[i] = (uint8_t)((uint64_t)now_s >> (56 - 8 * i));
    key_sign(witness, m.data, m.len, sig + 8);
    note_add_sig(out, &witness->pub, sig, sizeof sig);
    buf_release(&m);
    return ERR_OK;
}

enum err_code cosign_verify(const struct note *n, const struct key_public *witness, int64_t *time_s, struct err *e)
{
    const struct note_sig *s = note_find(n, witness);
    if (!s)
        return err_set(e, ERR_NOT_FOUND, "the checkpoint is not cosigned by %s", witness->name);
    uint64_t t = 0;
    for (int i = 0; i < 8; i++)
        t = t << 8 | s->sig[i];
    struct buf m = { 0 };
    cosigned_message(n->text, t, &m);
    bool ok = witness->type == KEY_COSIGNATURE && s->sig_len == COSIG_BYTES && !(t >> 63) &&
              key_verify(witness, m.data, m.len, s->sig + 8);
    buf_release(&m);
    if (!ok)
        return err_set(e, ERR_DENIED, "the cosignature of %s is wrong", witness->name);
    *time_s = (int64_t)t;
    return ERR_OK;
}
