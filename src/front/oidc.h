/* oidc -- people and programs that show a token of the organisation's own issuer instead of a key: whose it is, what it
 * may do. The issuer's keys come from a file or a URL and are read again in the background.
 *
 * A thread fetches keys: at the start, every ten minutes, and, at most once a minute, when a token names a key that is
 * not known. While none can be had, the last ones stay. Everything else belongs to the loop's thread. */
#ifndef FRONT_OIDC_H
#define FRONT_OIDC_H
#include "ledger/ledger.h"
#include "net/http_parse.h"

struct oidc_options {
    const char *issuer, *audience;
    const char *jwks;         /* a file, or https://... (http:// on this machine) */
    const char *tenant_claim; /* "tenant"; a dot goes into an object: "realm_access.roles" */
    const char *tenant;       /* everybody's, where the token names none; NULL: such a token is refused */
    const char *team_claim;   /* "team" */
    const char *roles_claim;  /* "roles": a list, or words with spaces between */
    const char *scopes_claim; /* "scope", likewise; "model:NAME" restricts to models */
    const char *scope;        /* that every token must have; NULL: none */
    const char *admin_role, *auditor_role; /* "tokenworks-admin", "tokenworks-auditor" */
};

struct oidc;
/* A file must be there and hold keys; a URL may come later. */
struct oidc *oidc_new(const struct oidc_options *o, struct err *e);
void oidc_free(struct oidc *o);

/* The key that stands for the token, of the tenant it names in the ledger; NULL: it is no token, or not accepted. Valid
 * until the next call. */
const struct ledger_key *oidc_key(struct oidc *o, const struct ledger *l, struct http_slice shown, int64_t now_s);
int oidc_keys(const struct oidc *o); /* the issuer's, that can be used */
#endif
