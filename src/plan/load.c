/* load -- from YAML text to a checked struct scenario. See scenario.h for what comes out and load.h for how. */
#include "plan/load.h"

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "plan/data.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Where (obj, key) was written: the scenario first, then the catalogue. */
static int where(const struct loader *l, const json_t *obj, const char *key, const char **file)
{
    *file = l->doc.name;
    int line = key ? yaml_line(&l->doc, obj, key) : 0;
    if (!line)
        line = yaml_line_of(&l->doc, obj);
    for (int i = 0; i < l->cat_count && !line; i++) {
        line = key ? yaml_line(&l->cat[i], obj, key) : 0;
        line = line ? line : yaml_line_of(&l->cat[i], obj);
        if (line)
            *file = l->cat[i].name;
    }
    return line ? line : 1;
}

void load_mistake(struct loader *l, const json_t *obj, const char *key, const char *fmt, ...)
{
    char text[ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const char *file;
    int line = where(l, obj, key, &file);
    mistakes_add(l->m, file, line, "%s", text);
}

/* ---- figures */

static const json_t *catalogue_figure(const struct loader *l, const char *name)
{
    for (int i = 0; i < l->cat_count; i++) {
        const json_t *f = json_object_get(json_object_get(l->cat[i].root, "figures"), name);
        if (f)
            return f;
    }
    return NULL;
}

static void copy_text(const json_t *obj, const char *key, char *out, size_t size)
{
    const json_t *v = json_object_get(obj, key);
    if (json_is_integer(v)) /* a date may be a year alone */
        snprintf(out, size, "%lld", (long long)json_integer_value(v));
    else
        snprintf(out, size, "%s", json_is_string(v) ? json_string_value(v) : "");
}

static bool full_figure(struct loader *l, const json_t *v, const char *key, struct figure *f)
{
    static const char *const known[] = { "value", "unit", "source", "date", "class", "note", NULL };
    load_known(l, v, known);
    const json_t *value = json_object_get(v, "value");
    if (!json_is_number(value)) {
        load_mistake(l, v, "value", "%s: a figure needs a number under 'value'", key);
        return false;
    }
    f->value = json_number_value(value);
    copy_text(v, "unit", f->unit, sizeof f->unit);
    copy_text(v, "source", f->source, sizeof f->source);
    copy_text(v, "date", f->date, sizeof f->date);
    const char *cls = json_string_value(json_object_get(v, "class"));
    cls = cls ? cls : "assumed";
    if (strcmp(cls, "seen") && strcmp(cls, "measured") && strcmp(cls, "assumed")) {
        load_mistake(l, v, "class", "%s: class '%.20s' is none of seen, measured, assumed", key, cls);
        return false;
    }
    f->cls = !strcmp(cls, "seen") ? CLASS_SEEN : !strcmp(cls, "measured") ? CLASS_MEASURED : CLASS_ASSUMED;
    if (f->cls != CLASS_ASSUMED && (!*f->source || !*f->date)) {
        load_mistake(l, v, NULL, "%s: a figure of class %s needs its source and date; else call it assumed", key,
                     cls);
        return false;
    }
    return true;
}

static bool read_figure(struct loader *l, const json_t *obj, const char *key, struct figure *f)
{
    const json_t *v = json_object_get(obj, key);
    f->cls = CLASS_ASSUMED;
    if (json_is_number(v)) {
        f->value = json_number_value(v);
        return true;
    }
    if (json_is_string(v)) {
        if (figure_split(json_string_value(v), &f->value, f->unit))
            return true;
        load_mistake(l, obj, key, "%s: '%.40s' is not a number with a unit, like 132 kW", key, json_string_value(v));
        return false;
    }
    if (!json_is_object(v)) {
        load_mistake(l, obj, key, "%s must be a number, a text like \"132 kW\" or {value, unit, source, date, class}",
                     key);
        return false;
    }
    const char *use = json_string_value(json_object_get(v, "use"));
    if (!use)
        return full_figure(l, v, key, f);
    const json_t *c = catalogue_figure(l, use);
    if (!c) {
        load_mistake(l, v, "use",
                     "%s: the catalogue has no figure '%.60s' (tokenworks plan --catalogue lists them)", key,
                     use);
        return false;
    }
    return full_figure(l, c, key, f);
}

bool load_figure(struct loader *l, const json_t *obj, const char *key, const char *path, enum dim dim, double min,
                 double max, double *out)
{
    struct figure f = { 0 };
    struct scenario *s = l->s;
    if (!read_figure(l, obj, key, &f))
        return false;
    if (!*f.unit)
        snprintf(f.unit, sizeof f.unit, "%s", figure_base_unit(dim));
    double factor = figure_unit_factor(dim, f.unit, s->finance.eur_usd);
    if (factor <= 0) {
        load_mistake(l, obj, key, "%s: unit '%.20s' does not fit; use one of %s", key, f.unit, figure_units(dim));
        return false;
    }
    double v = f.value * factor;
    if (!(v >= min && v <= max)) {
        load_mistake(l, obj, key, "%s: %g %s is not between %g and %g %s", key, f.value, f.unit, min / factor,
                     max / factor, f.unit);
        return false;
    }
    *out = v;
    if (s->figure_count < FIGURES_MAX) {
        snprintf(f.path, sizeof f.path, "%s%s%s", path, *path ? "." : "", key);
        f.at = out;
        if (!(s->figure_count & (s->figure_count - 1)))
            s->figures = mem_grow(s->figures, s->figure_count ? 2 * (size_t)s->figure_count : 1, sizeof f);
        s->figures[s->figure_count++] = f;
    }
    return true;
}

void load_fields(struct loader *l, const json_t *obj, const char *path, void *base, const struct field *fields,
                 int count)
{
    for (int i = 0; i < count; i++) {
        const struct field *f = &fields[i];
        double *out = (double *)((char *)base + f->offset);
        if (json_is_null(json_object_get(obj, f->key)) || !json_object_get(obj, f->key)) {
            if (isnan(f->deflt))
                load_mistake(l, obj, NULL, "%s: '%s' is missing; give a figure in one of %s", path, f->key,
                             figure_units(f->dim));
            *out = isnan(f->deflt) ? fmin(fmax(1, f->min), f->max) : f->deflt;
        } else if (!load_figure(l, obj, f->key, path, f->dim, f->min, f->max, out)) {
            *out = fmin(fmax(1, f->min), f->max);
        }
    }
}

/* ---- words, references */

const char *load_text(struct loader *l, const json_t *obj, const char *key, bool required)
{
    const json_t *v = json_object_get(obj, key);
    if (json_is_string(v))
        return json_string_value(v);
    if (v && !json_is_null(v))
        load_mistake(l, obj, key, "'%s' must be a text; put it in quotes", key);
    else if (required)
        load_mistake(l, obj, NULL, "'%s' is missing", key);
    return "";
}

bool load_flag(struct loader *l, const json_t *obj, const char *key, bool deflt)
{
    const json_t *v = json_object_get(obj, key);
    if (v && !json_is_boolean(v))
        load_mistake(l, obj, key, "'%s' must be true or false", key);
    return json_is_boolean(v) ? json_is_true(v) : deflt;
}

void load_id(struct loader *l, const json_t *obj, char out[PLAN_ID_MAX])
{
    const char *id = load_text(l, obj, "id", true);
    bool ok = strlen(id) < PLAN_ID_MAX;
    for (const char *p = id; *p; p++)
        ok = ok && (isalnum((unsigned char)*p) || strchr("-_.", *p));
    if (!ok)
        load_mistake(l, obj, "id", "id '%.60s' may hold letters, digits, - _ . and at most %d of them", id,
                     PLAN_ID_MAX - 1);
    snprintf(out, PLAN_ID_MAX, "%s", ok ? id : "?");
}

int load_place(struct loader *l, const json_t *obj, const char *key, const char *name)
{
    struct scenario *s = l->s;
    for (int i = 0; i < s->place_count; i++)
        if (!strcmp(s->places[i], name))
            return i;
    if (s->place_count == PLACES_MAX || strlen(name) >= PLAN_ID_MAX) {
        load_mistake(l, obj, key, "more than %d jurisdictions, or a name of more than %d characters", PLACES_MAX,
                     PLAN_ID_MAX - 1);
        return 0;
    }
    snprintf(s->places[s->place_count], PLAN_ID_MAX, "%s", name);
    return s->place_count++;
}

json_t *load_array(struct loader *l, json_t *obj, const char *key, bool required, size_t max)
{
    json_t *v = json_object_get(obj, key);
    if (!v || json_is_null(v)) {
        if (required)
            load_mistake(l, obj, NULL, "'%s' is missing: a list with at least one entry", key);
        return NULL;
    }
    if (!json_is_array(v) || json_array_size(v) > max || (required && !json_array_size(v))) {
        load_mistake(l, obj, key, "'%s' must be a list of %s%zu entries at most", key, required ? "1 to " : "", max);
        return NULL;
    }
    for (size_t i = 0; i < json_array_size(v); i++)
        if (!json_is_object(json_array_get(v, i)) && strcmp(key, "residency") && strcmp(key, "api")) {
            load_mistake(l, obj, key, "entry %zu of '%s' must be a mapping", i + 1, key);
            return NULL;
        }
    return v;
}

void load_known(struct loader *l, const json_t *obj, const char *const *known)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)obj, key, value) {
        int k = 0;
        char list[220] = "";
        size_t used = 0;
        for (; known[k] && strcmp(known[k], key); k++)
            if (used < sizeof list)
                used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", used ? ", " : "", known[k]);
        if (!known[k])
            load_mistake(l, obj, key, "unknown key '%.40s'; the keys here are: %s", key, list);
    }
}

int load_find_id(const void *first, size_t stride, int count, const char *id)
{
    for (int i = 0; i < count; i++)
        if (!strcmp((const char *)first + stride * (size_t)i, id))
            return i;
    return -1;
}

void load_use(struct loader *l, json_t *obj, const char *kind)
{
    const char *use = json_string_value(json_object_get(obj, "use"));
    if (!use)
        return;
    for (int i = 0; i < l->cat_count; i++) {
        size_t k;
        json_t *entry;
        json_array_foreach(json_object_get(l->cat[i].root, kind), k, entry) {
            if (strcmp(json_string_value(json_object_get(entry, "id")), use))
                continue;
            json_object_update_missing(obj, entry);
            json_object_del(obj, "use");
            return;
        }
    }
    load_mistake(l, obj, "use", "the catalogue has no %s '%.60s' (tokenworks plan --catalogue lists them)", kind,
                 use);
    json_object_set_new(obj, "id", json_string(use));
    json_object_del(obj, "use");
}

int load_quarter(struct loader *l, const json_t *obj, const char *key)
{
    const char *q = load_text(l, obj, key, true);
    int year = 0, quarter = 0;
    char end;
    if (sscanf(q, "%4d-Q%1d%c", &year, &quarter, &end) != 2 || year < 1990 || year > 2200 || quarter < 1 ||
        quarter > 4) {
        load_mistake(l, obj, key, "%s: '%.20s' is not a quarter; write it like 2027-Q1", key, q);
        return 0;
    }
    return (year - l->s->start_year) * 4 + quarter - l->s->start_quarter;
}

/* ---- what if */

static json_t *find_member(json_t *v, const char *name)
{
    size_t i;
    json_t *entry;
    if (json_is_object(v))
        return json_object_get(v, name);
    json_array_foreach(v, i, entry) {
        const char *id = json_string_value(json_object_get(entry, "id"));
        id = id ? id : json_string_value(json_object_get(entry, "use"));
        if (id && !strcmp(id, name))
            return entry;
    }
    return NULL;
}

/* "sites.frankfurt.power_price=0.12": lists are entered by id. The last part may be new. */
static void apply_what_if(struct loader *l, const char *text)
{
    const char *eq = strchr(text, '=');
    char path[200];
    if (!eq || (size_t)(eq - text) >= sizeof path) {
        mistakes_add(l->m, "--what-if", 1, "'%.80s': write it like sites.frankfurt.power_price=0.12", text);
        return;
    }
    snprintf(path, sizeof path, "%.*s", (int)(eq - text), text);
    json_t *at = l->doc.root;
    char *part = path, *dot;
    while ((dot = strchr(part, '.'))) {
        *dot = '\0';
        json_t *next = find_member(at, part);
        if (!next) {
            mistakes_add(l->m, "--what-if", 1, "'%.80s': there is no '%s'; lists are entered by id", text, part);
            return;
        }
        at = next;
        part = dot + 1;
    }
    struct yaml_doc v;
    struct err e = { 0 };
    json_t *old = find_member(at, part);
    if (!json_is_object(at) || yaml_parse(eq + 1, strlen(eq + 1), "--what-if", &v, &e)) {
        mistakes_add(l->m, "--what-if", 1, "'%.80s': %s", text, e.code ? e.text :
                     "this is a list; name an entry's field");
        return;
    }
    if (json_is_object(old) && json_object_get(old, "value") && json_is_number(v.root)) {
        json_object_set(old, "value", v.root);
        json_object_set_new(old, "class", json_string("assumed"));
        json_object_set_new(old, "source", json_string("what-if"));
    } else {
        json_object_set(at, part, v.root);
    }
    yaml_doc_release(&v);
}

/* ---- the whole */

static void open_catalogue(struct loader *l)
{
    for (const struct plan_data *d = plan_catalogue; d->name && l->cat_count < CATALOGUES_MAX; d++) {
        struct err e = { 0 };
        if (yaml_parse(d->text, strlen(d->text), d->name, &l->cat[l->cat_count], &e))
            mistakes_add(l->m, d->name, 0, "%s", e.text);
        else
            l->cat_count++;
    }
}

static void load_head(struct loader *l, json_t *root)
{
    static const char *const known[] = { "scenario", "title", "about", "start", "quarters", "seed", "finance",
                                        "rules",
        "models", "slos", "hardware", "suppliers", "sites", "demand", "api", NULL };
    struct scenario *s = l->s;
    load_known(l, root, known);
    snprintf(s->id, sizeof s->id, "%.47s", load_text(l, root, "scenario", true));
    snprintf(s->title, sizeof s->title, "%s", load_text(l, root, "title", false));
    snprintf(s->about, sizeof s->about, "%s", load_text(l, root, "about", false));
    s->start_year = 2000, s->start_quarter = 1;
    int start = load_quarter(l, root, "start");
    s->start_year = 2000 + (start >= 0 ? start / 4 : (start - 3) / 4);
    s->start_quarter = start - 4 * (s->start_year - 2000) + 1;
    int64_t quarters = 8, seed = 1;
    struct err e = { 0 };
    if (jsonx_get_int(root, "quarters", 1, QUARTERS_MAX, &quarters, &e))
        load_mistake(l, root, "quarters", "%s", e.text);
    if (jsonx_get_int(root, "seed", 0, INT64_MAX, &seed, &e))
        load_mistake(l, root, "seed", "%s", e.text);
    s->quarters = (int)quarters;
    s->seed = (uint64_t)seed;
}

static void hash_inputs(struct loader *l)
{
    uint8_t digest[SHA256_BYTES];
    char *text = json_dumps(l->doc.root, JSON_SORT_KEYS | JSON_COMPACT);
    sha256_of(text ? text : "", text ? strlen(text) : 0, digest);
    sha256_hex(digest, l->s->inputs_sha256);
    mem_free(text);
}

static void load_all(struct loader *l)
{
    json_t *root = l->doc.root;
    if (!json_is_object(root)) {
        mistakes_add(l->m, l->doc.name, 1, "a scenario is a mapping; `tokenworks plan --example hospital` shows one");
        return;
    }
    load_head(l, root);
    load_finance(l, root);
    load_models(l, root);
    load_hardware(l, root);
    load_sites(l, root);
    load_suppliers(l, root);
    load_apis(l, root);
    load_demands(l, root);
    hash_inputs(l);
}

struct scenario *scenario_load(const char *text, size_t n, const char *name, const char *const *what_if,
                               int what_if_count, struct mistakes *m)
{
    struct err e = { 0 };
    struct loader *l = MEM_NEW(struct loader);
    l->s = MEM_NEW(struct scenario);
    l->m = m;
    open_catalogue(l);
    if (yaml_parse(text, n, name, &l->doc, &e)) {
        buf_printf(&m->text, "%s\n", e.text); /* carries file and line already */
        m->count++;
    } else {
        for (int i = 0; i < what_if_count; i++)
            apply_what_if(l, what_if[i]);
        if (!m->count)
            load_all(l);
    }
    struct scenario *s = l->s;
    yaml_doc_release(&l->doc);
    for (int i = 0; i < l->cat_count; i++)
        yaml_doc_release(&l->cat[i]);
    mem_free(l);
    if (m->count) {
        scenario_free(s);
        return NULL;
    }
    for (int c = 0; c < CLASSES_MAX; c++)
        s->derate[c] = 1;
    scenario_derive(s);
    return s;
}

struct scenario *scenario_load_file(const char *path, const char *const *what_if, int what_if_count,
                                    struct mistakes *m)
{
    struct buf b = { 0 };
    struct err e = { 0 };
    struct scenario *s = NULL;
    if (file_read(path, YAML_BYTES_MAX, &b, &e)) {
        buf_printf(&m->text, "%s\n", e.text);
        m->count++;
    } else {
        s = scenario_load(buf_str(&b), b.len, strcmp(path, "-") ? path : "standard input", what_if, what_if_count, m);
    }
    buf_release(&b);
    return s;
}

void scenario_free(struct scenario *s)
{
    if (s)
        mem_free(s->figures);
    mem_free(s);
}
