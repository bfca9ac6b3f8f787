/* statement -- everything we sign besides checkpoints: one form, one strict parser, one table.
 *
 *     tokenworks/<type>/v1 LF
 *     <key> <value> LF          every key of the type, in the table's order, once; what came later may be missing
 *
 * ASCII only. A value that does not apply is "-" where the table allows it. The first line keeps the types apart:
 * no signature over one can be taken for another, nor for a checkpoint (no log may be named tokenworks/...). */
#ifndef TRUST_STATEMENT_H
#define TRUST_STATEMENT_H
#include "trust/note.h"

enum statement_type {
    STATEMENT_ROOT,    /* which keys speak for a site; signed by a threshold of the root keys */
    STATEMENT_RELEASE, /* the program's artifacts */
    STATEMENT_MODEL,   /* a model's files */
    STATEMENT_POLICY,  /* a policy file's hash */
    STATEMENT_NODE,    /* a node's boot: its keys, where it stands, what it runs */
    STATEMENT_REVOKE,  /* a statement or key that no longer counts */
    STATEMENT_CLOSE,   /* a boot's last receipt */
    STATEMENT_RECEIPT, /* one request */
    STATEMENT_TYPES,
};

enum { STATEMENT_FIELDS_MAX = 28, STATEMENT_VALUE_MAX = 8192, STATEMENT_LIST_MAX = 128, STATEMENT_LEAF_MAX = 128 };

struct statement {
    enum statement_type type;
    int count;
    struct span value[STATEMENT_FIELDS_MAX]; /* in the table's order */
};

/* text is a note's text; out points into it. */
enum err_code statement_parse(struct span text, struct statement *out, struct err *e);
/* Writes values (as many as the type has) and parses the result, so that nothing unreadable is ever signed. */
enum err_code statement_write(enum statement_type type, const struct span *values, int count, struct buf *out,
                              struct err *e);

const char *statement_name(enum statement_type type); /* "release" */
bool statement_type_of(struct span name, enum statement_type *out);
int statement_count(enum statement_type type);
const char *statement_key(enum statement_type type, int index);
/* The value of a key the type has; an unknown key is a bug. */
struct span statement_get(const struct statement *s, const char *key);
uint64_t statement_uint(const struct statement *s, const char *key);
int64_t statement_time(const struct statement *s, const char *key);
bool statement_absent(struct span value); /* "-" */
/* The next item of a comma-separated list, taken off *rest; false at its end and for "-". */
bool statement_next(struct span *rest, struct span *item);

/* What the log holds for a signed note: "tokenworks/leaf/<type>/v1 sha256:<of the whole note>", no LF. */
struct span statement_leaf(enum statement_type type, struct span note, char out[STATEMENT_LEAF_MAX]);
bool statement_leaf_parse(struct span leaf, enum statement_type *type, uint8_t hash[HASH_BYTES]);
#endif
