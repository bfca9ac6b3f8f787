/* reply_run -- what reply.c and reply_call.c share. */
#ifndef API_REPLY_RUN_H
#define API_REPLY_RUN_H
#include "api/reply.h"

enum reply_at { REPLY_START, REPLY_THOUGHT, REPLY_BODY, REPLY_CALL, REPLY_JSON, REPLY_PAIR, REPLY_KEY, REPLY_VALUE,
    REPLY_POST, REPLY_AFTER };
enum match { MATCH_NO, MATCH_PART, MATCH_YES };

struct reply {
    struct reply_spec s;
    enum reply_at at;
    struct buf raw;       /* not told apart yet */
    bool fresh;           /* nothing but tags so far: a thought, or a bare call, may begin */
    bool trim;            /* white space at the front belongs to a tag before it */
    bool ended;           /* no more text will come */
    reply_emit *emit;
    void *user;
    /* the call being read */
    int calls;            /* begun */
    struct buf past;      /* its bytes from the marker on, until it is certain */
    struct buf want;      /* the literal text with holes that must come, */
    size_t want_at;       /* and how far it has */
    struct buf name, key;
    struct buf args;      /* held back when not live */
    bool open;            /* CALL_OPEN went out */
    int depth;            /* JSON: brackets open */
    bool in_string, escaped;
    int pairs;            /* read so far */
    bool text_value;      /* the pair's value is a text, given as it comes; else it is read as a whole */
    struct buf end;       /* what ends the value */
    bool begun;           /* some of the value was looked at */
};

/* Tries a literal text against the front of raw; white space may differ. *used: bytes of raw. */
enum match reply_match(const char *want, const struct buf *raw, size_t *used);
size_t reply_held(const char *text, size_t n, const char *tag); /* bytes at the end that may begin the tag */
void reply_text(struct reply *r, enum api_delta_kind kind, const char *text, size_t n);
void reply_call_begin(struct reply *r, bool first);
bool reply_call_step(struct reply *r);   /* true: something moved */
void reply_call_finish(struct reply *r); /* the text ended within a call */
#endif
