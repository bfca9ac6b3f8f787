/* tls -- certificates and TLS connections: TLS 1.2 and 1.3 through OpenSSL, for the HTTP server and for streams. */
#ifndef NET_TLS_H
#define NET_TLS_H
#include "base/err.h"

struct bufferevent;
struct event_base;
struct tls;

struct tls_options {
    const char *cert_file; /* PEM: the certificate, then its chain */
    const char *key_file;  /* PEM */
    const char *client_ca_file; /* PEM; NULL: clients need no certificate. Given: they must present one it signed */
};

struct tls *tls_new(const struct tls_options *o, struct err *e);
void tls_free(struct tls *t);
/* Reads the same files again; on failure the certificates in use stay. For renewals, on SIGHUP. */
enum err_code tls_reload(struct tls *t, struct err *e);

/* For net/ only: an accepted socket (owned by the result) on which the handshake starts; NULL when out of memory. */
struct bufferevent *tls_accept(struct tls *t, struct event_base *base, int fd);
/* The close notice goes out before the socket closes. */
void tls_shutdown(struct bufferevent *b);

/* ---- the other end: who calls */
struct tls_client;
struct tls_client_options {
    const char *ca_file;             /* PEM: whom the server's certificate must be signed by; NULL: the system's list */
    const char *cert_file, *key_file; /* PEM: ours; NULL: none */
};
struct tls_client *tls_client_new(const struct tls_client_options *o, struct err *e);
void tls_client_free(struct tls_client *t);

/* For net/ only: TLS to be spoken on fd with a server that proves to be host (a name or an address); NULL: no memory.
 * SSL_free frees it. */
struct ssl_st *tls_client_begin(struct tls_client *t, int fd, const char *host);
/* What the last call on it failed of. */
const char *tls_client_why(struct ssl_st *ssl);
#endif
