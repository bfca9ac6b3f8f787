/* charts -- plots as inline SVG: stacked bars, a tornado, flows, lines. Appended to a buf; no script, no file. */
#ifndef PLAN_CHARTS_H
#define PLAN_CHARTS_H
#include "base/buf.h"

enum { CHART_SERIES_MAX = 16, CHART_COLUMNS_MAX = 40, CHART_FLOWS_MAX = 400, CHART_NODES_MAX = 120 };

/* Text with & < > " made harmless. */
void chart_text(struct buf *out, const char *text);
const char *chart_colour(int i);
/* "1.23 M": three significant digits with k, M, G (B for money: pass "USD "), T. */
void chart_number(struct buf *out, const char *prefix, double v);

struct chart_bars {
    const char *unit;                                  /* of the axis: "USD " */
    int columns, series;
    const char *column_names[CHART_COLUMNS_MAX], *series_names[CHART_SERIES_MAX];
    double v[CHART_COLUMNS_MAX][CHART_SERIES_MAX];     /* negative ones hang under the axis */
};
void chart_stacked_bars(struct buf *out, const struct chart_bars *b);

struct chart_tornado_bar { const char *name; double low, high; }; /* NAN: none on this side */
void chart_tornado(struct buf *out, const char *unit, double centre, const struct chart_tornado_bar *bars, int count);

struct chart_flow { int from, to; double v; };
struct chart_flows {
    const char *unit;
    int left, right, flows;                            /* nodes on each side */
    const char *left_names[CHART_NODES_MAX], *right_names[CHART_NODES_MAX];
    struct chart_flow flow[CHART_FLOWS_MAX];
};
void chart_flow_map(struct buf *out, const struct chart_flows *f);

struct chart_share { const char *name; double v; };
/* One horizontal bar split into named parts. */
void chart_shares(struct buf *out, const struct chart_share *s, int count);

struct chart_place { const char *name; double lat, lon, size; };
/* Sites on a graticule, the circle's area as their size. */
void chart_places(struct buf *out, const char *unit, const struct chart_place *p, int count);
#endif
