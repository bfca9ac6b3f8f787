/* data -- the catalogue and the shipped scenarios, carried inside the binary: no file is needed at run time. */
#ifndef PLAN_DATA_H
#define PLAN_DATA_H

struct plan_data {
    const char *name; /* "hospital", "catalogue/hardware.yaml" */
    const char *text; /* NUL-terminated */
};

/* Both tables end with a row whose name is NULL. */
extern const struct plan_data plan_catalogue[];
extern const struct plan_data plan_examples[];
const struct plan_data *plan_example_find(const char *name);
#endif
