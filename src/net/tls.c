/* tls -- see tls.h. */
#include "net/tls.h"

#include "base/mem.h"

#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

struct tls {
    SSL_CTX *ctx;
    struct tls_options options; /* strings owned */
};

static enum err_code ssl_error(struct err *e, const char *what, const char *file)
{
    unsigned long code = ERR_peek_last_error();
    const char *why = ERR_reason_error_string(code);
    if (access(file, R_OK))
        err_errno(e, "%s: cannot open", file);
    else
        err_set(e, ERR_INVALID, "%s: %s: %s", file, what, why ? why : "unreadable");
    ERR_clear_error();
    return ERR_INVALID;
}

/* HTTP/1.1 is the one protocol we speak; a client that offers others gets it if it is in its list. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
                           unsigned in_n, void *arg)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_n, ours, sizeof ours - 1, in, in_n) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static SSL_CTX *make_ctx(const struct tls_options *o, struct err *e)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    if (!ctx) {
        ssl_error(e, "cannot start TLS", "OpenSSL");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    static const unsigned char session_context[] = "tokenworks";
    SSL_CTX_set_session_id_context(ctx, session_context, sizeof session_context - 1);
    if (SSL_CTX_use_certificate_chain_file(ctx, o->cert_file) != 1) {
        ssl_error(e, "no PEM certificate", o->cert_file);
        goto failed;
    }
    if (SSL_CTX_use_PrivateKey_file(ctx, o->key_file, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
        ssl_error(e, "no PEM key that belongs to the certificate", o->key_file);
        goto failed;
    }
    if (o->client_ca_file) {
        if (SSL_CTX_load_verify_locations(ctx, o->client_ca_file, NULL) != 1) {
            ssl_error(e, "no PEM certificates", o->client_ca_file);
            goto failed;
        }
        SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(o->client_ca_file));
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    return ctx;
failed:
    SSL_CTX_free(ctx);
    return NULL;
}

struct tls *tls_new(const struct tls_options *o, struct err *e)
{
    SSL_CTX *ctx = make_ctx(o, e);
    if (!ctx)
        return NULL;
    struct tls *t = MEM_NEW(struct tls);
    t->ctx = ctx;
    t->options.cert_file = mem_strdup(o->cert_file);
    t->options.key_file = mem_strdup(o->key_file);
    t->options.client_ca_file = o->client_ca_file ? mem_strdup(o->client_ca_file) : NULL;
    return t;
}

enum err_code tls_reload(struct tls *t, struct err *e)
{
    SSL_CTX *ctx = make_ctx(&t->options, e);
    if (!ctx)
        return ERR_INVALID;
    SSL_CTX_free(t->ctx); /* connections hold their own reference */
    t->ctx = ctx;
    return ERR_OK;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    mem_free((void *)(uintptr_t)t->options.cert_file);
    mem_free((void *)(uintptr_t)t->options.key_file);
    mem_free((void *)(uintptr_t)t->options.client_ca_file);
    mem_free(t);
}

struct bufferevent *tls_accept(struct tls *t, struct event_base *base, int fd)
{
    SSL *ssl = SSL_new(t->ctx);
    if (!ssl)
        return NULL;
    struct bufferevent *b = bufferevent_openssl_socket_new(base, fd, ssl, BUFFEREVENT_SSL_ACCEPTING,
                                                           BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (!b)
        SSL_free(ssl);
    else
        bufferevent_openssl_set_allow_dirty_shutdown(b, 1); /* a close without notice is a close */
    return b;
}

void tls_shutdown(struct bufferevent *b)
{
    SSL *ssl = bufferevent_openssl_get_ssl(b);
    if (ssl) {
        SSL_shutdown(ssl);
        ERR_clear_error();
    }
}

/* ---- the other end */

struct tls_client {
    SSL_CTX *ctx;
};

static enum err_code load_client(SSL_CTX *ctx, const struct tls_client_options *o, struct err *e)
{
    if (o->ca_file ? SSL_CTX_load_verify_locations(ctx, o->ca_file, NULL) != 1
                   : SSL_CTX_set_default_verify_paths(ctx) != 1)
        return ssl_error(e, "no PEM certificates", o->ca_file ? o->ca_file : "the system's authorities");
    if (o->cert_file && SSL_CTX_use_certificate_chain_file(ctx, o->cert_file) != 1)
        return ssl_error(e, "no PEM certificate", o->cert_file);
    if (o->cert_file && (SSL_CTX_use_PrivateKey_file(ctx, o->key_file, SSL_FILETYPE_PEM) != 1 ||
                         SSL_CTX_check_private_key(ctx) != 1))
        return ssl_error(e, "no PEM key that belongs to the certificate", o->key_file);
    return ERR_OK;
}

struct tls_client *tls_client_new(const struct tls_client_options *o, struct err *e)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx) {
        ssl_error(e, "cannot start TLS", "OpenSSL");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1); /* a record's head and body with one call to the system */
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (load_client(ctx, o, e)) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    struct tls_client *t = MEM_NEW(struct tls_client);
    t->ctx = ctx;
    return t;
}

void tls_client_free(struct tls_client *t)
{
    if (!t)
        return;
    SSL_CTX_free(t->ctx);
    mem_free(t);
}

struct ssl_st *tls_client_begin(struct tls_client *t, int fd, const char *host)
{
    SSL *ssl = SSL_new(t->ctx);
    if (!ssl)
        return NULL;
    bool address = X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set_fd(ssl, fd) != 1 ||
        (!address && (SSL_set1_host(ssl, host) != 1 || SSL_set_tlsext_host_name(ssl, host) != 1))) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_connect_state(ssl);
    ERR_clear_error();
    return ssl;
}

const char *tls_client_why(struct ssl_st *ssl)
{
    long verdict = SSL_get_verify_result(ssl);
    const char *why = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    if (verdict != X509_V_OK)
        return X509_verify_cert_error_string(verdict);
    return why ? why : "it closed the connection";
}
