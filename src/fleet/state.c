/* state -- the fleet as a gateway sees it, in JSON: for the console and `tokenworks fleet status`. See gateway.h. */
#include "fleet/gateway_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *state_name(const struct roster_worker *w)
{
    static const char *const names[] = { [ROSTER_ALIVE] = "alive", [ROSTER_STILL] = "still", [ROSTER_DEAD] = "dead" };
    return w->life == ROSTER_ALIVE && w->draining ? "draining" : names[w->life];
}

static json_t *hex64(uint64_t v)
{
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, v);
    return json_string(text);
}

static json_t *model_state(const struct roster_model *m)
{
    const struct heartbeat_model *b = &m->beat;
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:f}", "id", b->id, "hash", b->hash, "numerics",
                     b->numerics, "running", (json_int_t)b->running, "waiting", (json_int_t)b->waiting, "kv_pages",
                     (json_int_t)b->kv_pages, "kv_pages_free", (json_int_t)b->kv_pages_free, "prefill_backlog",
                     (json_int_t)b->prefill_backlog, "steps", (json_int_t)b->steps, "tokens_per_s", b->tokens_per_s);
}

static json_t *worker_state(const struct fleet_gateway *g, const struct roster_worker *w)
{
    json_t *models = json_array();
    for (int i = 0; i < w->model_count; i++)
        json_array_append_new(models, model_state(&w->models[i]));
    int open = 0;
    for (int i = 0; i < g->slots; i++)
        open += g->xs[i] && g->xs[i]->state == EXCHANGE_RUNNING && g->xs[i]->now.serial == w->serial;
    return json_pack("{s:s, s:s, s:o, s:I, s:o, s:i, s:o}", "name", w->place.name, "state", state_name(w), "boot",
                     hex64(w->boot), "age_ms", (json_int_t)roster_age_ms(g->roster, w), "rtt_ms",
                     w->rtt_ms < 0 ? json_null() : json_real(w->rtt_ms), "open", open, "models", models);
}

static json_t *site_of(json_t *sites, const struct fleet_place *p)
{
    json_t *s;
    size_t i;
    json_array_foreach(sites, i, s)
        if (!strcmp(json_string_value(json_object_get(s, "site")), p->site) &&
            !strcmp(json_string_value(json_object_get(s, "jurisdiction")), p->jurisdiction))
            return json_object_get(s, "workers");
    json_t *workers = json_array();
    json_array_append_new(sites, json_pack("{s:s, s:s, s:o}", "jurisdiction", p->jurisdiction, "site", p->site,
                                           "workers", workers));
    return workers;
}

json_t *fleet_gateway_state(const struct fleet_gateway *g)
{
    json_t *sites = json_array(), *gateways = json_array(), *events = json_array();
    int64_t now = gateway_now_ms();
    for (int i = 0; i < roster_count(g->roster); i++) {
        const struct roster_worker *w = roster_at(g->roster, i);
        json_array_append_new(site_of(sites, &w->place), worker_state(g, w));
    }
    for (int i = 0; i < g->peer_count; i++) {
        const struct gateway_peer *p = &g->peers[i];
        json_array_append_new(gateways, json_pack("{s:s, s:s, s:s, s:o, s:I, s:b}", "jurisdiction",
                              p->place.jurisdiction, "site", p->place.site, "name", p->place.name, "boot",
                              hex64(p->boot), "age_ms", (json_int_t)(now - p->heard_ms), "self", p->boot == g->boot));
    }
    for (int i = 0; i < roster_event_count(g->roster); i++) {
        const struct roster_event *v = roster_event(g->roster, i);
        json_array_append_new(events, json_pack("{s:I, s:s%}", "at", (json_int_t)v->at_s, "what", v->what,
                                                strnlen(v->what, sizeof v->what)));
    }
    json_t *moves = json_pack("{s:I, s:I, s:I}", "resumed", (json_int_t)g->resumed, "failed", (json_int_t)g->failed,
                              "refused", (json_int_t)g->refused);
    return json_pack("{s:o, s:o, s:o, s:o, s:b, s:i}", "sites", sites, "gateways", gateways, "moves", moves, "events",
                     events, "connected", bus_is_up(g->bus), "open", g->open);
}

static bool may(const struct fleet_gateway *g, const struct fleet_ask *where, const char *jurisdiction)
{
    for (int i = 0; i < where->jurisdiction_count; i++)
        if (!strcmp(jurisdiction, where->jurisdictions[i]))
            return true;
    return !where->jurisdiction_count && !strcmp(jurisdiction, g->me.jurisdiction);
}

bool fleet_gateway_serves(const struct fleet_gateway *g, const struct fleet_ask *where)
{
    for (int i = 0; i < roster_count(g->roster); i++) {
        const struct roster_worker *w = roster_at(g->roster, i);
        for (int k = 0; w->life != ROSTER_DEAD && k < w->model_count && may(g, where, w->place.jurisdiction); k++)
            if (w->models[k].beat.facts && (!w->models[k].beat.outside || where->outside))
                return true;
    }
    return false;
}
