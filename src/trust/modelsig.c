/* modelsig -- see modelsig.h. */
#include "trust/modelsig.h"

#include "base/json.h"
#include "base/mem.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char PAYLOAD_TYPE[] = "application/vnd.in-toto+json";
static const char STATEMENT_URI[] = "https://in-toto.io/Statement/v1";
static const char PREDICATE_URI[] = "https://model_signing/signature/v1.0";
static const char BUNDLE_TYPE[] = "application/vnd.dev.sigstore.bundle.v0.3+json";
enum { HASH_CHUNK = 1 << 20, SIG_MAX = 128 };

/* ---- keys */

static EVP_PKEY *read_key(struct span pem, bool secret, struct err *e)
{
    BIO *b = pem.len && pem.len < 1 << 16 ? BIO_new_mem_buf(pem.data, (int)pem.len) : NULL;
    EVP_PKEY *k = !b ? NULL : secret ? PEM_read_bio_PrivateKey(b, NULL, NULL, (void *)(uintptr_t)"")
                                     : PEM_read_bio_PUBKEY(b, NULL, NULL, NULL);
    char curve[32] = "";
    size_t n = 0;
    BIO_free(b);
    if (!k || EVP_PKEY_get_utf8_string_param(k, "group", curve, sizeof curve, &n) != 1 || strcmp(curve, "prime256v1")) {
        EVP_PKEY_free(k);
        err_set(e, ERR_INVALID, "not a %s P-256 key in PEM", secret ? "private" : "public");
        return NULL;
    }
    return k;
}

static void take_bio(BIO *b, struct buf *out)
{
    char *data = NULL;
    long n = BIO_get_mem_data(b, &data);
    if (n > 0)
        buf_append(out, data, (size_t)n);
}

/* The public key as PEM: what the bundle's hint is the SHA-256 of. */
static bool public_pem_of(EVP_PKEY *k, struct buf *out)
{
    BIO *b = BIO_new(BIO_s_mem());
    bool ok = b && PEM_write_bio_PUBKEY(b, k) == 1;
    if (ok)
        take_bio(b, out);
    BIO_free(b);
    return ok;
}

enum err_code modelsig_keygen(struct buf *secret_pem, struct buf *public_pem, struct err *e)
{
    EVP_PKEY *k = EVP_EC_gen("P-256");
    BIO *b = BIO_new(BIO_s_secmem());
    bool ok = k && b && PEM_write_bio_PKCS8PrivateKey(b, k, NULL, NULL, 0, NULL, NULL) == 1 &&
              public_pem_of(k, public_pem);
    if (ok)
        take_bio(b, secret_pem);
    BIO_free(b);
    EVP_PKEY_free(k);
    return ok ? ERR_OK : err_set(e, ERR_IO, "a P-256 key cannot be made");
}

/* ---- the manifest */

static bool name_ok(const char *s)
{
    size_t n = strlen(s);
    if (!n || n > MODELSIG_NAME_MAX || s[0] == '/' || s[n - 1] == '/' || strchr(s, '\\'))
        return false;
    for (const char *p = s; *p;) { /* each part between slashes */
        size_t part = strcspn(p, "/");
        if (!part || (part == 1 && p[0] == '.') || (part == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        p += part + (p[part] == '/');
    }
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct modelsig_file *)a)->name, ((const struct modelsig_file *)b)->name);
}

static void root_of(const struct modelsig *m, uint8_t out[HASH_BYTES])
{
    struct buf all = { 0 };
    for (int i = 0; i < m->count; i++)
        buf_append(&all, m->files[i].sha256, HASH_BYTES);
    code_sha256(out, buf_str(&all), all.len);
    buf_release(&all);
}

enum err_code modelsig_root(struct modelsig *m, struct err *e)
{
    if (m->count < 1 || m->count > MODELSIG_FILES_MAX || !name_ok(m->model))
        return err_set(e, ERR_INVALID, "a model needs a name and 1 to %d files", MODELSIG_FILES_MAX);
    qsort(m->files, (size_t)m->count, sizeof *m->files, by_name);
    for (int i = 0; i < m->count; i++)
        if (!name_ok(m->files[i].name) || (i && !strcmp(m->files[i].name, m->files[i - 1].name)))
            return err_set(e, ERR_INVALID, "the file name '%.100s' is malformed or there twice", m->files[i].name);
    root_of(m, m->root);
    return ERR_OK;
}

void modelsig_release(struct modelsig *m)
{
    mem_free(m->files);
    *m = (struct modelsig){ 0 };
}

static json_t *hex_json(const uint8_t hash[HASH_BYTES])
{
    char hex[HASH_HEX + 1];
    code_hex(hex, hash, HASH_BYTES);
    return json_string(hex);
}

static json_t *statement_json(const struct modelsig *m)
{
    json_t *resources = json_array();
    for (int i = 0; i < m->count; i++)
        json_array_append_new(resources, json_pack("{s:s, s:s, s:o}", "name", m->files[i].name, "algorithm", "sha256",
                                                   "digest", hex_json(m->files[i].sha256)));
    return json_pack("{s:s, s:[{s:s, s:{s:o}}], s:s, s:{s:{s:s, s:s, s:b, s:[]}, s:o}}", "_type", STATEMENT_URI,
                     "subject", "name", m->model, "digest", "sha256", hex_json(m->root), "predicateType", PREDICATE_URI,
                     "predicate", "serialization", "method", "files", "hash_type", "sha256", "allow_symlinks", 0,
                     "ignore_paths", "resources", resources);
}

/* DSSE v1: "DSSEv1 " type length, type, payload length, payload. */
static void pae(struct span payload, struct buf *out)
{
    buf_printf(out, "DSSEv1 %zu %s %zu ", strlen(PAYLOAD_TYPE), PAYLOAD_TYPE, payload.len);
    buf_append(out, payload.data, payload.len);
}

static bool ecdsa_sign(EVP_PKEY *k, struct span text, uint8_t sig[SIG_MAX], size_t *n)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    *n = SIG_MAX;
    bool ok = c && EVP_DigestSignInit(c, NULL, EVP_sha256(), NULL, k) == 1 &&
              EVP_DigestSign(c, sig, n, (const uint8_t *)text.data, text.len) == 1;
    EVP_MD_CTX_free(c);
    return ok;
}

static bool ecdsa_verify(EVP_PKEY *k, struct span text, const uint8_t *sig, size_t n)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    bool ok = c && EVP_DigestVerifyInit(c, NULL, EVP_sha256(), NULL, k) == 1 &&
              EVP_DigestVerify(c, sig, n, (const uint8_t *)text.data, text.len) == 1;
    EVP_MD_CTX_free(c);
    return ok;
}

static void bundle_json(struct span payload, const uint8_t *sig, size_t sig_len, EVP_PKEY *k, struct buf *out)
{
    struct buf payload64 = { 0 }, sig64 = { 0 }, pem = { 0 };
    uint8_t hint[HASH_BYTES];
    code_base64(&payload64, payload.data, payload.len);
    code_base64(&sig64, sig, sig_len);
    public_pem_of(k, &pem);
    code_sha256(hint, pem.data, pem.len);
    json_t *b = json_pack("{s:s, s:{s:{s:o}, s:[]}, s:{s:s, s:s, s:[{s:s, s:s}]}}", "mediaType", BUNDLE_TYPE,
                          "verificationMaterial", "publicKey", "hint", hex_json(hint), "tlogEntries", "dsseEnvelope",
                          "payload", buf_str(&payload64), "payloadType", PAYLOAD_TYPE, "signatures", "sig",
                          buf_str(&sig64), "keyid", "");
    jsonx_dump(b, out);
    json_decref(b);
    buf_release(&payload64);
    buf_release(&sig64);
    buf_release(&pem);
}

enum err_code modelsig_make(struct modelsig *m, struct span secret_pem, struct buf *bundle, struct err *e)
{
    struct buf payload = { 0 }, text = { 0 };
    uint8_t sig[SIG_MAX];
    size_t n = 0;
    enum err_code c = modelsig_root(m, e);
    EVP_PKEY *k = c ? NULL : read_key(secret_pem, true, e);
    if (!c && !k)
        c = ERR_INVALID;
    if (!c) {
        json_t *s = statement_json(m);
        jsonx_dump(s, &payload);
        json_decref(s);
        pae((struct span){ payload.data, payload.len }, &text);
        c = ecdsa_sign(k, (struct span){ text.data, text.len }, sig, &n) ? ERR_OK : err_set(e, ERR_IO, "cannot sign");
    }
    if (!c)
        bundle_json((struct span){ payload.data, payload.len }, sig, n, k, bundle);
    EVP_PKEY_free(k);
    buf_release(&payload);
    buf_release(&text);
    return c;
}

/* ---- verification */

static const char *text_at(const json_t *obj, const char *key)
{
    const char *s = json_string_value(json_object_get(obj, key));
    return s ? s : "";
}

static bool unbase64_to(const char *text, struct buf *out)
{
    struct span s = span_of(text);
    size_t n = s.len;
    char *room = buf_reserve(out, n + 1);
    if (!room || !code_unbase64((uint8_t *)room, &n, s))
        return false;
    out->len += n;
    out->data[out->len] = '\0';
    return true;
}

/* The envelope's signature holds; payload gets what was signed. */
static enum err_code open_bundle(const json_t *bundle, EVP_PKEY *k, struct buf *payload, struct err *e)
{
    const json_t *env = json_object_get(bundle, "dsseEnvelope");
    const json_t *sigs = json_object_get(env, "signatures");
    const char *hint = text_at(json_object_get(json_object_get(bundle, "verificationMaterial"), "publicKey"), "hint");
    struct buf sig = { 0 }, text = { 0 }, pem = { 0 };
    uint8_t hash[HASH_BYTES];
    char want[HASH_HEX + 1] = "";
    enum err_code c = ERR_OK;
    public_pem_of(k, &pem);
    code_sha256(hash, pem.data, pem.len);
    code_hex(want, hash, HASH_BYTES);
    if (strcmp(text_at(bundle, "mediaType"), BUNDLE_TYPE) || strcmp(text_at(env, "payloadType"), PAYLOAD_TYPE) ||
        json_array_size(sigs) != 1)
        c = err_set(e, ERR_UNSUPPORTED, "not a Sigstore bundle v0.3 with one signature over an in-toto statement");
    if (!c && *hint && strcmp(hint, want))
        c = err_set(e, ERR_DENIED, "the model is signed with another key");
    if (!c && (!unbase64_to(text_at(env, "payload"), payload) ||
               !unbase64_to(text_at(json_array_get(sigs, 0), "sig"), &sig)))
        c = err_set(e, ERR_CORRUPT, "the bundle's base64 is malformed");
    if (!c) {
        pae((struct span){ payload->data, payload->len }, &text);
        if (!ecdsa_verify(k, (struct span){ text.data, text.len }, (const uint8_t *)buf_str(&sig), sig.len))
            c = err_set(e, ERR_DENIED, "the model's signature is wrong");
    }
    buf_release(&sig);
    buf_release(&text);
    buf_release(&pem);
    return c;
}

static enum err_code read_files(const json_t *resources, struct modelsig *m, struct err *e)
{
    size_t n = json_array_size(resources);
    if (!n || n > MODELSIG_FILES_MAX)
        return err_set(e, ERR_LIMIT, "the manifest lists no file or more than %d", MODELSIG_FILES_MAX);
    m->files = mem_new(n, sizeof *m->files);
    for (size_t i = 0; i < n; i++) {
        const json_t *r = json_array_get(resources, i);
        const char *name = text_at(r, "name");
        struct modelsig_file *f = &m->files[m->count++];
        if (!name_ok(name) || strcmp(text_at(r, "algorithm"), "sha256") ||
            !code_unhex(f->sha256, HASH_BYTES, span_of(text_at(r, "digest"))))
            return err_set(e, ERR_CORRUPT, "the manifest's file %zu is malformed", i + 1);
        snprintf(f->name, sizeof f->name, "%s", name);
        if (i && by_name(f, f - 1) <= 0)
            return err_set(e, ERR_CORRUPT, "the manifest is not in order of name");
    }
    return ERR_OK;
}

static enum err_code read_statement(const json_t *s, struct modelsig *m, struct err *e)
{
    const json_t *subjects = json_object_get(s, "subject"), *subject = json_array_get(subjects, 0);
    const json_t *predicate = json_object_get(s, "predicate");
    const json_t *how = json_object_get(predicate, "serialization");
    uint8_t stated[HASH_BYTES];
    if (strcmp(text_at(s, "_type"), STATEMENT_URI) || strcmp(text_at(s, "predicateType"), PREDICATE_URI) ||
        json_array_size(subjects) != 1 || strcmp(text_at(how, "method"), "files") ||
        strcmp(text_at(how, "hash_type"), "sha256"))
        return err_set(e, ERR_UNSUPPORTED, "not a model signature v1.0 over whole files with SHA-256");
    if (!name_ok(text_at(subject, "name")) ||
        !code_unhex(stated, HASH_BYTES, span_of(text_at(json_object_get(subject, "digest"), "sha256"))))
        return err_set(e, ERR_CORRUPT, "the manifest's subject is malformed");
    snprintf(m->model, sizeof m->model, "%s", text_at(subject, "name"));
    enum err_code c = read_files(json_object_get(predicate, "resources"), m, e);
    if (!c) {
        root_of(m, m->root);
        if (!code_same(m->root, stated, HASH_BYTES))
            c = err_set(e, ERR_CORRUPT, "the manifest's files do not add up to its subject");
    }
    return c;
}

enum err_code modelsig_verify(struct span bundle, struct span public_pem, struct modelsig *out, struct err *e)
{
    struct modelsig m = { 0 };
    struct buf payload = { 0 };
    json_t *b = NULL, *s = NULL;
    EVP_PKEY *k = read_key(public_pem, false, e);
    enum err_code c = k ? ERR_OK : ERR_INVALID;
    if (!c && (bundle.len > MODELSIG_BUNDLE_MAX || !(b = jsonx_parse(bundle.data, bundle.len, e))))
        c = err_set(e, ERR_CORRUPT, "the bundle is no JSON or too large");
    if (!c)
        c = open_bundle(b, k, &payload, e);
    if (!c && !(s = jsonx_parse(buf_str(&payload), payload.len, e)))
        c = ERR_CORRUPT;
    if (!c)
        c = read_statement(s, &m, e);
    if (c)
        modelsig_release(&m);
    else
        *out = m;
    json_decref(s);
    json_decref(b);
    buf_release(&payload);
    EVP_PKEY_free(k);
    return c;
}

/* ---- files */

enum err_code modelsig_hash_fd(int fd, uint8_t out[HASH_BYTES], struct err *e)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new(); /* OpenSSL's SHA-256 uses the processor's instructions */
    uint8_t *chunk = mem_new(HASH_CHUNK, 1);
    off_t at = 0;
    bool ok = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1;
    for (;;) {
        ssize_t n = pread(fd, chunk, HASH_CHUNK, at);
        if (n < 0 && errno == EINTR)
            continue;
        ok = ok && n >= 0 && (!n || EVP_DigestUpdate(c, chunk, (size_t)n) == 1);
        if (!ok || !n)
            break;
        at += n;
    }
    ok = ok && EVP_DigestFinal_ex(c, out, NULL) == 1;
    EVP_MD_CTX_free(c);
    mem_free(chunk);
    return ok ? ERR_OK : err_errno(e, "the file cannot be hashed");
}

enum err_code modelsig_check_fd(const struct modelsig *m, const char *name, int fd, struct err *e)
{
    uint8_t hash[HASH_BYTES];
    for (int i = 0; i < m->count; i++) {
        if (strcmp(m->files[i].name, name))
            continue;
        enum err_code c = modelsig_hash_fd(fd, hash, e);
        if (!c && !code_same(hash, m->files[i].sha256, HASH_BYTES))
            c = err_set(e, ERR_DENIED, "%s is not the file that was signed", name);
        return c;
    }
    return err_set(e, ERR_DENIED, "%s is not among the signed files of %s", name, m->model);
}
