/* jinja_value -- the values a template computes with: Python's, as far as a template can see them.
 *
 * A value is 16 bytes, passed by copy; what it points to lives in the arena of the render (or, for
 * constants, of the template) and is freed with it. Strings are valid UTF-8 and count in characters.
 * I1: a jstr of the template is never written; `chars` is computed when it is made.
 * I2: lists, tuples and dicts are complete when they become visible: the sandbox has no mutation, so
 *     there are no cycles but through namespaces, and every walk counts its depth. */
#ifndef TEXT_JINJA_VALUE_H
#define TEXT_JINJA_VALUE_H
#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "text/template.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum jtype {
    J_MISSING, /* an argument that was not given; never visible to a template */
    J_FAIL,    /* an error is set in the render; goes up unchanged */
    J_UNDEF, J_NONE, J_BOOL, J_INT, J_FLOAT, J_STR,
    J_LIST, J_TUPLE, J_DICT,
    J_VIEW,    /* dict.keys(), .values(), .items() */
    J_RANGE,
    J_ITER,    /* a generator: can be walked once */
    J_NS,      /* namespace(...): a dict whose entries `set ns.x` may change */
    J_FUNC, J_LOOP, J_CYCLER, J_JOINER,
};

struct jv {
    uint8_t type;
    uint8_t markup; /* J_STR: came out of |safe or |escape */
    uint8_t view;   /* J_VIEW: enum jview */
    union {
        bool b;
        int64_t i;
        double f;
        struct jstr *s;
        struct jlist *l; /* list, tuple */
        struct jdict *d; /* dict, view, namespace */
        struct jrange *range;
        struct jiter *it;
        struct jfunc *fn;
        struct jloop *loop;
        struct jcycler *cycler;
        const struct jundef *u;
    };
};

/* Room behind a string that grows by appending: s ~ x in a loop must not copy s every time. */
struct jtail {
    char *p;
    size_t used, cap;
};
struct jstr {
    const char *p;       /* not NUL-terminated */
    size_t n;            /* bytes */
    size_t chars;        /* code points; SIZE_MAX until asked */
    struct jtail *tail;  /* where p lives when it may be appended to, else NULL */
};
struct jlist {
    struct jv *v;
    size_t n, cap;
    bool group; /* a groupby tuple: has .grouper and .list */
};
struct jpair {
    struct jv key, val;
};
struct jdict {
    struct jpair *v; /* insertion order */
    size_t n, cap;
    uint32_t *slot;  /* open addressing, entry number + 1; NULL while small */
    size_t slots;
};
enum jview { JVIEW_KEYS, JVIEW_VALUES, JVIEW_ITEMS };
struct jrange {
    int64_t start, stop, step;
    size_t n;
};
struct jundef {
    const char *hint;       /* the whole sentence, or NULL */
    const struct jstr *name;
    const char *on;         /* "'dict object'" when an attribute is missing, else NULL */
    bool security;          /* an attribute that exists and is out of reach */
};
struct jcycler {
    struct jv *v;
    size_t n, pos;
};

struct jrun;

/* ---- making values; all fail with ERR_LIMIT when the render's memory is spent */
void *jalloc(struct jrun *r, size_t count, size_t size);
struct jv jfail(struct jrun *r, enum err_code code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
bool jcharge(struct jrun *r, size_t ops); /* takes from the budget; false once it is spent (error set) */
bool jenter(struct jrun *r);              /* one level deeper, or false with the error set */
void jleave(struct jrun *r);

struct jv jstr_copy(struct jrun *r, const char *p, size_t n);
struct jv jstr_ref(struct jrun *r, const char *p, size_t n); /* p must outlive the render */
struct jv jstr_lit(struct jrun *r, const char *literal);
struct jv jstr_from_buf(struct jrun *r, struct buf *b);      /* copies, then releases b */
struct jv jlist_new(struct jrun *r, enum jtype type, size_t cap);
bool jlist_add(struct jrun *r, struct jlist *l, struct jv v);
struct jv jpair_tuple(struct jrun *r, struct jv a, struct jv b);
struct jv jdict_new(struct jrun *r);
bool jdict_set(struct jrun *r, struct jdict *d, struct jv key, struct jv val); /* false: unhashable, memory */
/* NULL when absent, or when the key cannot be one (then the error is set). */
struct jv *jdict_get(struct jrun *r, const struct jdict *d, struct jv key);
struct jv *jdict_get_text(struct jrun *r, const struct jdict *d, const char *p, size_t n);
struct jv jv_from_json(struct jrun *r, const json_t *j);
struct jv jundef_name(struct jrun *r, const struct jstr *name);
struct jv jundef_attr(struct jrun *r, struct jv obj, struct jv name);
struct jv jundef_hint(struct jrun *r, const char *hint);
struct jv jundef_security(struct jrun *r, struct jv obj, const struct jstr *name);
struct jv jundef_fail(struct jrun *r, struct jv undef); /* raises what using it raises */

static inline struct jv jmissing(void) { return (struct jv){ .type = J_MISSING }; }
static inline struct jv jnone(void) { return (struct jv){ .type = J_NONE }; }
static inline struct jv jbool(bool b) { return (struct jv){ .type = J_BOOL, .b = b }; }
static inline struct jv jint(int64_t i) { return (struct jv){ .type = J_INT, .i = i }; }
static inline struct jv jfloat(double f) { return (struct jv){ .type = J_FLOAT, .f = f }; }
static inline bool jis_fail(struct jv v) { return v.type == J_FAIL; }
static inline bool jis_missing(struct jv v) { return v.type == J_MISSING; }
static inline bool jis_int(struct jv v) { return v.type == J_INT || v.type == J_BOOL; }
static inline bool jis_num(struct jv v) { return jis_int(v) || v.type == J_FLOAT; }
static inline int64_t jint_of(struct jv v) { return v.type == J_BOOL ? v.b : v.i; }
static inline double jfloat_of(struct jv v) { return v.type == J_FLOAT ? v.f : (double)jint_of(v); }

/* ---- what Python says about them */
const char *jtype_name(struct jv v);                     /* "str", "dict", "NoneType" ... */
int jv_truth(struct jrun *r, struct jv v);               /* 1, 0; -1 with the error set */
int jv_equal(struct jrun *r, struct jv a, struct jv b);
/* a < b, a <= b ... as op '<' 'l' '>' 'g'; TypeError when they have no order. */
int jv_less(struct jrun *r, struct jv a, struct jv b, char op);
bool jv_len(struct jrun *r, struct jv v, size_t *out);   /* TypeError (error set) when it has none */
int jv_contains(struct jrun *r, struct jv item, struct jv container);
bool jv_hash(struct jrun *r, struct jv v, uint64_t *out);

/* ---- printing (jinja_print.c); all append to out, false with the error set */
bool jv_print(struct jrun *r, struct jv v, struct buf *out); /* str(v) */
bool jv_repr(struct jrun *r, struct jv v, struct buf *out);
struct jv jv_str(struct jrun *r, struct jv v);               /* str(v) as a value; a string is itself */
void jfloat_repr(double f, struct buf *out);
struct jjson {
    bool ascii, sort;
    const char *indent; /* bytes of one level, or NULL for one line */
    size_t indent_n;
    const char *item_sep, *key_sep;
    size_t item_n, key_n;
};
bool jv_json(struct jrun *r, struct jv v, const struct jjson *how, struct buf *out);

/* ---- iteration (jinja_iter.c) */
struct jiter *jiter_open(struct jrun *r, struct jv v);   /* NULL with the error set: not iterable */
int jiter_next(struct jrun *r, struct jiter *it, struct jv *out); /* 1, 0 at the end, -1 error */
bool jv_iterable(struct jv v);
struct jv jv_list(struct jrun *r, struct jv v);          /* list(v) */
#endif
