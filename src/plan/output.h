/* output -- a plan as files: plan.json for machines, report.html for a board, CSV for a spreadsheet. */
#ifndef PLAN_OUTPUT_H
#define PLAN_OUTPUT_H
#include "plan/planner.h"

#include <jansson.h>

json_t *plan_to_json(const struct plan *p);              /* a new reference */
void plan_to_html(const struct plan *p, struct buf *out); /* one self-contained file, no script */
/* units.csv, costs.csv, flows.csv, slo.csv, figures.csv, plan.json, report.html into a folder made if missing. */
enum err_code plan_write(const struct plan *p, const char *folder, struct err *e);

/* Two plan.json side by side: what changed, by how much. Text, a line each. */
enum err_code plan_compare(const json_t *a, const json_t *b, struct buf *out, struct err *e);
#endif
