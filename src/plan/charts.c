/* charts -- see charts.h. All plots are 760 wide; heights follow from their content. */
#include "plan/charts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WIDTH = 760, LEFT = 76, RIGHT = 12, BAR_HEIGHT = 260, ROW = 24, NODE_GAP = 10, FLOW_HEIGHT = 340 };

static const char *const palette[] = { "#2f6db3", "#e0872b", "#4c9f70", "#b5493a", "#8466a8", "#8a6d5b", "#c76fa4",
                                      "#6f7a80",
                                       "#a8a32c", "#3ba3b8" };

const char *chart_colour(int i)
{
    return palette[(i % 10 + 10) % 10];
}

void chart_text(struct buf *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        const char *safe = *p == '&' ? "&amp;" : *p == '<' ? "&lt;" : *p == '>' ? "&gt;" : *p ==
            '"' ? "&quot;" : NULL;
        if (safe)
            buf_puts(out, safe);
        else
            buf_putc(out, *p);
    }
}

void chart_number(struct buf *out, const char *prefix, double v)
{
    static const struct { double size; const char *name; } sizes[] = { { 1e12, " T" }, { 1e9, " G" }, { 1e6, " M" },
                                                                       { 1e3, " k" } };
    double size = 1, a = fabs(v);
    const char *name = "";
    for (int i = 3; i >= 0; i--)
        if (a >= sizes[i].size * 0.9995) {
            size = sizes[i].size;
            name = size == 1e9 && strstr(prefix, "USD") ? " B" : sizes[i].name;
        }
    double x = a / size;
    bool whole = x == 0 || (size == 1 && x == floor(x) && !*prefix);
    int digits = whole ? 0 : x < 0.01 ? 5 : x < 1 ? 3 : x < 9.995 ? 2 : x < 99.95 ? 1 : 0;
    buf_printf(out, "%s%s%.*f%s", v < 0 ? "-" : "", prefix, digits, x, name);
}

static void open_svg(struct buf *out, int height, const char *what)
{
    buf_printf(out, "<svg viewBox=\"0 0 %d %d\" width=\"100%%\" role=\"img\" aria-label=\"%s\" font-size=\"11\" "
                    "font-family=\"inherit\">\n", WIDTH, height, what);
}

static void label(struct buf *out, double x, double y, const char *anchor, const char *text)
{
    buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"currentColor\">", x, y, anchor);
    chart_text(out, text);
    buf_puts(out, "</text>\n");
}

static void label_number(struct buf *out, double x, double y, const char *anchor, const char *unit, double v)
{
    buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"currentColor\">", x, y, anchor);
    chart_number(out, unit, v);
    buf_puts(out, "</text>\n");
}

static void rect(struct buf *out, double x, double y, double w, double h, const char *colour, const char *title,
                 double v,
                 const char *unit)
{
    buf_printf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"><title>", x, y, fmax(0,
        w),
               fmax(0, h), colour);
    chart_text(out, title);
    buf_puts(out, ": ");
    chart_number(out, unit, v);
    buf_puts(out, "</title></rect>\n");
}

/* 1, 2 or 5 times a power of ten, about a fifth of the span. */
static double tick(double span)
{
    double raw = span / 5, power = pow(10, floor(log10(raw)));
    return raw / power < 1.5 ? power : raw / power < 3.5 ? 2 * power : raw / power < 7.5 ? 5 * power : 10 * power;
}

static void legend(struct buf *out, const char *const *names, const bool *shown, int count)
{
    buf_puts(out, "<p class=\"legend\">");
    for (int i = 0; i < count; i++)
        if (shown[i]) {
            buf_printf(out, "<span><i style=\"background:%s\"></i>", chart_colour(i));
            chart_text(out, names[i]);
            buf_puts(out, "</span> ");
        }
    buf_puts(out, "</p>\n");
}

static void axis(struct buf *out, const char *unit, double low, double high, double top, double height)
{
    double step = tick(high - low);
    for (double v = ceil(low / step) * step; v <= high * (1 + 1e-9); v += step) {
        double y = top + height * (high - v) / (high - low);
        buf_printf(out, "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"currentColor\" opacity=\"%s\"/>\n",
                   LEFT, WIDTH - RIGHT, y, y, fabs(v) < step / 2 ? "0.6" : "0.12");
        label_number(out, LEFT - 6, y + 4, "end", unit, fabs(v) < step / 2 ? 0 : v);
    }
}

void chart_stacked_bars(struct buf *out, const struct chart_bars *b)
{
    double high = 1e-9, low = 0, slot = (double)(WIDTH - LEFT - RIGHT) / b->columns;
    bool shown[CHART_SERIES_MAX] = { 0 };
    for (int c = 0; c < b->columns; c++) {
        double up = 0, down = 0;
        for (int s = 0; s < b->series; s++) {
            *(b->v[c][s] > 0 ? &up : &down) += b->v[c][s];
            shown[s] = shown[s] || b->v[c][s] != 0;
        }
        high = fmax(high, up);
        low = fmin(low, down);
    }
    open_svg(out, BAR_HEIGHT + 40, "stacked bars");
    axis(out, b->unit, low, high, 8, BAR_HEIGHT);
    for (int c = 0; c < b->columns; c++) {
        double up = 0, down = 0, x = LEFT + slot * (c + 0.12);
        for (int s = 0; s < b->series; s++) {
            double v = b->v[c][s], h = BAR_HEIGHT * fabs(v) / (high - low);
            double top = v > 0 ? up + v : down;
            if (v != 0)
                rect(out, x, 8 + BAR_HEIGHT * (high - top) / (high - low), slot * 0.76, h, chart_colour(s),
                     b->series_names[s], v, b->unit);
            *(v > 0 ? &up : &down) += v;
        }
        if (b->columns <= 12 || c % 2 == 0)
            label(out, x + slot * 0.38, BAR_HEIGHT + 26, "middle", b->column_names[c]);
    }
    buf_puts(out, "</svg>\n");
    legend(out, b->series_names, shown, b->series);
}

void chart_tornado(struct buf *out, const char *unit, double centre, const struct chart_tornado_bar *bars, int count)
{
    enum { NAMES = 300 };
    double reach = 1e-12;
    for (int i = 0; i < count; i++) {
        reach = fmax(reach, isnan(bars[i].low) ? 0 : fabs(bars[i].low - centre));
        reach = fmax(reach, isnan(bars[i].high) ? 0 : fabs(bars[i].high - centre));
    }
    double mid = NAMES + (WIDTH - NAMES - RIGHT) / 2.0, scale = (WIDTH - NAMES - RIGHT) / 2.0 / reach * 0.72;
    open_svg(out, ROW * (count + 1) + 8, "tornado");
    for (int i = 0; i < count; i++) {
        double y = ROW * i + 6, ends[2] = { bars[i].low, bars[i].high };
        label(out, NAMES - 8, y + 13, "end", bars[i].name);
        for (int side = 0; side < 2; side++) {
            if (isnan(ends[side])) {
                label(out, side ? WIDTH - RIGHT : NAMES + 4, y + 13, side ? "end" : "start", "breaks a rule");
                continue;
            }
            double x = mid + (ends[side] - centre) * scale, from = fmin(x, mid);
            rect(out, from, y + 2, fabs(x - mid), ROW - 8, side ? "#b5493a" : "#2f6db3", side ? "+10 %" : "-10 %",
                 ends[side], unit);
        }
    }
    buf_printf(out, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"0\" y2=\"%d\" stroke=\"currentColor\"/>\n", mid, mid, ROW *
               count + 6);
    label_number(out, mid, ROW * (count + 1), "middle", unit, centre);
    label_number(out, mid - reach * scale, ROW * (count + 1), "middle", unit, centre - reach);
    label_number(out, mid + reach * scale, ROW * (count + 1), "middle", unit, centre + reach);
    buf_puts(out, "</svg>\n<p class=\"legend\"><span><i style=\"background:#2f6db3\"></i>the figure 10 % lower</span> "
                  "<span><i style=\"background:#b5493a\"></i>10 % higher</span></p>\n");
}

/* Where each node of a side begins, from the sums of its flows; the gap between nodes is fixed. */
static void place_nodes(const struct chart_flows *f, bool right, double scale, double *at, double *sum)
{
    int count = right ? f->right : f->left;
    double y = 8;
    for (int i = 0; i < count; i++)
        sum[i] = 0;
    for (int i = 0; i < f->flows; i++)
        sum[right ? f->flow[i].to : f->flow[i].from] += f->flow[i].v;
    for (int i = 0; i < count; i++) {
        at[i] = y;
        y += sum[i] * scale + (sum[i] > 0 ? NODE_GAP : 0);
    }
}

static void draw_nodes(struct buf *out, const struct chart_flows *f, bool right, double scale, const double *at,
                       const double *sum)
{
    int count = right ? f->right : f->left;
    for (int i = 0; i < count; i++) {
        if (sum[i] <= 0)
            continue;
        const char *name = right ? f->right_names[i] : f->left_names[i];
        double x = right ? WIDTH - 190 : 180, h = fmax(1.5, sum[i] * scale);
        rect(out, x, at[i], 10, h, right ? chart_colour(i) : "#6f7a80", name, sum[i], f->unit);
        buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\" fill=\"currentColor\">", right ? x + 16 :
                   x - 6,
                   at[i] + h / 2 + 4, right ? "start" : "end");
        chart_text(out, name);
        buf_putc(out, ' ');
        chart_number(out, "", sum[i]);
        buf_puts(out, "</text>\n");
    }
}

void chart_flow_map(struct buf *out, const struct chart_flows *f)
{
    double left_at[CHART_NODES_MAX], right_at[CHART_NODES_MAX], left[CHART_NODES_MAX], right[CHART_NODES_MAX], all =
        1e-12;
    int nodes = f->left > f->right ? f->left : f->right;
    for (int i = 0; i < f->flows; i++)
        all += f->flow[i].v;
    double scale = (FLOW_HEIGHT - 16.0) / all, height = FLOW_HEIGHT + NODE_GAP * nodes;
    place_nodes(f, false, scale, left_at, left);
    place_nodes(f, true, scale, right_at, right);
    open_svg(out, (int)height, "flows from demands to sites");
    draw_nodes(out, f, false, scale, left_at, left);
    draw_nodes(out, f, true, scale, right_at, right);
    for (int i = 0; i < f->flows; i++) {
        const struct chart_flow *w = &f->flow[i];
        double h = w->v * scale, y0 = left_at[w->from] + h / 2, y1 = right_at[w->to] + h / 2;
        left_at[w->from] += h;
        right_at[w->to] += h;
        buf_printf(out, "<path d=\"M190 %.1f C370 %.1f 390 %.1f 570 %.1f\" fill=\"none\" stroke=\"%s\" "
                        "stroke-width=\"%.1f\" "
                        "opacity=\"0.45\"><title>", y0, y0, y1, y1, chart_colour(w->to), fmax(0.7, h));
        chart_text(out, f->left_names[w->from]);
        buf_puts(out, " to ");
        chart_text(out, f->right_names[w->to]);
        buf_puts(out, ": ");
        chart_number(out, "", w->v);
        buf_puts(out, f->unit);
        buf_puts(out, "</title></path>\n");
    }
    buf_puts(out, "</svg>\n");
}

void chart_shares(struct buf *out, const struct chart_share *s, int count)
{
    double all = 0, x = 0;
    const char *names[CHART_SERIES_MAX];
    bool shown[CHART_SERIES_MAX] = { 0 };
    count = count > CHART_SERIES_MAX ? CHART_SERIES_MAX : count;
    for (int i = 0; i < count; i++)
        all += s[i].v;
    open_svg(out, 40, "shares");
    for (int i = 0; i < count && all > 0; i++) {
        double w = WIDTH * s[i].v / all;
        names[i] = s[i].name;
        shown[i] = s[i].v > 0;
        if (!shown[i])
            continue;
        rect(out, x, 4, w, 30, chart_colour(i), s[i].name, s[i].v, "USD ");
        if (w > 40)
            buf_printf(out, "<text x=\"%.1f\" y=\"24\" text-anchor=\"middle\" fill=\"#fff\">%.0f %%</text>\n", x +
                       w / 2,
                       100 * s[i].v / all);
        x += w;
    }
    buf_puts(out, "</svg>\n");
    if (all > 0)
        legend(out, names, shown, count);
}

void chart_places(struct buf *out, const char *unit, const struct chart_place *p, int count)
{
    enum { H = 300 };
    double lat0 = 90, lat1 = -90, lon0 = 180, lon1 = -180, biggest = 1e-12;
    for (int i = 0; i < count; i++) {
        lat0 = fmin(lat0, p[i].lat), lat1 = fmax(lat1, p[i].lat);
        lon0 = fmin(lon0, p[i].lon), lon1 = fmax(lon1, p[i].lon);
        biggest = fmax(biggest, p[i].size);
    }
    double lat = (lat0 + lat1) / 2, lon = (lon0 + lon1) / 2, squeeze = fmax(0.2, cos(lat * M_PI / 180));
    double span = fmax(fmax((lat1 - lat0) * 1.5, (lon1 - lon0) * squeeze * 1.5 * H / WIDTH), 4);
    double scale = H / span, step = span > 60 ? 30 : span > 20 ? 10 : span > 8 ? 5 : 1;
    open_svg(out, H, "where the sites are");
    for (double v = ceil((lat - span / 2) / step) * step; v <= lat + span / 2; v += step)
        buf_printf(out, "<line x1=\"0\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"currentColor\" opacity=\"0.13\"/>"
                        "<text x=\"2\" y=\"%.1f\" fill=\"currentColor\" opacity=\"0.5\">%.0f\xC2\xB0</text>\n", WIDTH,
                   H / 2.0 - (v - lat) * scale, H / 2.0 - (v - lat) * scale, H / 2.0 - (v - lat) * scale - 2, v);
    double wide = WIDTH / scale / squeeze / 2;
    for (double v = ceil((lon - wide) / step) * step; v <= lon + wide; v += step)
        buf_printf(out, "<line y1=\"0\" y2=\"%d\" x1=\"%.1f\" x2=\"%.1f\" stroke=\"currentColor\" opacity=\"0.13\"/>"
                        "<text x=\"%.1f\" y=\"%d\" fill=\"currentColor\" opacity=\"0.5\">%.0f\xC2\xB0</text>\n", H,
                   WIDTH / 2.0 + (v - lon) * scale * squeeze, WIDTH / 2.0 + (v - lon) * scale * squeeze,
                   WIDTH / 2.0 + (v - lon) * scale * squeeze + 2, H - 3, v);
    for (int i = 0; i < count; i++) {
        double x = WIDTH / 2.0 + (p[i].lon - lon) * scale * squeeze, y = H / 2.0 - (p[i].lat - lat) * scale;
        double r = 3 + 26 * sqrt(p[i].size / biggest);
        buf_printf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" fill=\"%s\" opacity=\"0.7\"/>\n", x, y, r,
                   chart_colour(i));
        buf_printf(out, "<text x=\"%.1f\" y=\"%.1f\" fill=\"currentColor\">", x + r + 4, y + 4);
        chart_text(out, p[i].name);
        buf_puts(out, " ");
        chart_number(out, "", p[i].size);
        buf_puts(out, unit);
        buf_puts(out, "</text>\n");
    }
    buf_puts(out, "</svg>\n");
}
