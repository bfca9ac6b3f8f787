/* directory -- the book's raw material as it stands in the file: plain arrays, ordered by id, no pointers inside. Made
 * by the thread that owns the file, given whole to the thread that owns the book. */
#ifndef LEDGER_DIRECTORY_H
#define LEDGER_DIRECTORY_H
#include "ledger/meter.h"
#include "ledger/price.h"

enum { DIRECTORY_LIST_MAX = 512 }; /* bytes of a space-separated list of models or jurisdictions */

struct dir_tenant {
    int64_t id;
    char name[LEDGER_NAME_MAX + 1];
    int weight, priority;
    struct ledger_limits limits;
};

struct dir_team {
    int64_t id, tenant;
    char name[LEDGER_NAME_MAX + 1];
    struct ledger_limits limits;
};

struct dir_key {
    int64_t id, tenant, team;          /* team 0: none */
    char name[LEDGER_NAME_MAX + 1];
    uint8_t hash[LEDGER_HASH_BYTES];
    enum ledger_role role;
    int64_t expires_ms, revoked_ms;    /* 0: not */
    char models[DIRECTORY_LIST_MAX + 1], jurisdictions[DIRECTORY_LIST_MAX + 1];
    struct ledger_limits limits;
};

struct dir_model {
    int64_t id;                        /* of the row that names it in the file */
    char name[LEDGER_NAME_MAX + 1];
    struct ledger_limits limits;
};

struct dir_price {                     /* ordered by model, then from_ms */
    char model[LEDGER_NAME_MAX + 1];   /* "*": every model without its own */
    int64_t from_ms;
    struct price price;
};

struct dir_used {                      /* what the day and the month of loading have seen so far */
    enum ledger_scope scope;
    int64_t id;
    int64_t used[2][METER_KINDS];
};

struct directory {
    struct dir_tenant *tenants;
    struct dir_team *teams;
    struct dir_key *keys;
    struct dir_model *models;
    struct dir_price *prices;
    struct dir_used *used;
    int tenant_count, team_count, key_count, model_count, price_count, used_count;
    int64_t day, month;                /* the periods of used[] */
    int64_t retention_days;            /* 0: rows stay for ever */
    int64_t idle_mw, core_mw;          /* the machine as it was stated: energy.h */
};

void directory_free(struct directory *d);
#endif
