/* err -- the error a function hands back: what failed, in one sentence a person can act on. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

enum err_code {
    ERR_OK = 0,
    ERR_INVALID,     /* the caller's input is wrong (HTTP 400, exit 1) */
    ERR_NOT_FOUND,   /* the thing named does not exist (HTTP 404) */
    ERR_LIMIT,       /* a stated limit would be passed (HTTP 413/429) */
    ERR_UNSUPPORTED, /* understood, and not something we do (HTTP 400) */
    ERR_IO,          /* the system said no; the text carries strerror */
    ERR_CORRUPT,     /* a file or message breaks its own format */
    ERR_BUSY,        /* try again later (HTTP 503) */
    ERR_DENIED,      /* known, and not allowed (HTTP 401/403) */
};

enum { ERR_TEXT_MAX = 400 };

struct err {
    enum err_code code;
    char text[ERR_TEXT_MAX]; /* no trailing newline */
};

/* Fills e (which may be NULL) and returns code, so that `return err_set(...)` reads well. */
enum err_code err_set(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, with ": <strerror(errno)>" appended and code ERR_IO. */
enum err_code err_errno(struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Puts "<fmt>: " before the sentence already in e: where in the input it happened. Returns e->code. */
enum err_code err_prefix(struct err *e, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
#endif
