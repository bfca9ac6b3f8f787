/* calls -- how one model writes tool calls and thoughts, learned from its chat template.
 *
 * A synthetic assistant turn with sentinel names and arguments is rendered; what stands round the sentinels is the
 * form (calls_derive.c). Where a template does not write calls, the form its instructions ask for is known by hand,
 * and a template that knows no tools at all gets the Hermes form, with its instructions (calls_known.c).
 *
 *     answer  := [think_open thought think_close] text [calls]
 *     calls   := open call (sep call)* close                  call := pre arguments post
 *     CALLS_PAIRS: arguments := (pair (pairs.sep pair)*)?     pair := pairs.pre KEY mid VALUE end
 *
 * The strings are text as the model writes it; the bytes below 8 stand for what differs from call to call. */
#ifndef API_CALLS_H
#define API_CALLS_H
#include "base/buf.h"
#include "base/json.h"
#include "text/template.h"

enum calls_hole { CALLS_NAME = 1, CALLS_ID = 2, CALLS_INDEX = 3, CALLS_KEY = 4 };
enum calls_shape { CALLS_NONE, CALLS_JSON, CALLS_PAIRS }; /* arguments as one JSON object, or key by key */
enum calls_ids { CALLS_ID_LONG, CALLS_ID_NINE, CALLS_ID_NAMED }; /* call_..., 9 letters, functions.NAME:INDEX */
enum { CALLS_SKIPS_MAX = 6, CALLS_NAME_MAX = 64 };

struct calls_pairs {
    char *pre, *sep;
    char *mid_text, *end_text; /* round a string's value */
    char *mid_json, *end_json; /* round any other's */
    char *quote;               /* values are literals with this quote (Python, Gemma); NULL: text as it is */
};

struct calls_form {
    enum calls_shape shape;
    enum calls_ids ids;
    const char *origin;    /* "template", "known", "generic", "none" */
    char *open, *close, *sep, *pre, *post;
    struct calls_pairs pairs;
    char *marker;          /* the first of open and pre: seeing it, a call has begun */
    bool many;             /* several calls in one turn */
    bool bare;             /* the marker is no tag: it begins a call only where an answer begins */
    bool lists_tools;      /* the template shows the tools */
    bool writes_calls;     /* and past calls, */
    bool writes_results;   /* and results; what it does not, we write into the messages */
    char *think_open, *think_close; /* NULL: the model does not think aloud */
    const char *think_key; /* of a message; "": a content part */
    char *skip[CALLS_SKIPS_MAX];    /* tags round the text that are no part of it */
    int skips;
    bool glued;            /* skip[0] stands between a thought and what follows it */
};

/* Never NULL. bos and eos as the template's context has them. */
struct calls_form *calls_derive(const struct template *t, const char *bos, const char *eos);
void calls_form_free(struct calls_form *f);

/* calls_known.c: the form for a prompt that shows tools in `shown`; false: none of ours. */
bool calls_known(const char *shown, struct calls_form *f);
void calls_generic(struct calls_form *f);
void calls_find_marker(struct calls_form *f);

/* calls_write.c: a call as the model would have written it; arguments is an object. */
void calls_write(const struct calls_form *f, const json_t *tool_calls, struct buf *out);
/* What a template that shows no tools is told about them: the system prompt. */
void calls_instruct(const struct calls_form *f, const json_t *tools, struct buf *out);
/* Any JSON value from a pair's text. literal: with the form's quote. NULL: it is none. */
json_t *calls_literal(const struct calls_form *f, const char *p, size_t n);
#endif
