/* demand -- the section that says what is asked for: how many tokens, of which model, how fast, where.
 *
 * A demand with `burst: true` is read as two bands of one sinusoidal day: the base under the mean, and the
 * burst above it, which needs pi times its mean in capacity: so the optimiser may buy machines for one and
 * an API for the other. */
#include "plan/load.h"

#include "base/mem.h"

#include <stdio.h>
#include <string.h>

static int reference(struct loader *l, const json_t *obj, const char *key, const void *first, size_t stride,
                     int count)
{
    const char *id = load_text(l, obj, key, true);
    int i = load_find_id(first, stride, count, id);
    if (i >= 0 || !*id)
        return i < 0 ? 0 : i;
    char list[200] = "";
    size_t used = 0;
    for (int k = 0; k < count && used < sizeof list; k++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", k ? ", " : "",
                                 (const char *)first + stride * (size_t)k);
    load_mistake(l, obj, key, "there is no %s '%.47s' here; there are: %s", key, id, list);
    return 0;
}

static void load_residency(struct loader *l, json_t *obj, struct plan_demand *d)
{
    struct scenario *s = l->s;
    json_t *v = json_object_get(obj, "residency"), *place;
    size_t i;
    if (json_is_string(v) && !strcmp(json_string_value(v), "any")) {
        for (int p = 0; p < PLACES_MAX; p++)
            d->place_ok[p] = true;
        return;
    }
    if (!v) {
        load_mistake(l, obj, NULL, "'residency' is missing: `any`, or a list of jurisdictions, like [DE, FR]");
        return;
    }
    json_array_foreach(load_array(l, obj, "residency", true, PLACES_MAX), i, place) {
        const char *name = json_string_value(place);
        int p = -1;
        for (int k = 0; k < s->place_count && name; k++)
            if (!strcmp(s->places[k], name))
                p = k;
        if (p < 0)
            load_mistake(l, obj, "residency", "no site, supplier or API lies in '%.47s'", name ? name :
                         "(not a text)");
        else
            d->place_ok[p] = true;
    }
}

static void load_api_list(struct loader *l, json_t *obj, struct plan_demand *d)
{
    struct scenario *s = l->s;
    json_t *name;
    size_t i;
    json_array_foreach(load_array(l, obj, "api", false, APIS_MAX), i, name) {
        const char *id = json_string_value(name);
        int q = id ? load_find_id(s->apis, sizeof s->apis[0], s->api_count, id) : -1;
        if (q < 0)
            load_mistake(l, obj, "api", "there is no api '%.47s' in this scenario", id ? id : "(not a text)");
        else if (!d->place_ok[s->apis[q].place])
            load_mistake(l, obj, "api", "api '%s' computes in %s, which 'residency' does not allow", s->apis[q].id,
                         s->places[s->apis[q].place]);
        else
            d->api_ok[q] = true;
    }
}

static void load_latency(struct loader *l, const json_t *obj, const char *path, struct plan_demand *d)
{
    struct scenario *s = l->s;
    json_t *v = json_object_get(obj, "latency"), *one;
    const char *site;
    char inner[FIGURE_PATH_MAX];
    for (int k = 0; k < s->site_count; k++)
        d->latency_ms[k] = 0;
    if (v && !json_is_object(v)) {
        load_mistake(l, obj, "latency", "'latency' is a mapping from site to round trip, like {paris: 12 ms}");
        return;
    }
    snprintf(inner, sizeof inner, "%.100s.latency", path);
    json_object_foreach(v, site, one) {
        int k = load_find_id(s->sites, sizeof s->sites[0], s->site_count, site);
        if (k < 0)
            load_mistake(l, v, site, "there is no site '%.47s' in this scenario", site);
        else
            load_figure(l, v, site, inner, DIM_MS, 0, 1e5, &d->latency_ms[k]);
    }
}

static int class_of(struct loader *l, const json_t *obj, int model, int slo)
{
    struct scenario *s = l->s;
    for (int c = 0; c < s->class_count; c++)
        if (s->classes[c].model == model && s->classes[c].slo == slo)
            return c;
    if (s->class_count == CLASSES_MAX) {
        load_mistake(l, obj, "model", "more than %d combinations of model and SLO", CLASSES_MAX);
        return 0;
    }
    s->classes[s->class_count].model = model;
    s->classes[s->class_count].slo = slo;
    return s->class_count++;
}

/* A list of volumes, one per quarter; the last one holds on. */
static void load_volumes(struct loader *l, json_t *obj, const char *path, struct plan_demand *d)
{
    json_t *v = json_object_get(obj, "output_by_quarter"), *one;
    size_t i;
    if (!json_is_array(v) || !json_array_size(v) || json_array_size(v) > QUARTERS_MAX) {
        load_mistake(l, obj, "output_by_quarter", "a list of 1 to %d volumes in Mtok/day, one per quarter",
                     QUARTERS_MAX);
        return;
    }
    json_array_foreach(v, i, one) {
        char key[32];
        snprintf(key, sizeof key, "q%zu", i + 1);
        json_t *tmp = json_object();
        json_object_set(tmp, key, one);
        load_figure(l, tmp, key, path, DIM_VOLUME, 0, 1e12, &d->volume[i]);
        json_decref(tmp);
    }
    for (size_t t = json_array_size(v); t < QUARTERS_MAX; t++)
        d->volume[t] = d->volume[t - 1];
    d->output0 = -1;
}

static void load_demand(struct loader *l, json_t *obj)
{
    static const char *const known[] = { "id", "model", "slo", "from", "residency", "api", "output_per_day",
        "output_by_quarter", "growth", "input_tokens", "output_tokens", "cached", "peak", "penalty", "latency",
            "burst",
        "note", NULL };
    static const struct field fields[] = {
        { "growth", DIM_PER_YEAR, FIELD(plan_demand, growth), -0.99, 100, 0 },
        { "input_tokens", DIM_TOKENS, FIELD(plan_demand, input), 1, 1e7, REQUIRED },
        { "output_tokens", DIM_TOKENS, FIELD(plan_demand, output), 1, 1e7, REQUIRED },
        { "cached", DIM_RATIO, FIELD(plan_demand, cached), 0, 0.99, 0 },
        { "peak", DIM_RATIO, FIELD(plan_demand, peak), 1, 100, 1.5 },
        { "penalty", DIM_TOKEN_PRICE, FIELD(plan_demand, penalty), 0, 1e6, -1 },
    };
    static const struct field output = { "output_per_day", DIM_VOLUME, FIELD(plan_demand, output0), 0, 1e12,
                                        REQUIRED };
    struct scenario *s = l->s;
    struct plan_demand *d = &s->demands[s->demand_count++];
    char path[FIGURE_PATH_MAX];
    load_known(l, obj, known);
    load_id(l, obj, d->id);
    for (int k = 0; k < s->demand_count - 1; k++)
        if (!strcmp(s->demands[k].id, d->id))
            load_mistake(l, obj, "id", "id '%s' is used twice in this list", d->id);
    snprintf(path, sizeof path, "demand.%s", d->id);
    d->model = reference(l, obj, "model", s->models, sizeof s->models[0], s->model_count);
    d->slo = reference(l, obj, "slo", s->slos, sizeof s->slos[0], s->slo_count);
    d->cls = class_of(l, obj, d->model, d->slo);
    d->place = -1;
    d->share = 1;
    d->twin = -1;
    load_residency(l, obj, d);
    load_api_list(l, obj, d);
    load_fields(l, obj, path, d, fields, MEM_COUNT(fields));
    if (json_object_get(obj, "output_by_quarter"))
        load_volumes(l, obj, path, d);
    else
        load_fields(l, obj, path, d, &output, 1);
    load_latency(l, obj, path, d);
}

/* The burst band becomes a demand of its own, "<id>/burst"; see the top of the file. */
static void split_burst(struct loader *l, const json_t *obj)
{
    struct scenario *s = l->s;
    struct plan_demand *d = &s->demands[s->demand_count - 1];
    if (d->peak > 2 || s->demand_count == DEMANDS_MAX || strlen(d->id) + 6 >= PLAN_ID_MAX) {
        load_mistake(l, obj, "burst", "burst needs a peak of at most 2 (a sinusoidal day) and a shorter id");
        return;
    }
    double swing = d->peak - 1, above = swing / M_PI;
    struct plan_demand *b = &s->demands[s->demand_count++];
    char base_id[PLAN_ID_MAX];
    memcpy(base_id, d->id, sizeof base_id);
    *b = *d; /* its figures stay registered with the base band; derive copies them over */
    snprintf(b->id, sizeof b->id, "%.40s/burst", base_id);
    b->twin = s->demand_count - 2;
    b->share = above;
    b->peak = above > 0 ? M_PI : 1;
    d->share = 1 - above;
    d->peak = 1 / (1 - above);
}

void load_demands(struct loader *l, json_t *root)
{
    size_t i;
    json_t *obj;
    json_array_foreach(load_array(l, root, "demand", true, DEMANDS_MAX / 2), i, obj) {
        load_demand(l, obj);
        if (load_flag(l, obj, "burst", false))
            split_burst(l, obj);
    }
}
