/* grammar_impl -- the compiled form that schema*.c and gbnf.c write and grammar.c walks. */
#ifndef TEXT_GRAMMAR_IMPL_H
#define TEXT_GRAMMAR_IMPL_H
#include "text/grammar.h"
#include "text/rx.h"

#define G_NONE UINT32_MAX
enum { G_WHITESPACE_MAX = 128, G_CONFIGS_MAX = 256, G_DEPTH_MAX = 200 };

/* What may stand where a value is expected: any of the parts that are there. */
struct g_value {
    uint32_t lex;        /* DFA of numbers, true, false, null; G_NONE for none */
    uint32_t str;        /* DFA over the decoded text, of at most smax characters; G_NONE: see plain */
    bool plain;          /* any text of smin to smax characters */
    uint32_t smin, smax;
    uint32_t *arr, *obj; /* alternatives */
    uint32_t narr, nobj;
    bool sat;
};

struct g_array {
    uint32_t min, max;             /* items; max G_NONE for no bound */
    uint32_t *prefix;              /* value of item i < nprefix */
    uint32_t nprefix, rest;        /* value of the others, G_NONE when there are none */
    uint32_t *hit_prefix, hit_rest;/* the same values, also satisfying contains; G_NONE without contains */
    uint32_t *miss_prefix, miss_rest; /* and not satisfying it: when maxContains counts, else the plain values */
    bool contains;
    uint32_t cmin, cmax;
    const json_t *where;           /* while compiling: the schema that says uniqueItems */
    const struct g_names *unique;  /* uniqueItems over these literal texts, or NULL */
    bool distinct;                 /* uniqueItems over strings of an endless language: their hashes are kept */
    bool sat;
};

/* Names, or other literal texts, as a tree over their bytes in sorted order. */
struct g_names {
    uint32_t count;
    char **name;
    uint32_t *len;
    struct g_name_node {
        uint32_t lo, hi;    /* the names below, [lo, hi) of the sorted order */
        uint32_t terminal;  /* the name that ends here, or G_NONE */
        uint32_t child;     /* first child, or G_NONE */
        uint32_t sibling;
        uint8_t byte;
    } *node;
    uint32_t nodes;
};

struct g_class {
    uint32_t dfa;   /* of the key's text */
    uint32_t value;
    uint8_t hit;
};
struct g_object {
    struct g_names names;
    uint32_t *value;       /* by name */
    uint8_t *required;     /* by name */
    uint32_t **needs;      /* by name: names that must be there when this one is; needs[i][0] counts them */
    uint32_t min, max, nrequired;
    uint32_t rest;         /* value of keys that are no name, G_NONE: none; not used when there are classes */
    struct g_class *cls;   /* disjoint, and disjoint from the names */
    uint32_t ncls;
    uint8_t want;          /* kinds of keys of which one must be there, as bits ... */
    uint8_t *hit, rest_hit;/* ... and which of them a name, another key (or class) is */
    bool simple;           /* no maxProperties, no dependencies: a name not seen is free */
    bool distinct;         /* other keys are counted by minProperties: no key twice */
    bool sat;
};

/* GBNF: rules are sequences of elements; alternatives are chained. */
struct g_element {
    enum { GE_END, GE_ALT, GE_DFA, GE_RULE, GE_VALUE } kind;
    uint32_t to; /* DFA, rule or JSON value */
};

enum g_kind { G_JSON, G_REGULAR, G_BNF };
struct grammar {
    enum g_kind kind;
    struct arena arena;
    struct rx_dfa **dfa;
    uint32_t ndfa, dfa_cap;
    struct g_value *value;
    uint32_t nvalue, value_cap;
    struct g_array *array;
    uint32_t narray, array_cap;
    struct g_object *object;
    uint32_t nobject, object_cap;
    uint32_t root;       /* value, DFA, or rule */
    struct g_element *element;
    uint32_t *rule;      /* rule -> its first element */
    uint32_t nrule;
    struct grammar *taken; /* grammars put into this one: their arenas are still in use */
};

uint32_t grammar_add_dfa(struct grammar *g, struct rx_dfa *d);
void g_names_build(struct grammar *g, struct g_names *n); /* name, len, count are given; sorts and builds */
uint32_t g_names_child(const struct g_names *n, uint32_t node, unsigned byte); /* G_NONE for none */
uint32_t g_names_find(const struct g_names *n, const char *p, size_t len);
struct grammar *grammar_alloc(enum g_kind kind);
#endif
