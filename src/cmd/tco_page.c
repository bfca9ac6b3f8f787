/* tco_page -- see tco_page.h. */
#include "cmd/tco_page.h"

#include "base/mem.h"
#include "base/yaml.h"
#include "cmd/tco_ask.h"
#include "plan/data.h"

#include <stddef.h>
#include <string.h>

static const struct setting {
    const char *name;
    size_t at;
    double least, most;
} figures[] = {
#define FIGURE(field, least, most) { #field, offsetof(struct tco_ask, field), least, most }
    FIGURE(units, 0.001, 1e7), FIGURE(price, 0, 1e12), FIGURE(uplift, 0, 10), FIGURE(life, 0.1, 50),
    FIGURE(discount, 0, 1), FIGURE(power_price, 0, 10), FIGURE(pue, 1, 4), FIGURE(utilisation, 0.0001, 1),
    FIGURE(rate, 0, 1e12), FIGURE(staff, 0, 1e12), FIGURE(rent, 0, 1e5), FIGURE(maintenance, 0, 1),
    FIGURE(input, 1, 1e7), FIGURE(output, 1, 1e7), FIGURE(cached, 0, 0.99), FIGURE(cloud, 0, 1e5),
    FIGURE(itl, 0.1, 1e6),
};

static enum err_code take(struct tco_ask *o, const char *name, const json_t *v, struct err *e)
{
    const char **texts[] = { &o->hardware, &o->model, &o->api };
    static const char *const text_names[] = { "hardware", "model", "api" };
    for (size_t i = 0; i < MEM_COUNT(texts); i++)
        if (!strcmp(name, text_names[i])) {
            if (!json_is_string(v))
                return err_set(e, ERR_INVALID, "'%s' is the name of an entry of the catalogue", name);
            *texts[i] = json_string_value(v);
            return ERR_OK;
        }
    for (size_t i = 0; i < MEM_COUNT(figures); i++)
        if (!strcmp(name, figures[i].name)) {
            double x = json_number_value(v);
            if (!json_is_number(v) || !(x >= figures[i].least && x <= figures[i].most))
                return err_set(e, ERR_INVALID, "'%s' is a number from %g to %g", name, figures[i].least,
                               figures[i].most);
            memcpy((char *)o + figures[i].at, &x, sizeof x);
            return ERR_OK;
        }
    return err_set(e, ERR_INVALID, "'%.60s' is no field of this question", name);
}

/* {"hardware": [ids], "models": [ids], "api": [ids]}, from the catalogue's files. */
static json_t *catalogue(void)
{
    static const char *const lists[][2] = { { "hardware", "hardware" }, { "models", "models" }, { "apis", "api" } };
    json_t *out = json_object();
    for (size_t i = 0; i < MEM_COUNT(lists); i++)
        json_object_set_new(out, lists[i][1], json_array());
    for (const struct plan_data *d = plan_catalogue; d->name; d++) {
        struct yaml_doc doc = { 0 };
        struct err e;
        if (yaml_parse(d->text, strlen(d->text), d->name, &doc, &e))
            continue;
        for (size_t i = 0; i < MEM_COUNT(lists); i++) {
            size_t at;
            json_t *entry;
            json_array_foreach(json_object_get(doc.root, lists[i][0]), at, entry)
                json_array_append(json_object_get(out, lists[i][1]), json_object_get(entry, "id"));
        }
        yaml_doc_release(&doc);
    }
    return out;
}

json_t *tco_page(const json_t *question, struct err *e)
{
    struct tco_ask o = tco_ask_defaults;
    struct tco_input in;
    const char *name;
    json_t *v;
    enum err_code c = json_is_object(question) ? ERR_OK : err_set(e, ERR_INVALID, "the question is a JSON object");
    if (!c)
        json_object_foreach((json_t *)(uintptr_t)question, name, v)
            c = c ? c : take(&o, name, v, e);
    if (c || tco_ask_figures(&o, &in, e))
        return NULL;
    return json_pack("{s:o, s:o}", "result", tco_to_json(&in), "catalogue", catalogue());
}
