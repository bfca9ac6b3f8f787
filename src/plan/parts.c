/* parts -- the sections of a scenario that describe the world: finance, rules, models, SLOs, hardware, sites,
 * suppliers, APIs. demand.c reads what is asked of it. */
#include "plan/load.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static void path_of(char out[FIGURE_PATH_MAX], const char *section, const char *id)
{
    snprintf(out, FIGURE_PATH_MAX, "%s.%.47s", section, id);
}

/* A repeated id is a mistake: the second would never be found. */
static void check_unique(struct loader *l, const json_t *obj, const void *first, size_t stride, int count,
                         const char *id)
{
    if (load_find_id(first, stride, count, id) >= 0)
        load_mistake(l, obj, "id", "id '%s' is used twice in this list", id);
}

void load_finance(struct loader *l, json_t *root)
{
    static const struct field fields[] = {
        { "discount_rate", DIM_PER_YEAR, FIELD(plan_finance, discount), 0, 1, 0.08 },
        { "unmet_penalty", DIM_TOKEN_PRICE, FIELD(plan_finance, unmet_penalty), 0, 1e6, 100 },
    };
    static const struct field rate[] = { { "eur_usd", DIM_RATIO, FIELD(plan_finance, eur_usd), 0.1, 10, 1.1 } };
    static const struct field rules[] = {
        { "utilisation_max", DIM_RATIO, FIELD(plan_rules, utilisation_max), 0.01, 1, 0.85 },
        { "supplier_share_max", DIM_RATIO, FIELD(plan_rules, supplier_share_max), 0.01, 1, 1 },
        { "country_share_max", DIM_RATIO, FIELD(plan_rules, country_share_max), 0.01, 1, 1 },
        { "critical_suppliers_min", DIM_COUNT, FIELD(plan_rules, critical_suppliers_min), 1, 8, 2 },
        { "survive_site_loss", DIM_RATIO, FIELD(plan_rules, survive_site_loss), 0, 1, 0 },
        { "api_share_max", DIM_RATIO, FIELD(plan_rules, api_share_max), 0, 1, 1 },
        { "coincidence", DIM_RATIO, FIELD(plan_rules, coincidence), 0.1, 1, 1 },
    };
    static const char *const finance_keys[] = { "discount_rate", "unmet_penalty", "eur_usd", "budget", NULL };
    static const char *const rule_keys[] = { "utilisation_max", "supplier_share_max", "country_share_max",
        "critical_suppliers_min", "survive_site_loss", "api_share_max", "coincidence", NULL };
    static const char *const budget_keys[] = { "by", "amount", NULL };
    struct plan_finance *f = &l->s->finance;
    json_t *none = json_object(), *obj = json_object_get(root, "finance"), *budget;
    load_known(l, json_is_object(obj) ? obj : none, finance_keys);
    f->eur_usd = 1.1;
    load_fields(l, json_is_object(obj) ? obj : none, "finance", f, rate, MEM_COUNT(rate));
    load_fields(l, json_is_object(obj) ? obj : none, "finance", f, fields, MEM_COUNT(fields));
    size_t i;
    json_array_foreach(load_array(l, json_is_object(obj) ? obj : none, "budget", false, BUDGETS_MAX), i, budget) {
        struct plan_budget *b = &f->budget[f->budgets++];
        char path[FIGURE_PATH_MAX];
        const struct field amount = { "amount", DIM_MONEY, FIELD(plan_budget, amount), 0, 1e13, REQUIRED };
        snprintf(path, sizeof path, "finance.budget.%zu", i + 1);
        load_known(l, budget, budget_keys);
        b->by = load_quarter(l, budget, "by");
        load_fields(l, budget, path, b, &amount, 1);
    }
    obj = json_object_get(root, "rules");
    load_known(l, json_is_object(obj) ? obj : none, rule_keys);
    load_fields(l, json_is_object(obj) ? obj : none, "rules", &l->s->rules, rules, MEM_COUNT(rules));
    json_decref(none);
}

void load_models(struct loader *l, json_t *root)
{
    static const char *const model_keys[] = { "id", "weights", "kv_per_token", "note", NULL };
    static const char *const slo_keys[] = { "id", "ttft_p99", "itl_p99", NULL };
    static const struct field model[] = {
        { "weights", DIM_GB, FIELD(plan_model, weights_gb), 0.001, 1e5, REQUIRED },
        { "kv_per_token", DIM_BYTES, FIELD(plan_model, kv_bytes), 1, 1e9, REQUIRED },
    };
    static const struct field slo[] = {
        { "ttft_p99", DIM_MS, FIELD(plan_slo, ttft_ms), 1, 1e7, REQUIRED },
        { "itl_p99", DIM_MS, FIELD(plan_slo, itl_ms), 0.1, 1e6, REQUIRED },
    };
    struct scenario *s = l->s;
    char path[FIGURE_PATH_MAX];
    size_t i;
    json_t *obj;
    json_array_foreach(load_array(l, root, "models", true, MODELS_MAX), i, obj) {
        struct plan_model *m = &s->models[s->model_count];
        load_use(l, obj, "models");
        load_known(l, obj, model_keys);
        load_id(l, obj, m->id);
        check_unique(l, obj, s->models, sizeof *m, s->model_count++, m->id);
        path_of(path, "models", m->id);
        load_fields(l, obj, path, m, model, MEM_COUNT(model));
    }
    json_array_foreach(load_array(l, root, "slos", true, SLOS_MAX), i, obj) {
        struct plan_slo *k = &s->slos[s->slo_count];
        load_known(l, obj, slo_keys);
        load_id(l, obj, k->id);
        check_unique(l, obj, s->slos, sizeof *k, s->slo_count++, k->id);
        path_of(path, "slos", k->id);
        load_fields(l, obj, path, k, slo, MEM_COUNT(slo));
    }
}

/* ---- hardware */

static void load_step(struct loader *l, const json_t *obj, const char *path, struct step_model *m)
{
    static const char *const known[] = { "a", "b", "c", "d", "e", NULL };
    static const struct field fields[] = {
        { "a", DIM_MS, FIELD(step_model, a), 0, 1e6, REQUIRED },
        { "b", DIM_MS_PER_TOKEN, FIELD(step_model, b), 0, 1e4, REQUIRED },
        { "c", DIM_MS_PER_TOKEN, FIELD(step_model, c), 0, 1e4, REQUIRED },
        { "d", DIM_MS_PER_TOKEN, FIELD(step_model, d), 0, 1e3, 0 },
        { "e", DIM_MS_PER_TOKEN, FIELD(step_model, e), 0, 1e3, 0 },
    };
    load_known(l, obj, known);
    load_fields(l, obj, path, m, fields, MEM_COUNT(fields));
}

/* Defaults are those of `tokenworks serve`. */
static void load_serving(struct loader *l, const json_t *obj, const char *path, struct plan_serving *s)
{
    static const char *const known[] = { "target_itl", "target_ttft", "running_max", "batch_rows", "prefill_rows",
                                         "page", "kv", "shared_prefix", "note", NULL };
    static const struct field fields[] = {
        { "target_itl", DIM_MS, FIELD(plan_serving, target_itl_ms), 0, 1e6, 150 },
        { "target_ttft", DIM_MS, FIELD(plan_serving, target_ttft_ms), 0, 1e7, 0 },
        { "running_max", DIM_COUNT, FIELD(plan_serving, running_max), 1, 65536, 64 },
        { "batch_rows", DIM_TOKENS, FIELD(plan_serving, batch_rows), 1, 1e6, 512 },
        { "prefill_rows", DIM_TOKENS, FIELD(plan_serving, prefill_rows), 1, 1e6, 128 },
        { "page", DIM_TOKENS, FIELD(plan_serving, page), 1, 512, 32 },
        { "kv", DIM_TOKENS, FIELD(plan_serving, kv_tokens), 1, 1e12, REQUIRED },
        { "shared_prefix", DIM_TOKENS, FIELD(plan_serving, shared_prefix), 0, 1e6, 0 },
    };
    load_known(l, obj, known);
    load_fields(l, obj, path, s, fields, MEM_COUNT(fields));
    if (s->batch_rows < s->running_max)
        load_mistake(l, obj, "batch_rows", "batch_rows must hold a row for each of running_max sequences");
    if (512 % (int)s->page)
        load_mistake(l, obj, "page", "page must divide 512 tokens, a block of the recorded traces");
}

static void load_perf(struct loader *l, json_t *obj, struct plan_hardware *h)
{
    static const char *const known[] = { "model", "rate", "itl", "input", "output", "replicas", "batch_max", "step",
                                         "serving", "note", NULL };
    static const struct field fields[] = {
        { "rate", DIM_RATE, FIELD(plan_perf, rate), 1e-6, 1e9, 0 },
        { "itl", DIM_MS, FIELD(plan_perf, itl_ms), 0.01, 1e6, 0 },
        { "input", DIM_TOKENS, FIELD(plan_perf, input), 1, 1e7, 1024 },
        { "output", DIM_TOKENS, FIELD(plan_perf, output), 1, 1e7, 512 },
        { "replicas", DIM_COUNT, FIELD(plan_perf, replicas), 1, 1024, 1 },
        { "batch_max", DIM_COUNT, FIELD(plan_perf, batch_max), 1, 1e6, 1e5 },
    };
    struct scenario *s = l->s;
    char path[FIGURE_PATH_MAX], inner[FIGURE_PATH_MAX];
    const char *model = load_text(l, obj, "model", true);
    int m = load_find_id(s->models, sizeof s->models[0], s->model_count, model);
    if (m < 0)
        return; /* the catalogue knows more models than this scenario asks for */
    struct plan_perf *p = &h->perf[m];
    if (p->given)
        load_mistake(l, obj, "model", "model '%s' stands twice in this performance list", model);
    load_known(l, obj, known);
    snprintf(path, sizeof path, "hardware.%s.%s", h->id, model);
    load_fields(l, obj, path, p, fields, MEM_COUNT(fields));
    p->given = true;
    p->has_serving = json_is_object(json_object_get(obj, "serving"));
    if (p->has_serving) {
        snprintf(inner, sizeof inner, "%.100s.serving", path);
        load_serving(l, json_object_get(obj, "serving"), inner, &p->serving);
        p->batch_max = fmin(p->batch_max, p->serving.running_max);
    }
    p->has_step = json_is_object(json_object_get(obj, "step"));
    if (p->has_step) {
        snprintf(inner, sizeof inner, "%.100s.step", path);
        load_step(l, json_object_get(obj, "step"), inner, &p->step);
    } else if (!(p->rate > 0) || !(p->itl_ms > 0)) {
        load_mistake(l, obj, NULL, "performance for '%s' needs 'step' (a..e), or 'rate' and 'itl' of a benchmark",
                     model);
    }
}

void load_hardware(struct loader *l, json_t *root)
{
    static const char *const known[] = { "id", "name", "critical", "devices", "memory", "price", "price_change",
        "network", "power_load", "power_idle", "life", "resale", "maintenance", "availability", "spares",
            "device_mtbf",
        "unit_mtbf", "device_repair", "unit_repair", "performance", "bandwidth", "fp8", "fp4", "note", NULL };
    static const struct field fields[] = {
        { "devices", DIM_COUNT, FIELD(plan_hardware, devices), 1, 1e5, 1 },
        { "memory", DIM_GB, FIELD(plan_hardware, memory_gb), 0.1, 1e6, REQUIRED },
        { "price", DIM_MONEY, FIELD(plan_hardware, price), 1, 1e10, REQUIRED },
        { "price_change", DIM_PER_YEAR, FIELD(plan_hardware, price_change), -0.9, 1, 0 },
        { "network", DIM_RATIO, FIELD(plan_hardware, network), 0, 2, 0 },
        { "power_load", DIM_POWER, FIELD(plan_hardware, power_load), 1, 1e8, REQUIRED },
        { "power_idle", DIM_POWER, FIELD(plan_hardware, power_idle), 0, 1e8, REQUIRED },
        { "life", DIM_YEARS, FIELD(plan_hardware, life_y), 0.25, 30, 5 },
        { "resale", DIM_RATIO, FIELD(plan_hardware, resale), 0, 1, 0.5 },
        { "maintenance", DIM_PER_YEAR, FIELD(plan_hardware, maintenance), 0, 1, 0.03 },
        { "availability", DIM_RATIO, FIELD(plan_hardware, availability), 0.1, 1, 0.98 },
        { "spares", DIM_RATIO, FIELD(plan_hardware, spares), 0, 2, 0.02 },
        { "device_mtbf", DIM_HOURS, FIELD(plan_hardware, device_mtbf_h), 1, 1e9, 50677 },
        { "unit_mtbf", DIM_HOURS, FIELD(plan_hardware, unit_mtbf_h), 1, 1e9, 87600 },
        { "device_repair", DIM_HOURS, FIELD(plan_hardware, device_repair_h), 0.001, 1e5, 2 },
        { "unit_repair", DIM_HOURS, FIELD(plan_hardware, unit_repair_h), 0.001, 1e5, 24 },
    };
    struct scenario *s = l->s;
    char path[FIGURE_PATH_MAX];
    size_t i, k;
    json_t *obj, *perf;
    json_array_foreach(load_array(l, root, "hardware", true, HW_MAX), i, obj) {
        struct plan_hardware *h = &s->hw[s->hw_count];
        load_use(l, obj, "hardware");
        load_known(l, obj, known);
        load_id(l, obj, h->id);
        check_unique(l, obj, s->hw, sizeof *h, s->hw_count++, h->id);
        h->critical = load_flag(l, obj, "critical", false);
        path_of(path, "hardware", h->id);
        load_fields(l, obj, path, h, fields, MEM_COUNT(fields));
        if (h->power_idle > h->power_load)
            load_mistake(l, obj, "power_idle", "power_idle is above power_load; swap them or correct one");
        json_array_foreach(load_array(l, obj, "performance", true, 64), k, perf)
            load_perf(l, perf, h);
    }
}

/* ---- sites, suppliers, APIs */

static void load_existing(struct loader *l, json_t *site, struct plan_site *out)
{
    static const char *const known[] = { "hardware", "count", "until", NULL };
    struct scenario *s = l->s;
    size_t i;
    json_t *obj;
    json_array_foreach(load_array(l, site, "existing", false, HW_MAX), i, obj) {
        load_known(l, obj, known);
        const char *id = load_text(l, obj, "hardware", true);
        int h = load_find_id(s->hw, sizeof s->hw[0], s->hw_count, id);
        if (h < 0) {
            load_mistake(l, obj, "hardware", "there is no hardware '%.47s' in this scenario", id);
            continue;
        }
        char path[FIGURE_PATH_MAX];
        snprintf(path, sizeof path, "sites.%s.existing.%s", out->id, s->hw[h].id);
        const struct field count = { "count", DIM_COUNT, 0, 0, 1e6, REQUIRED };
        load_fields(l, obj, path, &out->existing[h], &count, 1);
        out->existing[h] = floor(out->existing[h]);
        out->existing_until[h] = json_object_get(obj, "until") ? load_quarter(l, obj, "until") : QUARTERS_MAX;
    }
}

void load_sites(struct loader *l, json_t *root)
{
    static const char *const known[] = { "id", "jurisdiction", "power", "power_price", "pue", "opening", "rent",
                                        "staff",
        "co2", "mtbf", "repair", "lat", "lon", "existing", "note", NULL };
    static const struct field fields[] = {
        { "power", DIM_POWER, FIELD(plan_site, power), 1, 1e11, REQUIRED },
        { "power_price", DIM_ENERGY_PRICE, FIELD(plan_site, power_price), 0, 10, REQUIRED },
        { "pue", DIM_RATIO, FIELD(plan_site, pue), 1, 4, REQUIRED },
        { "opening", DIM_MONEY, FIELD(plan_site, opening), 0, 1e12, 0 },
        { "rent", DIM_RENT, FIELD(plan_site, rent), 0, 1e5, 0 },
        { "staff", DIM_MONEY_YEAR, FIELD(plan_site, staff), 0, 1e11, 0 },
        { "co2", DIM_KG_PER_KWH, FIELD(plan_site, co2), 0, 3, 0 },
        { "mtbf", DIM_HOURS, FIELD(plan_site, mtbf_h), 1, 1e9, 26280 },
        { "repair", DIM_HOURS, FIELD(plan_site, repair_h), 0.001, 1e5, 8 },
        { "lat", DIM_DEGREES, FIELD(plan_site, lat), -90, 90, 999 },
        { "lon", DIM_DEGREES, FIELD(plan_site, lon), -180, 180, 999 },
    };
    struct scenario *s = l->s;
    char path[FIGURE_PATH_MAX];
    size_t i;
    json_t *obj;
    json_array_foreach(load_array(l, root, "sites", true, SITES_MAX), i, obj) {
        struct plan_site *site = &s->sites[s->site_count];
        load_known(l, obj, known);
        load_id(l, obj, site->id);
        check_unique(l, obj, s->sites, sizeof *site, s->site_count++, site->id);
        site->place = load_place(l, obj, "jurisdiction", load_text(l, obj, "jurisdiction", true));
        path_of(path, "sites", site->id);
        load_fields(l, obj, path, site, fields, MEM_COUNT(fields));
        load_existing(l, obj, site);
    }
}

static void load_offer(struct loader *l, json_t *obj, struct plan_supplier *sup)
{
    static const char *const known[] = { "hardware", "price_factor", "capacity", "capacity_growth", "lead_time",
                                        "min_lot",
                                         NULL };
    static const struct field fields[] = {
        { "price_factor", DIM_RATIO, FIELD(plan_offer, price_factor), 0.01, 100, 1 },
        { "capacity", DIM_COUNT, FIELD(plan_offer, capacity), 0, 1e7, REQUIRED },
        { "capacity_growth", DIM_PER_YEAR, FIELD(plan_offer, capacity_growth), -1, 10, 0 },
        { "lead_time", DIM_QUARTERS, FIELD(plan_offer, lead_q), 0, 40, REQUIRED },
        { "min_lot", DIM_COUNT, FIELD(plan_offer, min_lot), 0, 1e6, 0 },
    };
    struct scenario *s = l->s;
    const char *id = load_text(l, obj, "hardware", true);
    int h = load_find_id(s->hw, sizeof s->hw[0], s->hw_count, id);
    if (h < 0)
        return; /* a catalogue supplier sells more than this scenario considers */
    char path[FIGURE_PATH_MAX];
    struct plan_offer *o = &sup->offers[h];
    if (o->given)
        load_mistake(l, obj, "hardware", "hardware '%s' stands twice in what '%s' sells", id, sup->id);
    o->given = true;
    load_known(l, obj, known);
    snprintf(path, sizeof path, "suppliers.%s.%s", sup->id, s->hw[h].id);
    load_fields(l, obj, path, o, fields, MEM_COUNT(fields));
    o->lead_q = ceil(o->lead_q);
}

static void load_duties(struct loader *l, const json_t *obj, const char *path, struct plan_supplier *sup)
{
    const char *place;
    json_t *v, *duties = json_object_get(obj, "duty");
    for (int p = 0; p < PLACES_MAX; p++)
        sup->duty[p] = -1;
    sup->duty_abroad = 0;
    if (duties && !json_is_object(duties)) {
        load_mistake(l, obj, "duty",
                     "'duty' is a mapping from a site's jurisdiction (or `abroad`) to a share of the price");
        return;
    }
    json_object_foreach(duties, place, v) {
        bool abroad = !strcmp(place, "abroad");
        int p = abroad ? 0 : load_place(l, duties, place, place);
        load_figure(l, duties, place, path, DIM_RATIO, 0, 10, abroad ? &sup->duty_abroad : &sup->duty[p]);
    }
}

void load_suppliers(struct loader *l, json_t *root)
{
    static const char *const known[] = { "id", "company", "country", "freight", "duty", "sells", "note", NULL };
    static const struct field freight = { "freight", DIM_RATIO, FIELD(plan_supplier, freight), 0, 10, 0 };
    struct scenario *s = l->s;
    char path[FIGURE_PATH_MAX], duty_path[FIGURE_PATH_MAX];
    size_t i, k;
    json_t *obj, *offer;
    json_array_foreach(load_array(l, root, "suppliers", true, SUPPLIERS_MAX), i, obj) {
        struct plan_supplier *sup = &s->suppliers[s->supplier_count];
        load_use(l, obj, "suppliers");
        load_known(l, obj, known);
        load_id(l, obj, sup->id);
        check_unique(l, obj, s->suppliers, sizeof *sup, s->supplier_count++, sup->id);
        const char *company = load_text(l, obj, "company", false);
        snprintf(sup->company, sizeof sup->company, "%.47s", *company ? company : load_text(l, obj, "id", false));
        sup->country = load_place(l, obj, "country", load_text(l, obj, "country", true));
        path_of(path, "suppliers", sup->id);
        load_fields(l, obj, path, sup, &freight, 1);
        snprintf(duty_path, sizeof duty_path, "%.100s.duty", path);
        load_duties(l, obj, duty_path, sup);
        json_array_foreach(load_array(l, obj, "sells", true, 64), k, offer)
            load_offer(l, offer, sup);
    }
}

void load_apis(struct loader *l, json_t *root)
{
    static const char *const known[] = { "id", "jurisdiction", "price_in", "price_cached", "price_out", "latency",
                                        "note",
                                         NULL };
    static const struct field fields[] = {
        { "price_in", DIM_TOKEN_PRICE, FIELD(plan_api, in), 0, 1e5, REQUIRED },
        { "price_out", DIM_TOKEN_PRICE, FIELD(plan_api, out), 0, 1e5, REQUIRED },
        { "price_cached", DIM_TOKEN_PRICE, FIELD(plan_api, cached), 0, 1e5, -1 },
        { "latency", DIM_MS, FIELD(plan_api, latency_ms), 0, 1e6, 500 },
    };
    struct scenario *s = l->s;
    char path[FIGURE_PATH_MAX];
    size_t i;
    json_t *obj;
    json_array_foreach(load_array(l, root, "api", false, APIS_MAX), i, obj) {
        if (!json_is_object(obj)) {
            load_mistake(l, root, "api", "entry %zu of 'api' must be a mapping", i + 1);
            return;
        }
        struct plan_api *q = &s->apis[s->api_count];
        load_use(l, obj, "apis");
        load_known(l, obj, known);
        load_id(l, obj, q->id);
        check_unique(l, obj, s->apis, sizeof *q, s->api_count++, q->id);
        q->place = load_place(l, obj, "jurisdiction", load_text(l, obj, "jurisdiction", true));
        path_of(path, "api", q->id);
        load_fields(l, obj, path, q, fields, MEM_COUNT(fields));
        if (q->cached < 0)
            q->cached = q->in;
    }
}
