/* nats_options -- see nats_options.h. */
#include "fleet/nats_options.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static enum err_code readable(const char *path, const char *what, struct err *e)
{
    return !path || !access(path, R_OK) ? ERR_OK : err_errno(e, "cannot read %s %s of the bus", what, path);
}

static enum err_code check_files(const struct bus_options *o, struct err *e)
{
    if (!o->cert != !o->key)
        return err_set(e, ERR_INVALID, "the bus needs a certificate and its key together");
    if (!o->user != !o->password)
        return err_set(e, ERR_INVALID, "the bus needs a user and a password together");
    enum err_code c = readable(o->creds, "the credentials", e);
    if (!c)
        c = readable(o->ca, "the authority", e);
    if (!c)
        c = readable(o->cert, "the certificate", e);
    return c ? c : readable(o->key, "the key", e);
}

static enum err_code set_servers(natsOptions *no, const char *url, struct err *e)
{
    const char *list[NATS_SERVERS_MAX];
    char *text = mem_strdup(url), *p = text;
    int count = 0;
    enum err_code c = ERR_OK;
    while (!c && *p) {
        size_t n = strcspn(p, ",");
        bool last = !p[n];
        p[n] = '\0';
        if (strncmp(p, "nats://", 7) && strncmp(p, "tls://", 6))
            c = err_set(e, ERR_INVALID, "\"%.100s\" is no address: give nats://HOST:PORT or tls://HOST:PORT", p);
        else if (count == NATS_SERVERS_MAX)
            c = err_set(e, ERR_LIMIT, "at most %d addresses of a bus are taken", NATS_SERVERS_MAX);
        else
            list[count++] = p;
        p += last ? n : n + 1;
    }
    natsStatus s = c ? NATS_OK : natsOptions_SetServers(no, list, count);
    if (s)
        c = err_set(e, ERR_INVALID, "the address of the bus is not understood: %s", natsStatus_GetText(s));
    mem_free(text);
    return c;
}

bool nats_options_tls(const struct bus_options *o)
{
    return !strncmp(o->url, "tls://", 6) || strstr(o->url, ",tls://") || o->ca || o->cert;
}

static natsStatus set_tls(natsOptions *no, const struct bus_options *o)
{
    if (!nats_options_tls(o))
        return NATS_OK;
    natsStatus s = natsOptions_SetSecure(no, true);
    if (!s && o->ca)
        s = natsOptions_LoadCATrustedCertificates(no, o->ca);
    if (!s && o->cert)
        s = natsOptions_LoadCertificatesChain(no, o->cert, o->key);
    return s;
}

static natsStatus set_identity(natsOptions *no, const struct bus_options *o)
{
    natsStatus s = o->name ? natsOptions_SetName(no, o->name) : NATS_OK;
    if (!s && o->user)
        s = natsOptions_SetUserInfo(no, o->user, o->password);
    if (!s && o->creds)
        s = natsOptions_SetUserCredentialsFromFiles(no, o->creds, NULL);
    if (!s && o->inbox)
        s = natsOptions_SetCustomInboxPrefix(no, o->inbox);
    return s;
}

static natsStatus set_manners(natsOptions *no)
{
    natsStatus s = natsOptions_SetTimeout(no, NATS_DIAL_MS);
    if (!s)
        s = natsOptions_SetWriteDeadline(no, NATS_WRITE_MS);
    if (!s)
        s = natsOptions_SetPingInterval(no, NATS_PING_MS);
    if (!s)
        s = natsOptions_SetMaxPingsOut(no, NATS_PINGS_OUT);
    if (!s)
        s = natsOptions_SetAllowReconnect(no, false);
    if (!s)
        s = natsOptions_SetIgnoreDiscoveredServers(no, true); /* only servers that were named: residency */
    return s;
}

natsOptions *nats_options_new(const struct bus_options *o, struct err *e)
{
    natsOptions *no = NULL;
    natsStatus s = natsOptions_Create(&no);
    if (s) {
        err_set(e, ERR_IO, "the client of the bus does not start: %s", natsStatus_GetText(s));
        return NULL;
    }
    enum err_code c = check_files(o, e);
    if (!c)
        c = set_servers(no, o->url, e);
    if (!c && (s = set_tls(no, o))) {
        const char *why = nats_GetLastError(NULL);
        c = err_set(e, ERR_INVALID, "the certificates of the bus are not usable: %s",
                    why ? why : natsStatus_GetText(s));
    }
    if (!c && ((s = set_identity(no, o)) || (s = set_manners(no))))
        c = err_set(e, ERR_INVALID, "the options of the bus are not usable: %s", natsStatus_GetText(s));
    if (!c)
        return no;
    natsOptions_Destroy(no);
    return NULL;
}

void nats_options_where(const struct bus_options *o, char *out, size_t n)
{
    size_t at = 0;
    out[0] = '\0';
    for (const char *p = o->url; *p && at < n;) { /* an address a round */
        size_t len = strcspn(p, ",");
        const char *slashes = strstr(p, "//"), *user = memchr(p, '@', len);
        int scheme = slashes && slashes < p + len ? (int)(slashes + 2 - p) : 0;
        const char *host = user ? user + 1 : p + scheme;
        at += (size_t)snprintf(out + at, n - at, "%s%.*s%.*s", at ? "," : "", scheme, p, (int)(p + len - host), host);
        p += len + (p[len] == ',');
    }
}
