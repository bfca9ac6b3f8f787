/* parts -- an answer as its deltas built it: stretches of text and reasoning, and calls, in the model's order.
 * Deltas of one kind that follow one another are one part. Owned by the choice. */
#ifndef API_PARTS_H
#define API_PARTS_H
#include "api/delta.h"
#include "base/buf.h"

enum { API_ANSWER_PARTS_MAX = 4096 }; /* beyond, text joins the last part of its kind and calls are dropped */

struct api_part {
    enum api_delta_kind kind; /* API_TEXT, API_REASONING, or API_CALL_OPEN for a call */
    char *id, *name;          /* of a call; owned */
    struct buf text;          /* of a call: its arguments */
};

struct api_parts {
    struct api_part *v;
    int count, cap;
};

void api_parts_add(struct api_parts *p, const struct api_delta *d);
/* Every part of one kind, joined. */
void api_parts_join(const struct api_parts *p, enum api_delta_kind kind, struct buf *out);
int api_parts_count(const struct api_parts *p, enum api_delta_kind kind);
void api_parts_release(struct api_parts *p);
#endif
