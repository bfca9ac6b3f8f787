/* boot -- see boot.h. */
#include "trust/boot.h"

#include "base/rng.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void boot_id(char out[33])
{
    uint8_t raw[16];
    rng_system(raw, sizeof raw);
    code_hex(out, raw, sizeof raw);
}

enum err_code boot_signer_init(struct boot_signer *s, const char *site, const char *boot, struct err *e)
{
    char name[KEY_NAME_MAX + 1];
    *s = (struct boot_signer){ 0 };
    if (snprintf(name, sizeof name, "%s/receipt/%s", site, boot) >= (int)sizeof name)
        return err_set(e, ERR_INVALID, "the site's and boot's names together are longer than %d", KEY_NAME_MAX);
    snprintf(s->boot, sizeof s->boot, "%s", boot);
    return key_secret_new(name, KEY_NOTE, NULL, &s->key, e);
}

enum err_code boot_sign(struct boot_signer *s, struct receipt *r, struct buf *note, struct err *e)
{
    struct buf text = { 0 };
    size_t start = note->len;
    snprintf(r->boot, sizeof r->boot, "%s", s->boot);
    r->seq = s->next;
    r->has_prev = s->next > 0;
    memcpy(r->prev, s->prev, sizeof r->prev);
    enum err_code c = receipt_text(r, &text, e);
    if (!c)
        c = note_sign((struct span){ text.data, text.len }, &s->key, note, e);
    if (!c) {
        code_sha256(s->prev, note->data + start, note->len - start);
        s->next++;
    }
    buf_release(&text);
    return c;
}

enum err_code boot_close_text(const struct boot_signer *s, int64_t now_s, struct buf *out, struct err *e)
{
    char seq[24], last[HASH_TEXT_MAX] = "-", at[TIME_TEXT_MAX];
    snprintf(seq, sizeof seq, "%" PRIu64, s->next ? s->next - 1 : 0);
    if (s->next)
        code_hash_text(last, s->prev);
    code_time_text(at, now_s);
    const struct span v[] = { span_of(s->boot), span_of(seq), span_of(last), span_of(at) };
    return statement_write(STATEMENT_CLOSE, v, 4, out, e);
}

void boot_signer_wipe(struct boot_signer *s)
{
    key_secret_wipe(&s->key);
}

static struct span or_dash(const char *s)
{
    return s && *s ? span_of(s) : SPAN("-");
}

enum err_code boot_node_text(const struct boot_node *n, struct buf *out, struct err *e)
{
    char epoch[24], last[24] = "-", sandbox[HASH_TEXT_MAX] = "-", numerics[HASH_TEXT_MAX] = "-";
    char from[TIME_TEXT_MAX], to[TIME_TEXT_MAX];
    struct buf config = { 0 };
    uint8_t hash[HASH_BYTES];
    snprintf(epoch, sizeof epoch, "%" PRIu64, n->epoch);
    if (n->previous_receipts)
        snprintf(last, sizeof last, "%" PRIu64, n->previous_receipts - 1);
    if (n->sandbox && *n->sandbox) {
        code_sha256(hash, n->sandbox, strlen(n->sandbox));
        code_hash_text(sandbox, hash);
    }
    if (n->numerics)
        code_hash_text(numerics, n->numerics);
    code_time_text(from, n->not_before);
    code_time_text(to, n->not_after);
    if (n->ohttp_config.len)
        code_base64(&config, n->ohttp_config.data, n->ohttp_config.len);
    const struct span v[] = { or_dash(n->name), or_dash(n->boot), span_of(epoch), or_dash(n->previous_boot),
                              span_of(last), or_dash(n->site), or_dash(n->jurisdiction), or_dash(n->release),
                              or_dash(n->policy), or_dash(n->models), span_of(numerics), or_dash(buf_str(&config)),
                              or_dash(n->receipt_key), span_of(sandbox), SPAN("none"), span_of(from), span_of(to) };
    enum err_code c = statement_write(STATEMENT_NODE, v, sizeof v / sizeof *v, out, e);
    buf_release(&config);
    return c;
}
