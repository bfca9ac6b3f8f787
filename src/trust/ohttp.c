/* ohttp -- see ohttp.h. */
#include "trust/ohttp.h"

#include "base/mem.h"

#include <sodium.h>
#include <string.h>

static const char *request_label(bool chunked)
{
    return chunked ? "message/bhttp chunked request" : "message/bhttp request";
}

static const char *response_label(bool chunked)
{
    return chunked ? "message/bhttp chunked response" : "message/bhttp response";
}

void varint_put(struct buf *out, uint64_t v)
{
    int bytes = v < 1 << 6 ? 1 : v < 1 << 14 ? 2 : v < 1 << 30 ? 4 : 8;
    uint8_t tag = bytes == 1 ? 0x00 : bytes == 2 ? 0x40 : bytes == 4 ? 0x80 : 0xC0;
    for (int i = bytes - 1; i >= 0; i--)
        buf_putc(out, (char)((uint8_t)(v >> (8 * i)) | (i == bytes - 1 ? tag : 0)));
}

bool varint_take(struct span *in, uint64_t *v)
{
    if (!in->len)
        return false;
    size_t bytes = (size_t)1 << ((uint8_t)in->data[0] >> 6);
    if (in->len < bytes)
        return false;
    uint64_t n = (uint8_t)in->data[0] & 0x3f;
    for (size_t i = 1; i < bytes; i++)
        n = n << 8 | (uint8_t)in->data[i];
    in->data += bytes;
    in->len -= bytes;
    *v = n;
    return true;
}

/* The n bytes written where buf_reserve pointed now count; a buf always ends with a NUL. */
static void grew(struct buf *b, size_t n)
{
    b->len += n;
    b->data[b->len] = '\0';
}

/* ---- key configurations */

void ohttp_key_new(uint8_t id, struct ohttp_key *out)
{
    *out = (struct ohttp_key){ .id = id };
    hpke_keypair(out->secret, out->pub);
}

void ohttp_config_write(const struct ohttp_key *k, struct buf *out)
{
    const uint8_t head[3] = { k->id, HPKE_KEM >> 8, HPKE_KEM & 0xff };
    const uint8_t suites[6] = { 0, 4, 0, HPKE_KDF, 0, HPKE_CHACHA20_POLY1305 };
    buf_append(out, head, sizeof head);
    buf_append(out, k->pub, sizeof k->pub);
    buf_append(out, suites, sizeof suites);
}

enum err_code ohttp_config_parse(struct span config, uint8_t *id, uint8_t pub[HPKE_KEY_BYTES], struct err *e)
{
    const uint8_t *p = (const uint8_t *)config.data;
    const size_t fixed = 3 + HPKE_KEY_BYTES + 2;
    if (config.len < fixed || p[1] != HPKE_KEM >> 8 || p[2] != (HPKE_KEM & 0xff))
        return err_set(e, ERR_UNSUPPORTED, "the sealed-request key is not X25519");
    size_t suites = (size_t)p[fixed - 2] << 8 | p[fixed - 1];
    if (suites % 4 || suites != config.len - fixed)
        return err_set(e, ERR_CORRUPT, "the sealed-request key configuration has a wrong length");
    for (size_t i = fixed; i < config.len; i += 4)
        if (!p[i] && p[i + 1] == HPKE_KDF && !p[i + 2] && p[i + 3] == HPKE_CHACHA20_POLY1305) {
            *id = p[0];
            memcpy(pub, p + 3, HPKE_KEY_BYTES);
            return ERR_OK;
        }
    return err_set(e, ERR_UNSUPPORTED, "the sealed-request key does not offer ChaCha20-Poly1305");
}

/* ---- requests */

/* label || 0x00 || header */
static size_t make_info(uint8_t out[64], bool chunked, const uint8_t header[OHTTP_HEADER_BYTES])
{
    const char *label = request_label(chunked);
    size_t n = strlen(label) + 1;
    memcpy(out, label, n);
    memcpy(out + n, header, OHTTP_HEADER_BYTES);
    return n + OHTTP_HEADER_BYTES;
}

enum err_code ohttp_receive(const struct ohttp_key *keys, int count, bool chunked, struct span head,
                            struct ohttp *out, struct err *e)
{
    const uint8_t *p = (const uint8_t *)head.data;
    uint8_t info[64];
    if (head.len != OHTTP_REQUEST_HEAD)
        return err_set(e, ERR_CORRUPT, "the sealed request is too short");
    if (p[1] || p[2] != HPKE_KEM || p[3] || p[4] != HPKE_KDF || p[5] ||
        (p[6] != HPKE_CHACHA20_POLY1305 && p[6] != HPKE_AES_128_GCM))
        return err_set(e, ERR_UNSUPPORTED, "the sealed request uses another cipher suite");
    struct ohttp x = { .key_id = p[0], .chunked = chunked };
    memcpy(x.enc, p + OHTTP_HEADER_BYTES, HPKE_KEY_BYTES);
    size_t n = make_info(info, chunked, p);
    for (int i = 0; i < count; i++) {
        if (keys[i].id != p[0] || (p[6] != HPKE_CHACHA20_POLY1305 && !keys[i].any_suite))
            continue;
        enum err_code c = hpke_receive(p[6], keys[i].secret, x.enc, (struct span){ (char *)info, n }, &x.hpke, e);
        if (!c)
            *out = x;
        ohttp_wipe(&x);
        return c;
    }
    return err_set(e, ERR_NOT_FOUND, "the sealed request names key %u, which is not ours or has expired", p[0]);
}

enum err_code ohttp_send(uint8_t key_id, const uint8_t to[HPKE_KEY_BYTES], enum hpke_aead aead, bool chunked,
                         const uint8_t *ephemeral, struct ohttp *out, struct buf *head, struct err *e)
{
    const uint8_t header[OHTTP_HEADER_BYTES] = { key_id, 0, HPKE_KEM, 0, HPKE_KDF, 0, (uint8_t)aead };
    uint8_t info[64];
    struct ohttp x = { .key_id = key_id, .chunked = chunked };
    size_t n = make_info(info, chunked, header);
    enum err_code c = hpke_send(aead, to, (struct span){ (char *)info, n }, ephemeral, x.enc, &x.hpke, e);
    if (c)
        return c;
    buf_append(head, header, sizeof header);
    buf_append(head, x.enc, sizeof x.enc);
    *out = x;
    ohttp_wipe(&x);
    return ERR_OK;
}

void ohttp_wipe(struct ohttp *x)
{
    sodium_memzero(x, sizeof *x);
}

void ohttp_salt(const struct ohttp *x, const char *role, uint8_t out[32])
{
    struct buf label = { 0 };
    buf_printf(&label, "tokenworks commit %s", role);
    hpke_export(&x->hpke, (struct span){ label.data, label.len }, out, 32);
    buf_release(&label);
}

enum err_code ohttp_open_request(struct ohttp *x, struct span sealed, struct buf *plain, struct err *e)
{
    if (x->chunked || sealed.len < HPKE_TAG_BYTES)
        return err_set(e, ERR_CORRUPT, "the sealed request is too short");
    char *room = buf_reserve(plain, sealed.len);
    if (!room)
        return err_set(e, ERR_LIMIT, "the sealed request is too long");
    enum err_code c = hpke_open(&x->hpke, SPAN(""), sealed, (uint8_t *)room, e);
    if (!c)
        grew(plain, sealed.len - HPKE_TAG_BYTES);
    return c;
}

enum err_code ohttp_seal_request(struct ohttp *x, struct span plain, struct buf *sealed, struct err *e)
{
    char *room = buf_reserve(sealed, plain.len + HPKE_TAG_BYTES);
    if (!room)
        return err_set(e, ERR_LIMIT, "the request is too long to seal");
    enum err_code c = hpke_seal(&x->hpke, SPAN(""), plain, (uint8_t *)room, e);
    if (!c)
        grew(sealed, plain.len + HPKE_TAG_BYTES);
    return c;
}

/* ---- the key of a response */

size_t ohttp_nonce_bytes(const struct ohttp *x)
{
    size_t k = hpke_key_bytes(x->hpke.aead);
    return k > HPKE_NONCE_BYTES ? k : HPKE_NONCE_BYTES;
}

static void response_keys(const struct ohttp *x, const uint8_t *nonce, struct ohttp_stream *out)
{
    uint8_t secret[32], prk[HASH_BYTES], salt[HPKE_KEY_BYTES + OHTTP_NONCE_MAX];
    size_t n = ohttp_nonce_bytes(x);
    hpke_export(&x->hpke, span_of(response_label(x->chunked)), secret, n);
    memcpy(salt, x->enc, HPKE_KEY_BYTES);
    memcpy(salt + HPKE_KEY_BYTES, nonce, n);
    hkdf_extract((struct span){ (char *)salt, HPKE_KEY_BYTES + n }, (struct span){ (char *)secret, n }, prk);
    *out = (struct ohttp_stream){ .aead = x->hpke.aead };
    hkdf_expand(prk, SPAN("key"), out->key, hpke_key_bytes(x->hpke.aead));
    hkdf_expand(prk, SPAN("nonce"), out->nonce, HPKE_NONCE_BYTES);
    sodium_memzero(secret, sizeof secret);
    sodium_memzero(prk, sizeof prk);
}

static void fresh_nonce(const struct ohttp *x, const uint8_t *given, uint8_t out[OHTTP_NONCE_MAX])
{
    if (given)
        memcpy(out, given, ohttp_nonce_bytes(x));
    else
        randombytes_buf(out, ohttp_nonce_bytes(x));
}

enum err_code ohttp_seal_response(const struct ohttp *x, const uint8_t *given, struct span plain, struct buf *out,
                                  struct err *e)
{
    struct ohttp_stream s;
    uint8_t nonce[OHTTP_NONCE_MAX];
    fresh_nonce(x, given, nonce);
    response_keys(x, nonce, &s);
    buf_append(out, nonce, ohttp_nonce_bytes(x));
    char *room = buf_reserve(out, plain.len + HPKE_TAG_BYTES);
    enum err_code c = room ? aead_seal(s.aead, s.key, s.nonce, SPAN(""), plain, (uint8_t *)room, e)
                           : err_set(e, ERR_LIMIT, "the response is too long to seal");
    if (!c)
        grew(out, plain.len + HPKE_TAG_BYTES);
    ohttp_stream_release(&s);
    return c;
}

enum err_code ohttp_open_response(const struct ohttp *x, struct span sealed, struct buf *plain, struct err *e)
{
    struct ohttp_stream s;
    size_t n = ohttp_nonce_bytes(x);
    if (sealed.len < n + HPKE_TAG_BYTES)
        return err_set(e, ERR_CORRUPT, "the sealed response is too short");
    response_keys(x, (const uint8_t *)sealed.data, &s);
    struct span body = { sealed.data + n, sealed.len - n };
    char *room = buf_reserve(plain, body.len);
    enum err_code c = room ? aead_open(s.aead, s.key, s.nonce, SPAN(""), body, (uint8_t *)room, e)
                           : err_set(e, ERR_LIMIT, "the sealed response is too long");
    if (!c)
        grew(plain, body.len - HPKE_TAG_BYTES);
    ohttp_stream_release(&s);
    return c;
}

/* ---- chunks */

void ohttp_request_stream(struct ohttp *x, struct ohttp_stream *out)
{
    *out = (struct ohttp_stream){ .aead = x->hpke.aead, .request = &x->hpke };
}

enum err_code ohttp_response_writer(const struct ohttp *x, const uint8_t *given, struct ohttp_stream *out,
                                    struct buf *head, struct err *e)
{
    uint8_t nonce[OHTTP_NONCE_MAX];
    fresh_nonce(x, given, nonce);
    response_keys(x, nonce, out);
    return buf_append(head, nonce, ohttp_nonce_bytes(x)) ? ERR_OK : err_set(e, ERR_LIMIT, "the response is too long");
}

enum err_code ohttp_response_reader(const struct ohttp *x, struct span nonce, struct ohttp_stream *out, struct err *e)
{
    if (nonce.len != ohttp_nonce_bytes(x))
        return err_set(e, ERR_CORRUPT, "the sealed response is too short");
    response_keys(x, (const uint8_t *)nonce.data, out);
    return ERR_OK;
}

static void chunk_nonce(const struct ohttp_stream *s, uint8_t out[HPKE_NONCE_BYTES])
{
    memcpy(out, s->nonce, HPKE_NONCE_BYTES);
    for (int i = 0; i < 8; i++)
        out[HPKE_NONCE_BYTES - 1 - i] ^= (uint8_t)(s->counter >> (8 * i));
}

enum err_code ohttp_write_chunk(struct ohttp_stream *s, struct span plain, bool final, struct buf *out, struct err *e)
{
    uint8_t nonce[HPKE_NONCE_BYTES];
    struct span aad = final ? SPAN("final") : SPAN("");
    size_t start = out->len;
    if (s->done)
        return err_set(e, ERR_INVALID, "the sealed stream has ended already");
    varint_put(out, final ? 0 : plain.len + HPKE_TAG_BYTES);
    char *room = buf_reserve(out, plain.len + HPKE_TAG_BYTES);
    enum err_code c = room ? ERR_OK : err_set(e, ERR_LIMIT, "the sealed stream is too long");
    chunk_nonce(s, nonce);
    if (!c && s->request)
        c = hpke_seal(s->request, aad, plain, (uint8_t *)room, e);
    else if (!c)
        c = aead_seal(s->aead, s->key, nonce, aad, plain, (uint8_t *)room, e);
    if (c)
        out->len = start;
    grew(out, c ? 0 : plain.len + HPKE_TAG_BYTES);
    s->counter += !c;
    s->done = !c && final;
    return c;
}

static enum err_code open_chunk(struct ohttp_stream *s, struct span sealed, bool final, struct buf *plain,
                                struct err *e)
{
    uint8_t nonce[HPKE_NONCE_BYTES];
    struct span aad = final ? SPAN("final") : SPAN("");
    if (sealed.len < HPKE_TAG_BYTES)
        return err_set(e, ERR_CORRUPT, "the sealed stream was cut");
    char *room = buf_reserve(plain, sealed.len);
    enum err_code c = room ? ERR_OK : err_set(e, ERR_LIMIT, "the sealed stream is too long");
    chunk_nonce(s, nonce);
    if (!c && s->request)
        c = hpke_open(s->request, aad, sealed, (uint8_t *)room, e);
    else if (!c)
        c = aead_open(s->aead, s->key, nonce, aad, sealed, (uint8_t *)room, e);
    if (c)
        return c;
    grew(plain, sealed.len - HPKE_TAG_BYTES);
    s->counter++;
    return ERR_OK;
}

enum err_code ohttp_read(struct ohttp_stream *s, struct span in, struct buf *plain, struct err *e)
{
    if (s->done)
        return in.len ? err_set(e, ERR_CORRUPT, "bytes follow the end of the sealed stream") : ERR_OK;
    if (!buf_append(&s->pending, in.data, in.len))
        return err_set(e, ERR_LIMIT, "the sealed stream is too long");
    size_t used = 0;
    enum err_code c = ERR_OK;
    for (;;) {
        struct span rest = { buf_str(&s->pending) + used, s->pending.len - used };
        uint64_t n = 0;
        if (!varint_take(&rest, &n) || !n) /* 0: the final chunk, which only the end of the bytes delimits */
            break;
        if (n > OHTTP_CHUNK_MAX + HPKE_TAG_BYTES) {
            c = err_set(e, ERR_LIMIT, "a sealed chunk is longer than %d bytes", OHTTP_CHUNK_MAX);
            break;
        }
        if (rest.len < n)
            break;
        c = open_chunk(s, (struct span){ rest.data, (size_t)n }, false, plain, e);
        if (c)
            break;
        used = s->pending.len - rest.len + (size_t)n;
    }
    buf_drop_front(&s->pending, used);
    if (!c && s->pending.len > OHTTP_CHUNK_MAX + HPKE_TAG_BYTES + 8)
        c = err_set(e, ERR_LIMIT, "a sealed chunk is longer than %d bytes", OHTTP_CHUNK_MAX);
    return c;
}

enum err_code ohttp_read_end(struct ohttp_stream *s, struct buf *plain, struct err *e)
{
    struct span rest = { buf_str(&s->pending), s->pending.len };
    uint64_t n = 1;
    if (s->done || !varint_take(&rest, &n) || n)
        return err_set(e, ERR_CORRUPT, "the sealed stream was cut before its final chunk");
    enum err_code c = open_chunk(s, rest, true, plain, e);
    s->done = !c;
    return c;
}

void ohttp_stream_release(struct ohttp_stream *s)
{
    buf_release(&s->pending);
    sodium_memzero(s, sizeof *s);
}
