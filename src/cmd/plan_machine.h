/* plan_machine -- a scenario of one machine, written from what a running server knows of itself. */
#ifndef CMD_PLAN_MACHINE_H
#define CMD_PLAN_MACHINE_H
#include "base/buf.h"
#include "base/err.h"

/* Asks URL/v1/models and URL/metrics; key: an API key or NULL. The scenario's text is appended to out. */
enum err_code plan_machine(const char *url, const char *key, struct buf *out, struct err *e);
#endif
