/* load -- what reading a scenario shares: figures, references by id, `use:` of catalogue entries, mistakes.
 *
 * Internal to load.c, parts.c and demand.c. Reading goes on after a mistake, so that all are told at once. */
#ifndef PLAN_LOAD_H
#define PLAN_LOAD_H
#include "base/yaml.h"
#include "plan/scenario.h"

#include <math.h>

enum { CATALOGUES_MAX = 8 };

struct loader {
    struct scenario *s;
    struct yaml_doc doc;                 /* the scenario */
    struct yaml_doc cat[CATALOGUES_MAX]; /* the catalogue's files */
    int cat_count;
    struct mistakes *m;
    int line;                            /* of the object being read: where a missing key is reported */
};

/* A numeric field of an object. deflt NAN: it must be given. */
struct field {
    const char *key;
    enum dim dim;
    size_t offset;
    double min, max, deflt;
};
#define FIELD(type, member) offsetof(struct type, member)
#define REQUIRED NAN

/* Reads all fields of obj into base; path is "hardware.gb300-nvl72". */
void load_fields(struct loader *l, const json_t *obj, const char *path, void *base, const struct field *fields,
                 int count);
/* One figure, JSON to base unit, registered; false (and a mistake) when it is not one. */
bool load_figure(struct loader *l, const json_t *obj, const char *key, const char *path, enum dim dim, double min,
                 double max, double *out);
/* A text field; a mistake when missing and required. Never NULL. */
const char *load_text(struct loader *l, const json_t *obj, const char *key, bool required);
bool load_flag(struct loader *l, const json_t *obj, const char *key, bool deflt);
/* Copies an id, checked: letters, digits, - _ . and at most PLAN_ID_MAX - 1 of them. */
void load_id(struct loader *l, const json_t *obj, char out[PLAN_ID_MAX]);
/* Jurisdiction or country by name, added when new. */
int load_place(struct loader *l, const json_t *obj, const char *key, const char *name);
/* The array under key (NULL when absent or no array, with a mistake if so); at most max entries. */
json_t *load_array(struct loader *l, json_t *obj, const char *key, bool required, size_t max);
void load_known(struct loader *l, const json_t *obj, const char *const *known);
/* Fills obj's missing keys from the entry of the catalogue's list `kind` whose id obj names with `use`. */
void load_use(struct loader *l, json_t *obj, const char *kind);
void load_mistake(struct loader *l, const json_t *obj, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
int load_find_id(const void *first, size_t stride, int count, const char *id); /* id is the struct's first field */

/* The sections, in the order they depend on each other. */
void load_finance(struct loader *l, json_t *root);
void load_models(struct loader *l, json_t *root);
void load_hardware(struct loader *l, json_t *root);
void load_sites(struct loader *l, json_t *root);
void load_suppliers(struct loader *l, json_t *root);
void load_apis(struct loader *l, json_t *root);
void load_demands(struct loader *l, json_t *root);
int load_quarter(struct loader *l, const json_t *obj, const char *key); /* "2027-Q1" -> index, may be < 0 */
#endif
