/* tco_ask -- see tco_ask.h. */
#include "cmd/tco_ask.h"

#include "base/buf.h"
#include "base/mem.h"

#include <math.h>
#include <string.h>

const struct tco_ask tco_ask_defaults = {
    .hardware = "gb300-nvl72", .model = "deepseek-r1", .units = 1, .uplift = -1, .discount = 0.08, .power_price = 0.1,
    .pue = 1.3, .utilisation = 0.5, .maintenance = -1, .input = 1000, .output = 300, .itl = 100,
};

/* Ids go into a scenario's text as they are: nothing but a name may. */
static bool is_id(const char *s)
{
    size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_");
    return n && n < 64 && !s[n];
}

/* The catalogue's entries enter as a scenario of one machine, one model, one API. */
static struct scenario *look_up(const struct tco_ask *o, struct mistakes *m)
{
    struct buf b = { 0 };
    buf_printf(&b, "scenario: tco\nstart: 2026-Q1\nquarters: 1\nmodels: [{use: \"%s\"}]\nhardware: [{use: \"%s\"}]\n"
                   "slos: [{id: k, ttft_p99: 1e6, itl_p99: %.9g}]\n"
                   "sites: [{id: l, jurisdiction: X, power: 1e10, power_price: 0.1, pue: 1}]\n", o->model,
                       o->hardware,
               o->itl);
    buf_printf(&b, "suppliers: [{id: s, country: X, sells: [{hardware: \"%s\", capacity: 1, lead_time: 0}]}]\n",
               o->hardware);
    if (o->api)
        buf_printf(&b, "api: [{use: \"%s\"}]\n", o->api);
    buf_printf(&b, "demand: [{id: d, model: \"%s\", slo: k, residency: any, output_per_day: 1, input_tokens: %.9g, "
                   "output_tokens: %.9g, cached: %.9g}]\n", o->model, o->input, o->output, o->cached);
    struct scenario *s = scenario_load(buf_str(&b), b.len, "tco", NULL, 0, m);
    buf_release(&b);
    return s;
}

static enum err_code fill(const struct tco_ask *o, const struct scenario *s, struct tco_input *in, struct err *e)
{
    const struct plan_hardware *h = &s->hw[0];
    const struct plan_class *c = &s->classes[0];
    *in = (struct tco_input){
        .units = o->units, .devices = h->devices, .price = o->price > 0 ? o->price : h->price,
        .uplift = o->uplift >= 0 ? o->uplift : h->network, .life_y = o->life > 0 ? o->life : h->life_y,
        .discount = o->discount, .power_load = h->power_load, .power_idle = h->power_idle, .pue = o->pue,
        .power_price = o->power_price, .maintenance = o->maintenance >= 0 ? o->maintenance : h->maintenance,
        .staff = o->staff, .rent = o->rent, .rate = o->rate > 0 ? o->rate : c->theta_full[0],
        .utilisation = o->utilisation, .load = { o->input, o->output, o->cached }, .step = h->perf[0].step,
        .batch = fmax(1, c->batch[0]), .replicas = h->perf[0].given ? h->perf[0].replicas : 1, .cloud_hour = o->cloud,
    };
    if (s->api_count) {
        in->api_in = s->apis[0].in;
        in->api_cached = s->apis[0].cached;
        in->api_out = s->apis[0].out;
    }
    if (!(in->rate > 0))
        return err_set(e, ERR_INVALID,
                       "the catalogue has no rate of %s for %s under %g ms between tokens; give --rate",
                       o->hardware, o->model, o->itl);
    return ERR_OK;
}

enum err_code tco_ask_figures(const struct tco_ask *o, struct tco_input *out, struct err *e)
{
    struct mistakes m = { 0 };
    if (!is_id(o->hardware) || !is_id(o->model) || (o->api && !is_id(o->api)))
        return err_set(e, ERR_INVALID, "a name of the catalogue is letters, digits, '.', '-' and '_'; "
                       "`tokenworks plan --catalogue` lists them");
    struct scenario *s = look_up(o, &m);
    enum err_code c;
    if (s) {
        c = fill(o, s, out, e);
    } else { /* the first mistake alone: the others follow from it, and "tco:5: " is a line nobody wrote */
        const char *line = buf_str(&m.text), *text = strstr(line, ": ");
        text = text ? text + 2 : line;
        c = err_set(e, ERR_INVALID, "%.*s", (int)strcspn(text, "\n"), text);
    }
    mistakes_release(&m);
    scenario_free(s);
    return c;
}
