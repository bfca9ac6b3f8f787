/* trust_client -- tokenworks trust client: whose signatures the site takes. Makes or enrols keys. */
#include "cmd/cmd.h"

#include "base/file.h"
#include "base/mem.h"
#include "cmd/trust_sub.h"
#include "trust/enrolled.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct client_options {
    const char *state, *tenant, *name, *out;
};

static const struct opt rows[] = {
    { "state", 0, OPT_STRING, "DIR", "where state lives", OPT_FIELD(struct client_options, state), 0, 0 },
    { "tenant", 't', OPT_STRING, "NAME", "the tenant, as policy and ledger call it",
      OPT_FIELD(struct client_options, tenant), 0, 0 },
    { "name", 'n', OPT_STRING, "NAME", "a new key's name (TENANT/client)",
      OPT_FIELD(struct client_options, name), 0, 0 },
    { "out", 'o', OPT_STRING, "FILE", "make a key and write it here, for `tokenworks proxy --key`",
      OPT_FIELD(struct client_options, out), 0, 0 },
    { 0 } };
static const struct opt_command spec = {
    "trust client", "--tenant NAME [VKEY | --out FILE]", "enrol a tenant's signing key, or list those enrolled",
    "A running server takes it in within a second. `trust revoke VKEY --reason TEXT` ends a key.", rows };

static enum err_code make_key(const struct client_options *o, struct key_public *out, struct err *e)
{
    struct key_secret k = { 0 };
    char text[KEY_TEXT_MAX + 1], name[KEY_NAME_MAX + 1];
    if (snprintf(name, sizeof name, o->name ? "%s" : "%s/client", o->name ? o->name : o->tenant) >= (int)sizeof name)
        return err_set(e, ERR_INVALID, "the key's name is longer than %d", KEY_NAME_MAX);
    if (!access(o->out, F_OK))
        return err_set(e, ERR_INVALID, "%s is there already", o->out);
    enum err_code c = key_secret_new(name, KEY_NOTE, NULL, &k, e);
    if (c)
        return c;
    key_secret_text(&k, text);
    size_t n = strlen(text);
    text[n++] = '\n';
    c = file_write(o->out, text, n, e);
    *out = k.pub;
    mem_wipe(text, sizeof text);
    key_secret_wipe(&k);
    return c;
}

static enum err_code list(const struct site *s, struct err *e)
{
    struct chain *chain = MEM_NEW(struct chain);
    struct enrolled all = { 0 };
    enum err_code c = site_chain(s, chain, e);
    if (!c)
        c = enrolled_read(s, chain, &all, e);
    for (int i = 0; !c && i < all.count; i++)
        printf("%s %s\n", all.of[i].tenant, all.of[i].vkey);
    enrolled_release(&all);
    chain_release(chain);
    mem_free(chain);
    return c;
}

int trust_run_client(int argc, char **argv)
{
    struct client_options o = { 0 };
    struct key_public key;
    struct site s;
    struct err e = { 0 };
    int n;
    enum opt_result r = opt_parse(&spec, argc, argv, &o, &n);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    trust_site_open(&s, o.state);
    enum err_code c = site_there(&s, &e);
    bool adds = o.out || n;
    if (!c && (n > 1 || (n && o.out) || (adds && !o.tenant)))
        c = err_set(&e, ERR_INVALID, "give --tenant and either a verifier key or --out FILE");
    else if (!c && !adds)
        c = list(&s, &e);
    else if (!c)
        c = o.out ? make_key(&o, &key, &e) : key_public_parse(span_of(argv[1]), &key, &e);
    if (!c && adds)
        c = enrolled_add(&s, o.tenant, &key, &e);
    if (!c && adds) {
        char vkey[KEY_TEXT_MAX];
        key_public_text(&key, vkey);
        printf("%s %s\n", o.tenant, vkey);
    }
    site_close(&s);
    return trust_end(&spec, c, &e);
}
