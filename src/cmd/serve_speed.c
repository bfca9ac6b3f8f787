/* serve_speed -- see serve_speed.h. */
#include "cmd/serve_speed.h"

#include "sched/draft.h"

#include <string.h>

/* -1: as many as pay. */
static enum err_code parse_speculate(const char *text, int64_t *out, struct err *e)
{
    int64_t n = -1;
    if (text && !strcmp(text, "off"))
        n = 0;
    else if (text && strcmp(text, "auto") != 0 && opt_parse_int(text, 1, DRAFT_MAX, &n, e))
        return err_set(e, ERR_INVALID, "--speculate %.20s: choose auto, off or a number from 1 to %d", text, DRAFT_MAX);
    *out = n;
    return ERR_OK;
}

enum err_code serve_speed_options(const struct serve_options *o, json_t *options, struct err *e)
{
    int64_t speculate = -1;
    enum err_code c = parse_speculate(o->speculate, &speculate, e);
    if (c)
        return c;
    json_object_set_new(options, "speculate", json_integer(speculate));
    if (o->itl_ms)
        json_object_set_new(options, "target_itl_ms", json_integer(o->itl_ms));
    if (o->ttft_ms)
        json_object_set_new(options, "target_ttft_ms", json_integer(o->ttft_ms));
    return ERR_OK;
}
