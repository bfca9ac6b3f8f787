/* reply -- a choice's visible text told apart as it comes: thoughts, text and calls (deltas).
 *
 *     START --think_open--> THOUGHT --think_close--> BODY --marker--> CALL ... AFTER --close--> BODY
 *       +------------------ anything else ------------^                 +---<--- sep ---+
 *
 * Text is held back only while it could still begin one of the form's tags, or is white space that a tag would
 * swallow. What begins like a call and goes wrong is text: nothing the model wrote is lost and nothing fails. */
#ifndef API_REPLY_H
#define API_REPLY_H
#include "api/calls.h"
#include "api/delta.h"

typedef void reply_emit(void *user, const struct api_delta *d);

struct reply_spec {
    const struct calls_form *form; /* borrowed, as all here */
    const json_t *tools;  /* the functions that may be called, as the client sent them; NULL: calls are text */
    bool thoughts;        /* tell thoughts apart */
    bool in_thought;      /* the prompt has opened one */
    bool live;            /* calls cannot go wrong (a grammar holds them): their arguments are given as they come */
    const char *seed;     /* ids of calls are made from it and `choice` */
    int choice;
};

struct reply;
struct reply *reply_new(const struct reply_spec *s);
void reply_free(struct reply *r);
/* text: whole UTF-8 characters. emit is called for what is certain now. */
void reply_feed(struct reply *r, const char *text, size_t n, reply_emit *emit, void *user);
void reply_finish(struct reply *r, reply_emit *emit, void *user); /* what was held back */
int reply_calls(const struct reply *r); /* begun so far */
#endif
