/* template -- chat templates: Jinja2 as Python renders it, for templates nobody has vetted.
 *
 * A template comes out of a model file and is hostile: parsing is bounded by its own size and nesting,
 * rendering by a budget of operations, memory, output and depth. It reaches nothing but its context.
 * Whitespace control, scoping, filters, tests and printing are those of Jinja2 with trim_blocks,
 * lstrip_blocks and loop controls in an immutable sandbox, which is how the authors test them. */
#ifndef TEXT_TEMPLATE_H
#define TEXT_TEMPLATE_H
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct template; /* parsed; immutable, may be shared between threads */

/* NULL on error: ERR_INVALID with the line, ERR_LIMIT when it is too long or nested too deep. */
struct template *template_parse(const char *text, size_t n, struct err *e);
void template_free(struct template *t);

/* A zero field means the default. */
struct template_limits {
    size_t memory_max; /* bytes of values alive or dead during one render; 256 MiB */
    size_t output_max; /* bytes appended to out; 64 MiB */
    int64_t ops_max;   /* one per node evaluated, per element walked and per 64 bytes copied; 20 million */
    int depth_max;     /* nested evaluations, macro calls included; 1200 */
};

/* Appends the text to out. context is an object (or NULL for none) and is only read. now_iso
 * ("2026-01-02T03:04:05") freezes strftime_now; NULL is the wall clock in local time. Failure leaves out
 * as it was: ERR_INVALID where Jinja2 would raise (raise_exception gives the template's own message),
 * ERR_LIMIT when a limit is met. */
enum err_code template_render(const struct template *t, const json_t *context, const char *now_iso,
                              const struct template_limits *lim, struct buf *out, struct err *e);

/* Whether the template names this variable anywhere: does it know about tools, enable_thinking ...? */
bool template_mentions(const struct template *t, const char *variable);
#endif
