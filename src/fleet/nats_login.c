/* nats_login -- see nats_login.h. Signatures are the client library's: it knows the form of the seed. */
#include "fleet/nats_login.h"

#include "base/file.h"
#include "base/mem.h"

#include <nats/nats.h>
#include <stdlib.h>
#include <string.h>

enum { CREDS_BYTES_MAX = 64 << 10 };

static char *copy(const char *p, size_t n)
{
    char *s = mem_new(1, n + 1);
    memcpy(s, p, n);
    return s;
}

void nats_place_read(const char *url, size_t n, struct nats_place *out)
{
    const char *end = url + n, *p = strstr(url, "//") + 2, *user = memchr(p, '@', (size_t)(end - p));
    *out = (struct nats_place){ .host = NULL };
    if (user) {
        const char *colon = memchr(p, ':', (size_t)(user - p));
        out->user = copy(p, (size_t)((colon ? colon : user) - p));
        out->password = colon ? copy(colon + 1, (size_t)(user - colon - 1)) : NULL;
        p = user + 1;
    }
    while (end > p && end[-1] == '/')
        end--;
    const char *close = *p == '[' ? memchr(p, ']', (size_t)(end - p)) : NULL, *port = close ? close + 1 : p;
    port = memchr(port, ':', (size_t)(end - port));
    out->host = close ? copy(p + 1, (size_t)(close - p - 1)) : copy(p, (size_t)((port ? port : end) - p));
    out->port = port ? copy(port + 1, (size_t)(end - port - 1)) : copy("4222", 4);
}

void nats_place_release(struct nats_place *p)
{
    mem_free(p->host);
    mem_free(p->port);
    mem_free(p->user);
    mem_free(p->password);
}

/* The line below "-----BEGIN <what>-----", owned; NULL: there is none. */
static char *section(const char *text, const char *what)
{
    const char *at = strstr(text, what);
    at = at ? strchr(at, '\n') : NULL;
    if (!at)
        return NULL;
    size_t n = strcspn(at + 1, "\r\n");
    return n ? copy(at + 1, n) : NULL;
}

/* Base64 for URLs, without padding: the form of signatures here. */
static json_t *base64(const unsigned char *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    struct buf b = { 0 };
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (uint32_t)(i + 1 < n ? p[i + 1] : 0) << 8 | (i + 2 < n ? p[i + 2] : 0);
        for (size_t k = 0; k < 4 && k <= n - i; k++)
            buf_putc(&b, digits[v >> (18 - 6 * k) & 63]);
    }
    json_t *text = json_string(buf_str(&b));
    buf_release(&b);
    return text;
}

static enum err_code sign(const char *seed, const char *nonce, json_t *login, struct err *e)
{
    unsigned char *signature = NULL;
    int n = 0;
    natsStatus s = nats_Sign(seed, nonce, &signature, &n);
    if (s)
        return err_set(e, ERR_INVALID, "the seed of the credentials signs nothing: %s", natsStatus_GetText(s));
    json_object_set_new(login, "sig", base64(signature, (size_t)n));
    free(signature); /* the library's */
    return ERR_OK;
}

static enum err_code show_creds(const char *path, const char *nonce, json_t *login, struct err *e)
{
    struct buf text = { 0 };
    enum err_code c = file_read(path, CREDS_BYTES_MAX, &text, e);
    char *jwt = section(buf_str(&text), "-----BEGIN NATS USER JWT");
    char *seed = section(buf_str(&text), "-----BEGIN USER NKEY");
    if (!c && (!jwt || !seed))
        c = err_set(e, ERR_INVALID, "%s: no credentials of NATS: a JWT and a seed are wanted", path);
    if (!c)
        json_object_set_new(login, "jwt", json_string(jwt));
    if (!c)
        c = sign(seed, nonce, login, e);
    if (seed)
        mem_wipe(seed, strlen(seed));
    if (text.data)
        mem_wipe(text.data, text.cap);
    mem_free(seed);
    mem_free(jwt);
    buf_release(&text);
    return c;
}

enum err_code nats_login(const struct bus_options *o, const struct nats_place *at, const json_t *info, struct buf *out,
                         struct err *e)
{
    const char *nonce = json_string_value(json_object_get(info, "nonce"));
    json_t *login = json_pack("{s:b, s:b, s:b, s:b, s:i, s:s, s:s, s:s?}", "verbose", 0, "pedantic", 0, "echo", 1,
                              "headers", 0, "protocol", 1, "lang", "c", "version", TW_VERSION, "name", o->name);
    enum err_code c = ERR_OK;
    const char *user = at->user ? at->user : o->user, *password = at->user ? at->password : o->password;
    if (user && password) {
        json_object_set_new(login, "user", json_string(user));
        json_object_set_new(login, "pass", json_string(password));
    } else if (user) {
        json_object_set_new(login, "auth_token", json_string(user));
    }
    if (o->creds)
        c = show_creds(o->creds, nonce ? nonce : "", login, e);
    if (!c) {
        buf_puts(out, "CONNECT ");
        jsonx_dump(login, out);
        buf_puts(out, "\r\n");
    }
    json_decref(login);
    return c;
}
