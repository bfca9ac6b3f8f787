/* window -- what becomes of prompts that do not fit the context, where a request asks for more than a refusal. */
#ifndef API_WINDOW_H
#define API_WINDOW_H
#include "api/job.h"

/* Tokens of the prompt that the template makes of context; -1: it refuses. */
typedef long api_count_fn(struct api_job *j, const json_t *context);

bool api_window_read(struct api_job *j, const json_t *body, struct api_error *error); /* after sampling */
/* Removes the oldest turns from messages, and from context's, if the request wants that and they do not fit. */
void api_window_roll(struct api_job *j, json_t *context, json_t *messages, api_count_fn *count);
void api_window_cut(struct api_job *j);                              /* the prompts, as far as asked for */
void api_window_report(const struct api_job *j, struct buf *out);    /* ,"context":{...} when anything was asked for */
#endif
