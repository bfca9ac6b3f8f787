/* fields -- the law of a request body: every key is in the dialect's table, or refused by name. */
#ifndef API_FIELDS_H
#define API_FIELDS_H
#include "api/job.h"

enum api_use {
    READ,    /* obeyed; whoever reads the field checks its value */
    STRING,  /* accepted, cannot change tokens: only its type is checked */
    OBJECT,
    BOOLEAN,
    ANY,     /* accepted, cannot change tokens, whatever it is */
    NOT_YET, /* known to clients, not done here: refused unless harmless */
};

struct api_field {
    const char *name;
    int dialects;  /* bits, for whoever shares a table */
    enum api_use use;
    bool (*harmless)(const json_t *v);
};

/* obj: the body, or an object within it; prefix: its path and a dot, or "". The table ends with a NULL name. */
bool api_fields_of(const json_t *obj, const struct api_field *table, int dialect, const char *prefix,
                   struct api_error *error);
/* Values that ask for nothing. */
bool api_is_false(const json_t *v);
bool api_is_empty(const json_t *v);
#endif
