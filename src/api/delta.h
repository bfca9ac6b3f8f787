/* delta -- what an answer says next, before any dialect has written it down.
 *
 * tokens -> text (response.c) -> deltas (reply.c: reasoning, calls and content told apart) -> a dialect's writer.
 * A choice's deltas come in order: REASONING*, then TEXT and calls as the model wrote them; a call is one CALL_OPEN,
 * its arguments in CALL_ARGS pieces that join to one JSON object, and one CALL_CLOSE. */
#ifndef API_DELTA_H
#define API_DELTA_H
#include <stddef.h>

enum api_delta_kind { API_TEXT, API_REASONING, API_CALL_OPEN, API_CALL_ARGS, API_CALL_CLOSE };

struct api_delta {
    enum api_delta_kind kind;
    int call;               /* calls: 0, 1, ... within the choice */
    const char *id, *name;  /* CALL_OPEN: the call's id and the function's name; borrowed for the call */
    const char *text;       /* TEXT, REASONING, CALL_ARGS: whole UTF-8 characters, borrowed */
    size_t length;
};
#endif
