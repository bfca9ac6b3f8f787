/* schema_impl -- the compiler from JSON Schema to the value graph: what its files share.
 *
 * A node of the graph is a conjunction: a set of (schema, negated) pairs that a value must satisfy together.
 * It is normalised into alternatives of one kind each; the children of arrays and objects are conjunctions
 * again, made on demand, so recursive references end where the same set comes back. */
#ifndef TEXT_SCHEMA_IMPL_H
#define TEXT_SCHEMA_IMPL_H
#include "text/grammar_impl.h"

enum { SCHEMA_NODES_MAX = 60000, SCHEMA_ALTS_MAX = 256, SCHEMA_DEPTH_MAX = 300, SCHEMA_CONJ_MAX = 64 };

struct s_item {
    const json_t *s;
    bool neg;
};
struct s_conj {
    struct s_item *v;
    size_t n, cap;
};

enum s_kind { SK_SCALAR, SK_STRING, SK_ARRAY, SK_OBJECT };
enum s_fact_kind { SF_LAYER, SF_REQUIRED, SF_PROP, SF_MIN, SF_MAX, SF_NAMES, SF_NEEDS, SF_CONTAINS, SF_UNIQUE,
    SF_EXTRA, SF_ITEMS }; /* a key that s would not allow; every item under s */
struct s_fact {
    enum s_fact_kind kind;
    bool neg;
    const json_t *s;     /* the schema of a layer, property, propertyNames, contains */
    const char *name;    /* SF_REQUIRED, SF_PROP, SF_NEEDS (when name is there ...) */
    const char *needs;   /* ... this must be */
    uint64_t min, max;   /* SF_MIN, SF_MAX in min; SF_CONTAINS both */
};
struct s_alt {
    enum s_kind kind;
    rx_id r;             /* scalar and string; RX_NONE: a plain string */
    uint64_t smin, smax; /* string lengths, also beside r */
    struct s_fact *fact; /* array and object */
    size_t nfact;
};
struct s_alts {
    struct s_alt *v;
    size_t n, cap;
};

struct schema {
    struct grammar *g;
    struct rx *x;
    struct arena mem;
    const json_t *root;
    json_t *made;        /* array: schemas we made (const of a list ...), kept alive */
    struct err *e;
    bool failed;
    int depth;
    bool no_if;          /* before draft 7 there was no if */
    bool ref_hides;      /* before 2019-09: $ref's neighbours do not count */
    struct s_conj *conj; /* by value id */
    uint32_t *slot;
    uint32_t slots;
    uint32_t done;       /* values below this are compiled */
    const json_t **seen; /* json node -> path */
    char **path;
    size_t npath, path_cap;
    rx_id number, nonnumber, plain, whole;
    json_t *no;          /* the schema false */
};

void *schema_alloc(struct schema *c, size_t count, size_t size);
bool schema_fail(struct schema *c, const json_t *at, const char *keyword, const char *why);
uint32_t schema_node(struct schema *c, const struct s_conj *conj);       /* value id */
bool schema_conj_add(struct schema *c, struct s_conj *conj, const json_t *s, bool neg);
bool schema_normalise(struct schema *c, const struct s_conj *conj, struct s_alts *out);
bool schema_is_true(const json_t *s);
const json_t *schema_resolve(struct schema *c, const json_t *at, const char *ref);
rx_id schema_string_rx(struct schema *c, const struct s_alt *a); /* as an expression, lengths folded in */
rx_id schema_format(struct schema *c, const char *name, bool *known);
bool schema_array(struct schema *c, const struct s_alt *a, uint32_t *out);  /* out G_NONE: cannot be satisfied */
bool schema_object(struct schema *c, const struct s_alt *a, uint32_t *out);
bool schema_decimal(const json_t *v, struct rx_decimal *out);
/* How the texts of two schemas' strings relate to a name: whether it matches. -1 on failure. */
int schema_rx_matches(struct schema *c, rx_id r, const char *p, size_t n);
uint32_t schema_dfa(struct schema *c, rx_id r, const json_t *at, const char *keyword, bool *empty);
/* the alternatives of one schema */
bool schema_alts(struct schema *c, const json_t *s, bool neg, struct s_alts *out);
void schema_alts_push(struct schema *c, struct s_alts *a, struct s_alt alt);
bool schema_alts_and(struct schema *c, struct s_alts *a, const struct s_alts *b);
bool schema_alts_or(struct schema *c, struct s_alts *a, const struct s_alts *b);
struct s_alts schema_all(struct schema *c);
/* What const or enum allow. */
bool schema_literal(struct schema *c, const json_t *v, struct s_alts *out);
bool schema_unsat(struct schema *c, const struct s_conj *conj, int depth); /* surely no value; false: maybe */
#endif
