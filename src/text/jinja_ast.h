/* jinja_ast -- the tree between parser and evaluator, and the tokens below it.
 *
 * Everything lives in the template's arena and is never written after parsing. Left-associative chains
 * (a + b + c, x or y or z, a ~ b) are one flat node, so the height of the tree is bounded by nesting and
 * the evaluator may recurse on it. */
#ifndef TEXT_JINJA_AST_H
#define TEXT_JINJA_AST_H
#include "text/jinja_value.h"

enum { JINJA_SOURCE_MAX = 4 << 20, JINJA_HEIGHT_MAX = 200 };

/* An interned name: two are equal when their pointers are. */
struct jsym {
    struct jstr s;
    uint32_t id;   /* 0 .. template.syms-1 */
    bool variable; /* stands somewhere as a variable, not only as an attribute or keyword */
};

enum jtok {
    T_EOF, T_DATA, T_VAR_BEGIN, T_VAR_END, T_BLOCK_BEGIN, T_BLOCK_END,
    T_NAME, T_STRING, T_INT, T_FLOAT,
    T_ADD, T_SUB, T_DIV, T_FLOORDIV, T_MUL, T_MOD, T_POW, T_TILDE,
    T_LBRACKET, T_RBRACKET, T_LPAREN, T_RPAREN, T_LBRACE, T_RBRACE,
    T_EQ, T_NE, T_GT, T_GE, T_LT, T_LE, T_ASSIGN, T_DOT, T_COLON, T_PIPE, T_COMMA, T_SEMICOLON,
};

struct jtoken {
    enum jtok type;
    int line;
    const struct jsym *sym; /* T_NAME */
    struct jstr *s;         /* T_DATA, T_STRING: unescaped, in the template's arena */
    int64_t i;
    double f;
};

enum jkind {
    /* expressions */
    N_CONST, N_NAME, N_TUPLE, N_LIST, N_DICT, /* dict: list holds key, value, key, value */
    N_ATTR, N_ITEM, N_SLICE,                  /* a.sym; a[b]; a[b:c:d] */
    N_CALL, N_FILTER, N_TEST,                 /* a(args); a|sym(args); a is sym(args) */
    N_NOT, N_NEG, N_POS, N_AND, N_OR,         /* and, or: list */
    N_ARITH,                                  /* list and ops: left to right */
    N_CONCAT, N_COMPARE,                      /* list; list and ops */
    N_COND,                                   /* b if a else c (c may be NULL) */
    N_NSREF,                                  /* assignment target sym.attr: sym, attr in sym2 */
    /* statements */
    N_DATA, N_PRINT, N_IF, N_FOR, N_SET, N_SETBLOCK, N_MACRO, N_CALLBLOCK, N_FILTERBLOCK, N_WITH, N_SCOPE,
    N_BREAK, N_CONTINUE, N_NOLOADER,
};

struct jkwarg {
    const struct jsym *name;
    struct jnode *value;
};
struct jcallargs {
    struct jnode **pos;
    size_t npos;
    struct jkwarg *kw;
    size_t nkw;
    struct jnode *star, *star2;
};

struct jbody {
    struct jnode **v;
    size_t n;
};

struct jnode {
    enum jkind kind;
    int line, height;
    const struct jsym *sym, *sym2;
    struct jv value;            /* N_CONST, N_DATA */
    struct jnode *a, *b, *c, *d;
    struct jnode **list;
    size_t n;
    uint8_t *ops;               /* enum jtok of each operator: N_ARITH, N_COMPARE; T_NAME is `in`, T_EOF `not in` */
    struct jcallargs *args;     /* N_CALL, N_FILTER, N_TEST */
    const void *builtin;        /* N_FILTER, N_TEST: the table row, or NULL when it must not be reached */
    struct jbody body, orelse;  /* statements */
    const struct jsym **params; /* N_MACRO, N_CALLBLOCK */
    size_t nparams;
    struct jnode **defaults;    /* of the last ndefaults params */
    size_t ndefaults;
    bool recursive, wants_caller, wants_kwargs, wants_varargs;
};

struct template {
    struct arena arena;
    struct jbody body;
    const struct jsym **sym; /* by id */
    uint32_t syms, syms_cap;
    uint32_t *slot;          /* hash index of sym */
    uint32_t slots;
    const struct jsym *s_loop, *s_caller, *s_kwargs, *s_varargs, *s_self;
};

const struct jsym *template_intern(struct template *t, const char *p, size_t n); /* NULL: no memory */
const struct jsym *template_sym(const struct template *t, const char *p, size_t n); /* NULL: not named there */

/* The lexer: fills *out (tokens in the arena, closed by T_EOF). */
enum err_code jinja_lex(struct template *t, const char *text, size_t n, struct jtoken **out, size_t *count,
                        struct err *e);

/* The parser, in two files: expressions and statements. */
struct jparser {
    struct template *t;
    const struct jtoken *tok; /* current */
    struct err *err;
    int depth;
    bool soft;                /* inside if or a conditional expression: an unknown filter fails when reached */
    bool failed;
    struct jmacro_use *macro; /* the macro whose body is being parsed, or NULL */
    int loops;                /* enclosing for bodies of this function */
    int unknown;              /* filters and tests that do not exist and are not forgiven yet */
    const struct jsym *unknown_sym;
    int unknown_line;
};
/* Which of the special names the body of a macro mentions. */
struct jmacro_use {
    bool caller, kwargs, varargs;
};
struct jnode *jparse_fail(struct jparser *p, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
struct jnode *jparse_new(struct jparser *p, enum jkind kind, int line);
bool jparse_is_name(const struct jparser *p, const char *name); /* the current token is this word */
bool jparse_skip_name(struct jparser *p, const char *name);
bool jparse_expect(struct jparser *p, enum jtok type, const char *what);
struct jnode *jparse_expression(struct jparser *p, bool cond);
enum { JEND_IN = 1, JEND_RECURSIVE = 2 };
struct jnode *jparse_tuple(struct jparser *p, bool cond, int ends, bool parens);
struct jnode *jparse_primary(struct jparser *p);
struct jnode *jparse_filter_chain(struct jparser *p, struct jnode *node, bool start_inline);
struct jnode *jparse_height(struct jparser *p, struct jnode *n, const struct jnode *child); /* n, or NULL too high */
bool jparse_push(struct jparser *p, struct jnode *n, size_t *cap, struct jnode *child);
enum err_code jparse_template(struct template *t, const struct jtoken *tokens, struct err *e);
#endif
