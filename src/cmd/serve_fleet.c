/* serve_fleet -- see serve_fleet.h. */
#include "cmd/serve_fleet.h"

static enum err_code check(const struct serve_options *o, enum serve_as as, struct err *e)
{
    if (as != SERVE_HERE && !o->nats)
        return err_set(e, ERR_INVALID, "--nats URL names the bus: nats://HOST:4222 or tls://HOST:4222");
    if (o->nats && (!o->site || !o->jurisdiction))
        return err_set(e, ERR_INVALID, "--nats needs --site and --jurisdiction: every subject of the bus has them");
    if (!o->nats_cert != !o->nats_key)
        return err_set(e, ERR_INVALID, "--nats-cert and --nats-key go together");
    if (as == SERVE_GATEWAY && (o->models.count || o->models_dir || o->model_list || o->draft))
        return err_set(e, ERR_INVALID, "a gateway has no models of its own; `tokenworks serve --nats` has both");
    if (o->to_jurisdictions.count > FLEET_JURISDICTIONS_MAX - 1)
        return err_set(e, ERR_LIMIT, "at most %d --to-jurisdiction", FLEET_JURISDICTIONS_MAX - 1);
    return ERR_OK;
}

enum err_code serve_fleet_options(const struct serve_options *o, enum serve_as as, struct front_options *f,
                                  struct err *e)
{
    enum err_code c = check(o, as, e);
    if (c || !o->nats)
        return c;
    f->fleet = (struct fleet_options){
        .bus = { .url = o->nats, .creds = o->nats_creds, .user = o->nats_user, .password = o->nats_password,
                 .ca = o->nats_ca, .cert = o->nats_cert, .key = o->nats_key, .domain = o->nats_domain },
        .site = o->site, .jurisdiction = o->jurisdiction, .name = o->name, .worker = as != SERVE_GATEWAY,
        .gateway = as != SERVE_WORKER, .secret_file = o->fleet_secret,
        .outside = o->fleet_outside, .bills = o->fleet_bills, .limits = o->fleet_limits };
    for (int i = 0; i < o->to_jurisdictions.count; i++)
        f->fleet.jurisdictions[f->fleet.jurisdiction_count++] = o->to_jurisdictions.v[i];
    if (as == SERVE_WORKER) { /* gateways have the keys, the books and the evidence */
        f->no_http = !o->listen;
        f->figures_only = true;
        f->ledger = ACCOUNTS_OFF;
        f->trust_dir = NULL;
        f->batches_dir = NULL;
    }
    return ERR_OK;
}
