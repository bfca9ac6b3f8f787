/* httpsig -- see httpsig.h. */
#include "trust/httpsig.h"

#include "base/mem.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static const char TAG[] = "tokenworks-v1", LABEL[] = "tw";

const char *const httpsig_ours[HTTPSIG_COMPONENTS] = {
    "@method", "@authority", "@path", "@query", "content-type", "content-digest", "date", "tw-node", "tw-model",
    "tw-data-class", "tw-policy",
};

static enum err_code put_component(const struct bhttp_message *m, struct span name, struct buf *out, struct err *e)
{
    struct span path = m->path, query = { "", 0 }, value = { 0 };
    bool twice = false;
    bool has_query = span_cut(m->path, '?', &path, &query);
    buf_printf(out, "\"%.*s\": ", (int)name.len, name.data);
    if (span_is(name, "@method")) {
        buf_append(out, m->method.data, m->method.len);
    } else if (span_is(name, "@authority")) {
        for (size_t i = 0; i < m->authority.len; i++) {
            char c = m->authority.data[i];
            buf_putc(out, c >= 'A' && c <= 'Z' ? (char)(c + 32) : c);
        }
    } else if (span_is(name, "@path")) {
        buf_append(out, path.data, path.len);
    } else if (span_is(name, "@query")) {
        buf_putc(out, '?');
        if (has_query)
            buf_append(out, query.data, query.len);
    } else {
        char key[BHTTP_NAME_MAX + 1];
        if (name.len >= sizeof key || (name.len && name.data[0] == '@'))
            return err_set(e, ERR_INVALID, "the signature covers an unknown component");
        memcpy(key, name.data, name.len);
        key[name.len] = '\0';
        if (!bhttp_field_get(m, key, &value, &twice) || twice)
            return err_set(e, ERR_INVALID, "the signature covers '%s', which the request carries %s", key,
                           twice ? "twice" : "not");
        buf_append(out, value.data, value.len);
    }
    buf_putc(out, '\n');
    return ERR_OK;
}

enum err_code httpsig_base(const struct bhttp_message *m, const struct span *components, int count,
                           struct span params, struct buf *out, struct err *e)
{
    for (int i = 0; i < count; i++) {
        for (int k = 0; k < i; k++)
            if (span_same(components[i], components[k]))
                return err_set(e, ERR_INVALID, "the signature covers a component twice");
        enum err_code c = put_component(m, components[i], out, e);
        if (c)
            return c;
    }
    buf_puts(out, "\"@signature-params\": ");
    buf_append(out, params.data, params.len);
    return ERR_OK;
}

static enum err_code base_of_ours(const struct bhttp_message *m, struct span params, struct buf *out, struct err *e)
{
    struct span names[HTTPSIG_COMPONENTS];
    for (int i = 0; i < HTTPSIG_COMPONENTS; i++)
        names[i] = span_of(httpsig_ours[i]);
    return httpsig_base(m, names, HTTPSIG_COMPONENTS, params, out, e);
}

/* Exactly our components in our order, and exactly our parameters. */
static bool is_our_shape(const struct sfv_member *m)
{
    static const struct { const char *key; enum sfv_kind kind; } params[] = {
        { "created", SFV_INTEGER }, { "expires", SFV_INTEGER }, { "nonce", SFV_STRING }, { "keyid", SFV_STRING },
        { "tag", SFV_STRING } };
    if (m->value.kind != SFV_LIST || m->item_count != HTTPSIG_COMPONENTS || m->param_count != MEM_COUNT(params))
        return false;
    for (int i = 0; i < HTTPSIG_COMPONENTS; i++)
        if (!span_is(m->items[i], httpsig_ours[i]))
            return false;
    for (size_t i = 0; i < MEM_COUNT(params); i++)
        if (!span_is(m->params[i].key, params[i].key) || m->params[i].value.kind != params[i].kind)
            return false;
    return span_is(m->params[4].value.text, TAG);
}

static enum err_code find_fields(const struct bhttp_message *m, struct span *input, struct span *signature,
                                 struct err *e)
{
    bool twice_input = false, twice_sig = false;
    bool has_input = bhttp_field_get(m, "signature-input", input, &twice_input);
    bool has_sig = bhttp_field_get(m, "signature", signature, &twice_sig);
    if (!has_input && !has_sig)
        return err_set(e, ERR_NOT_FOUND, "the request is not signed");
    if (!has_input || !has_sig || twice_input || twice_sig)
        return err_set(e, ERR_INVALID, "the request needs one Signature-Input and one Signature field");
    return ERR_OK;
}

enum err_code httpsig_find(const struct bhttp_message *m, struct httpsig *out, struct err *e)
{
    struct span input_text, sig_text;
    enum err_code c = find_fields(m, &input_text, &sig_text, e);
    if (c)
        return c;
    struct sfv_dictionary *in = MEM_NEW(struct sfv_dictionary), *sigs = MEM_NEW(struct sfv_dictionary);
    c = sfv_parse(input_text, in, e);
    if (!c)
        c = sfv_parse(sig_text, sigs, e);
    const struct sfv_member *params = c ? NULL : sfv_get(in, LABEL), *sig = c ? NULL : sfv_get(sigs, LABEL);
    int ours = 0;
    for (int i = 0; !c && i < in->count; i++) {
        const struct sfv_value *tag = sfv_param(&in->members[i], "tag");
        ours += tag && tag->kind == SFV_STRING && span_is(tag->text, TAG);
    }
    if (!c && (!params || !sig || ours != 1 || !is_our_shape(params)))
        c = err_set(e, ERR_INVALID, "the request needs exactly one signature 'tw', of the shape of tokenworks-v1");
    if (!c && (sig->value.kind != SFV_BYTES || sig->param_count ||
               !code_unbase64_exact(out->sig, KEY_SIG_BYTES, sig->value.text)))
        c = err_set(e, ERR_INVALID, "the request's signature is not 64 bytes");
    if (!c && (params->params[2].value.text.len > HTTPSIG_NONCE_MAX || params->params[2].value.text.len < 16 ||
               params->params[3].value.text.len >= HTTPSIG_KEYID_MAX))
        c = err_set(e, ERR_INVALID, "the request's nonce or keyid has a wrong length");
    if (!c) {
        out->created = params->params[0].value.integer;
        out->expires = params->params[1].value.integer;
        out->nonce = params->params[2].value.text;
        out->keyid = params->params[3].value.text;
        out->params = params->raw;
    }
    mem_free(in);
    mem_free(sigs);
    return c;
}

enum err_code httpsig_verify(const struct bhttp_message *m, const struct httpsig *s, const struct key_public *k,
                             uint8_t base_hash[HASH_BYTES], struct err *e)
{
    struct buf base = { 0 };
    enum err_code c = base_of_ours(m, s->params, &base, e);
    if (!c && !key_verify(k, base.data, base.len, s->sig))
        c = err_set(e, ERR_DENIED, "the request's signature is wrong");
    if (!c)
        code_sha256(base_hash, base.data, base.len);
    buf_release(&base);
    return c;
}

void httpsig_keyid(const struct key_public *k, char out[HTTPSIG_KEYID_MAX])
{
    snprintf(out, HTTPSIG_KEYID_MAX, "%s+%08x", k->name, k->id);
}

enum err_code httpsig_sign(const struct bhttp_message *m, const struct key_secret *k, int64_t created,
                           int64_t expires, const char *nonce, struct buf *input, struct buf *signature, struct err *e)
{
    struct buf params = { 0 }, base = { 0 };
    char keyid[HTTPSIG_KEYID_MAX];
    uint8_t sig[KEY_SIG_BYTES];
    httpsig_keyid(&k->pub, keyid);
    for (int i = 0; i < HTTPSIG_COMPONENTS; i++)
        buf_printf(&params, "%s\"%s\"", i ? " " : "(", httpsig_ours[i]);
    buf_printf(&params, ");created=%" PRId64 ";expires=%" PRId64 ";nonce=\"%s\";keyid=\"%s\";tag=\"%s\"", created,
               expires, nonce, keyid, TAG);
    enum err_code c = base_of_ours(m, (struct span){ params.data, params.len }, &base, e);
    if (!c) {
        key_sign(k, base.data, base.len, sig);
        buf_printf(input, "%s=%s", LABEL, buf_str(&params));
        buf_printf(signature, "%s=:", LABEL);
        code_base64(signature, sig, sizeof sig);
        buf_putc(signature, ':');
    }
    buf_release(&params);
    buf_release(&base);
    return c;
}

void httpsig_digest(struct span content, struct buf *out)
{
    uint8_t hash[HASH_BYTES];
    code_sha256(hash, content.data, content.len);
    buf_puts(out, "sha-256=:");
    code_base64(out, hash, sizeof hash);
    buf_putc(out, ':');
}

enum err_code httpsig_check_digest(struct span field, struct span content, struct err *e)
{
    struct sfv_dictionary *d = MEM_NEW(struct sfv_dictionary);
    uint8_t want[HASH_BYTES], have[HASH_BYTES];
    enum err_code c = sfv_parse(field, d, e);
    const struct sfv_member *m = c ? NULL : sfv_get(d, "sha-256");
    code_sha256(have, content.data, content.len);
    if (!c && (!m || m->value.kind != SFV_BYTES || !code_unbase64_exact(want, HASH_BYTES, m->value.text)))
        c = err_set(e, ERR_INVALID, "Content-Digest needs sha-256");
    if (!c && !code_same(want, have, HASH_BYTES))
        c = err_set(e, ERR_DENIED, "the body does not match Content-Digest");
    mem_free(d);
    return c;
}

static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                    "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

void httpsig_date_text(int64_t unix_s, char out[32])
{
    time_t t = (time_t)unix_s;
    struct tm tm = { 0 };
    gmtime_r(&t, &tm);
    snprintf(out, 32, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday], tm.tm_mday, months[tm.tm_mon],
             tm.tm_year % 8100 + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

bool httpsig_date(struct span text, int64_t *unix_s)
{
    char copy[32], again[32], month[4] = { 0 };
    struct tm tm = { .tm_mon = -1 };
    if (text.len != 29)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (sscanf(copy + 5, "%2d %3s %4d %2d:%2d:%2d GMT", &tm.tm_mday, month, &tm.tm_year, &tm.tm_hour, &tm.tm_min,
               &tm.tm_sec) != 6)
        return false;
    for (int i = 0; i < 12; i++)
        if (!strcmp(month, months[i]))
            tm.tm_mon = i;
    if (tm.tm_mon < 0)
        return false;
    tm.tm_year -= 1900;
    int64_t t = (int64_t)timegm(&tm);
    httpsig_date_text(t, again); /* one spelling only */
    if (strcmp(copy, again))
        return false;
    *unix_s = t;
    return true;
}
