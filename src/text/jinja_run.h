/* jinja_run -- one render: its budget, its scopes, and how the files of the evaluator call each other. */
#ifndef TEXT_JINJA_RUN_H
#define TEXT_JINJA_RUN_H
#include "text/jinja_ast.h"

struct jbinding {
    const struct jsym *sym;
    struct jv v;
};
struct jscope {
    struct jscope *parent;
    struct jbinding *v;
    size_t n, cap;
    bool captured; /* a macro closed over it: may not be used again for the next iteration */
};

/* Owned by one call of template_render, on its stack. */
struct jrun {
    const struct template *t;
    struct arena arena;
    struct err *err;
    enum err_code code;
    bool failed;
    int64_t ops, ops_max;
    int depth, depth_max;
    struct buf *out;      /* where output goes now: the caller's, or a capture */
    size_t captured;      /* bytes in captures */
    int capturing;        /* captures open */
    uint64_t hash_seed;
    struct jscope *root;
    struct jv *global;    /* by symbol id: what the context and the built-in functions say; J_MISSING = not asked */
    struct jv context;    /* dict */
    const char *now_iso;
    int line;             /* of the statement being executed */
    bool raised;          /* the error is the template's own message */
};

struct jkw {
    const struct jstr *name;
    struct jv v;
};
struct jargs {
    struct jv *pos;
    size_t npos;
    struct jkw *kw;
    size_t nkw;
};

enum { JPARAMS_MAX = 8 };
/* self is the filtered value, the tested value or the object of a method; a[] the arguments by parameter,
 * J_MISSING where absent; raw all of them, for the rows without parameter names. */
typedef struct jv jbuiltin_fn(struct jrun *r, struct jv self, struct jv *a, const struct jargs *raw);
struct jbuiltin {
    const char *name;
    jbuiltin_fn *fn;
    const char *params; /* "width first blank"; NULL: fn reads raw */
    int required;       /* how many of them must be given */
};
const struct jbuiltin *jfilter_find(const char *p, size_t n);
const struct jbuiltin *jtest_find(const char *p, size_t n);
const struct jbuiltin *jglobal_find(const char *p, size_t n);
const struct jbuiltin *jmethod_find(struct jv self, const char *p, size_t n);
extern const struct jbuiltin jfilter_string_rows[], jfilter_seq_rows[], jfilter_num_rows[]; /* end with a NULL name */
extern const struct jbuiltin jmethod_str_rows[], jmethod_str2_rows[];
struct jv jbuiltin_call(struct jrun *r, const struct jbuiltin *row, struct jv self, const struct jargs *args);

enum jfunc_kind { JF_BUILTIN, JF_MACRO };
struct jfunc {
    enum jfunc_kind kind;
    const struct jbuiltin *row;
    struct jv self;            /* of a method */
    const struct jnode *macro; /* N_MACRO or N_CALLBLOCK */
    struct jscope *scope;      /* where it was defined */
};

/* ---- evaluation (jinja_eval.c, jinja_exec.c, jinja_call.c) */
enum jflow { JX_OK, JX_BREAK, JX_CONTINUE, JX_FAIL };
struct jv jeval(struct jrun *r, const struct jnode *n, struct jscope *s);
enum jflow jexec(struct jrun *r, const struct jbody *body, struct jscope *s);
struct jscope *jscope_new(struct jrun *r, struct jscope *parent);
bool jscope_set(struct jrun *r, struct jscope *s, const struct jsym *sym, struct jv v);
struct jv jscope_get(struct jrun *r, struct jscope *s, const struct jsym *sym);
bool jassign(struct jrun *r, const struct jnode *target, struct jv v, struct jscope *s);
bool jemit(struct jrun *r, const char *p, size_t n);

struct jcapture {
    struct buf buf;
    struct buf *outer;
};
void jcapture_begin(struct jrun *r, struct jcapture *c);
struct jv jcapture_end(struct jrun *r, struct jcapture *c, bool ok); /* the text, or J_FAIL when !ok */

struct jv jcall(struct jrun *r, struct jv fn, const struct jargs *args);
struct jv jcall_macro(struct jrun *r, const struct jfunc *f, const struct jargs *args);
struct jv jmacro_new(struct jrun *r, const struct jnode *n, struct jscope *s);
bool jargs_eval(struct jrun *r, const struct jcallargs *ca, struct jscope *s, struct jargs *out);
struct jv jeval_filter(struct jrun *r, const struct jnode *n, struct jv value, struct jscope *s);

/* ---- lookups (jinja_attr.c) */
struct jv jattr(struct jrun *r, struct jv obj, const struct jstr *name);  /* obj.name */
struct jv jitem(struct jrun *r, struct jv obj, struct jv key);            /* obj[key] */
struct jv jslice(struct jrun *r, struct jv obj, struct jv start, struct jv stop, struct jv step);
/* attribute paths of map, selectattr, sort ...: "a.b.0" */
struct jv jpath(struct jrun *r, struct jv obj, struct jv path, struct jv dflt);

/* ---- operators (jinja_ops.c) */
struct jv jarith(struct jrun *r, enum jtok op, struct jv a, struct jv b);
struct jv jneg(struct jrun *r, struct jv a, bool negate);
bool jindex(struct jrun *r, struct jv v, const char *what, int64_t *out); /* an int argument; bool counts */

/* ---- formatting (jinja_format.c) */
struct jv jformat_percent(struct jrun *r, struct jv format, struct jv args, const struct jargs *named);
struct jv jformat_braces(struct jrun *r, struct jv format, const struct jargs *args);

/* ---- loops (jinja_loop.c) */
struct jloop {
    struct jiter *it;
    int64_t index0;
    int depth0;
    bool have_length, have_after, have_before;
    size_t length;
    struct jv source, current, before, after; /* after: peeked */
    struct jv changed;
    const struct jnode *node;                 /* N_FOR, for recursion */
    struct jscope *scope;
};
int jloop_next(struct jrun *r, struct jloop *l, struct jv *out);
bool jloop_length(struct jrun *r, struct jloop *l, size_t *out);
struct jv jloop_attr(struct jrun *r, struct jv loop, const struct jstr *name); /* J_MISSING: no such */
struct jv jloop_recurse(struct jrun *r, struct jloop *l, const struct jargs *args);
enum jflow jexec_for(struct jrun *r, const struct jnode *n, struct jscope *s);

/* ---- generators (jinja_iter.c) */
enum jiter_kind { JI_SEQ, JI_STR, JI_DICT, JI_RANGE, JI_REVERSED, JI_MAP, JI_SELECT, JI_FOR, JI_LAZY };
struct jiter {
    enum jiter_kind kind;
    uint8_t view;           /* JI_DICT */
    struct jv src;
    size_t pos;
    struct jiter *from;     /* JI_MAP, JI_SELECT, JI_FOR */
    bool done;
    /* JI_MAP: a filter or an attribute; JI_SELECT: an attribute and a test, either may be absent;
     * JI_LAZY: row makes of src what is then walked: a generator complains when it is walked, not when made */
    const struct jbuiltin *row;
    struct jargs args;
    struct jv attr, dflt;
    bool negate;
    const struct jnode *node; /* JI_FOR: the loop whose condition it applies */
    struct jscope *scope;
};
struct jv jiter_value(struct jrun *r, struct jiter it); /* a J_ITER holding a copy */

/* Element i, in arithmetic that wraps: start + i*step may pass 63 bits on the way to a value that does not. */
static inline int64_t jrange_at(const struct jrange *g, uint64_t i)
{
    return (int64_t)((uint64_t)g->start + i * (uint64_t)g->step);
}
/* Fills order[0..n) with the stable order of keys; false: some have none, with the error set. */
bool jsort(struct jrun *r, const struct jv *keys, size_t n, bool reverse, uint32_t *order);

/* ---- strings */
size_t jstr_chars(struct jstr *s);
struct jv jstr_join2(struct jrun *r, const struct jstr *a, const struct jstr *b);
int jstr_compare(const struct jstr *a, const struct jstr *b);
struct jv jstr_escape(struct jrun *r, struct jv v); /* markupsafe.escape */
void jbuf_init(struct jrun *r, struct buf *b);      /* a scratch buffer bounded by the memory left */
/* How much of a name goes into an error sentence, for %.*s. */
static inline int jshow(size_t n)
{
    return n > 60 ? 60 : (int)n;
}
static inline bool jstr_is(const struct jstr *s, const char *lit)
{
    size_t i = 0;
    while (i < s->n && lit[i] && s->p[i] == lit[i])
        i++;
    return i == s->n && !lit[i];
}

struct jv jstrftime(struct jrun *r, struct jv format); /* jinja_time.c */
#endif
