/* catalog -- which models the fleet has: the workers' lists, laid together by id.
 *
 * A model that was known stays: with no worker it is not ready, which is another answer than "there is no such model".
 * Owner: the loop's thread. */
#ifndef FLEET_CATALOG_H
#define FLEET_CATALOG_H
#include "fleet/gateway.h"
#include "fleet/roster.h"

enum { CATALOG_MODELS_MAX = 256 };

struct catalog {
    struct fleet_model *models;   /* [count], in order of id; facts and aliases are references of ours */
    int count;
};

/* true: something that people are told has changed. */
bool catalog_update(struct catalog *c, const struct roster *r);
void catalog_release(struct catalog *c);
const struct fleet_model *catalog_find(const struct catalog *c, const char *id); /* NULL */
#endif
