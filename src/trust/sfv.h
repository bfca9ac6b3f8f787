/* sfv -- the strict subset of Structured Fields (RFC 8941) that HTTP signatures need.
 *
 * A dictionary whose members are inner lists of plain strings, or byte sequences, each with parameters that are
 * integers, strings, tokens or true. No decimals, no dates, no parameters inside inner lists, no duplicate keys. */
#ifndef TRUST_SFV_H
#define TRUST_SFV_H
#include "trust/code.h"

enum { SFV_MEMBERS_MAX = 8, SFV_ITEMS_MAX = 32, SFV_PARAMS_MAX = 8, SFV_TEXT_MAX = 8192 };

enum sfv_kind { SFV_INTEGER, SFV_STRING, SFV_TOKEN, SFV_BYTES, SFV_TRUE, SFV_LIST };

struct sfv_value {
    enum sfv_kind kind;
    int64_t integer;
    struct span text; /* string (without quotes, no escapes), token, or base64 of bytes */
};

struct sfv_param {
    struct span key;
    struct sfv_value value;
};

struct sfv_member {
    struct span key;
    struct span raw; /* the member's value with its parameters, as it stands */
    struct sfv_value value;
    int item_count;  /* of a list */
    struct span items[SFV_ITEMS_MAX];
    int param_count;
    struct sfv_param params[SFV_PARAMS_MAX];
};

struct sfv_dictionary {
    int count;
    struct sfv_member members[SFV_MEMBERS_MAX];
};

enum err_code sfv_parse(struct span text, struct sfv_dictionary *out, struct err *e);
const struct sfv_member *sfv_get(const struct sfv_dictionary *d, const char *key);
const struct sfv_value *sfv_param(const struct sfv_member *m, const char *key);
#endif
