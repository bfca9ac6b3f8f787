/* model -- see model.h. Row numbers in comments are those of docs/plan.md, "The programme".
 *
 * I1  a column that could not be used (no offer, would arrive too late, no route) does not exist: index -1.
 * I2  flows are counted in units of m->flow_unit, money in m->money, so that coefficients stay near 1. */
#include "plan/model.h"

#include "base/mem.h"

#include <math.h>
#include <string.h>

enum { SETS_MAX = 64 };

struct model {
    const struct scenario *s;
    struct lp *lp;
    struct decision shape;                     /* for its index arithmetic only */
    double flow_unit, money;
    double share_kept;                         /* of the share caps: 1, or less to leave room for rounding */
    int *buy, *assign, *standby, *flow, *api, *unmet;
    int installed[HW_MAX][SITES_MAX][QUARTERS_MAX], open[SITES_MAX][QUARTERS_MAX];
    int used[HW_MAX], company[HW_MAX][SUPPLIERS_MAX]; /* binaries: h bought at all; h bought from a company */
    int lot[HW_MAX][SUPPLIERS_MAX][QUARTERS_MAX];
};

static double df(const struct model *m, double quarters)
{
    return cost_discount(m->s, quarters) / m->money;
}

/* Index of buy[h][s][l][t] in the flat array: decision's own arithmetic. */
static int *col_buy(const struct model *m, int h, int sup, int l, int t)
{
    return m->buy + (decision_buy(&m->shape, h, sup, l, t) - m->shape.buy);
}
static int *col_assign(const struct model *m, int h, int l, int c, int t)
{
    return m->assign + (decision_assign(&m->shape, h, l, c, t) - m->shape.assign);
}
static int *col_standby(const struct model *m, int h, int l, int c, int t)
{
    return m->standby + (decision_standby(&m->shape, h, l, c, t) - m->shape.standby);
}
static int *col_flow(const struct model *m, int d, int l, int t)
{
    return m->flow + (decision_flow(&m->shape, d, l, t) - m->shape.flow);
}
static int *col_api(const struct model *m, int d, int q, int t)
{
    return m->api + (decision_api(&m->shape, d, q, t) - m->shape.api);
}
static int *col_unmet(const struct model *m, int d, int t)
{
    return m->unmet + (decision_unmet(&m->shape, d, t) - m->shape.unmet);
}

static double watts_at_site(const struct scenario *s, int h, int l)
{
    return s->hw[h].power_load * s->rules.coincidence * s->sites[l].pue;
}

static bool survives(const struct scenario *s)
{
    return s->rules.survive_site_loss > 0 && s->site_count > 1;
}

/* ---- columns */

static void buy_columns(struct model *m, int h, int sup, int l)
{
    const struct scenario *s = m->s;
    const struct plan_offer *o = &s->suppliers[sup].offers[h];
    double life = scenario_life_q(s, h), fits = floor(s->sites[l].power / watts_at_site(s, h, l) + 1e-9);
    for (int t = 0; t < s->quarters; t++) {
        int *col = col_buy(m, h, sup, l, t);
        double most = fmin(scenario_capacity(s, h, sup, t), fits), arrives = t + o->lead_q;
        *col = -1;
        if (!o->given || most < 1 || arrives >= s->quarters)
            continue;
        double price = scenario_price(s, h, sup, t), left = fmax(0, 1 - (s->quarters - arrives) / life);
        double cost = price * scenario_uplift(s, h, sup, l) * df(m, t) - price * s->hw[h].resale * left * df(m,
            s->quarters);
        *col = lp_col(m->lp, 0, most, cost, true);
    }
}

static void site_columns(struct model *m, int l)
{
    const struct scenario *s = m->s;
    const struct plan_site *site = &s->sites[l];
    bool free_to_open = site->opening == 0 && site->staff == 0;
    for (int t = 0; t < s->quarters; t++) {
        /* opening is paid when y rises: its discounted difference to the next quarter stands here */
        double cost = site->opening * (df(m, t) - (t + 1 < s->quarters ? df(m, t + 1) : 0)) + site->staff / 4 *
            df(m, t + 0.5);
        bool must = free_to_open;
        for (int h = 0; h < s->hw_count; h++)
            must = must || (site->existing[h] > 0 && t < site->existing_until[h]);
        m->open[l][t] = lp_col(m->lp, must, 1, cost, true);
        for (int h = 0; h < s->hw_count; h++) {
            const struct plan_hardware *hw = &s->hw[h];
            double kwh = hw->power_idle / 1000 * site->pue * QUARTER_HOURS;
            double run = hw->power_load / 1000 * site->rent * 3 + hw->price * hw->maintenance / 4 + kwh *
                site->power_price;
            m->installed[h][l][t] = lp_col(m->lp, 0, LP_INFINITY, run * df(m, t + 0.5), false);
        }
    }
}

static void unit_columns(struct model *m, int h, int l, int c)
{
    const struct scenario *s = m->s;
    const struct plan_site *site = &s->sites[l];
    const struct plan_hardware *hw = &s->hw[h];
    for (int t = 0; t < s->quarters; t++) {
        bool can = s->classes[c].theta[h] > 0;
        double kwh = (hw->power_load - hw->power_idle) / 1000 * site->pue * QUARTER_HOURS * cost_load_factor(s, c, t);
        *col_assign(m, h, l, c, t) = can ? lp_col(m->lp, 0, LP_INFINITY, kwh * site->power_price * df(m, t + 0.5),
                                                  false) : -1;
        *col_standby(m, h, l, c, t) = can && survives(s) ? lp_col(m->lp, 0, LP_INFINITY, 0, false) : -1;
    }
}

static void traffic_columns(struct model *m, int d, int t)
{
    const struct scenario *s = m->s;
    const struct plan_demand *dem = &s->demands[d];
    double mtok = QUARTER_HOURS * 3600 / 1e6 * m->flow_unit, rate = dem->rate[t] / m->flow_unit;
    for (int l = 0; l < s->site_count; l++)
        *col_flow(m, d, l, t) = dem->route_ok[l] && rate > 0 ? lp_col(m->lp, 0, rate, 0, false) : -1;
    for (int q = 0; q < s->api_count; q++) {
        const struct plan_api *api = &s->apis[q];
        double usd = api->out + dem->input / dem->output * ((1 - dem->cached) * api->in + dem->cached * api->cached);
        *col_api(m, d, q, t) = dem->api_ok[q] && rate > 0 ? lp_col(m->lp, 0, rate, usd * mtok * df(m, t + 0.5),
                                                                   false) : -1;
    }
    *col_unmet(m, d, t) = lp_col(m->lp, 0, rate, dem->unmet * mtok * df(m, t + 0.5), false);
}

static void all_columns(struct model *m)
{
    const struct scenario *s = m->s;
    for (int h = 0; h < s->hw_count; h++)
        for (int sup = 0; sup < s->supplier_count; sup++)
            for (int l = 0; l < s->site_count; l++)
                buy_columns(m, h, sup, l);
    for (int l = 0; l < s->site_count; l++) {
        site_columns(m, l);
        for (int h = 0; h < s->hw_count; h++)
            for (int c = 0; c < s->class_count; c++)
                unit_columns(m, h, l, c);
    }
    for (int d = 0; d < s->demand_count; d++)
        for (int t = 0; t < s->quarters; t++)
            traffic_columns(m, d, t);
}

/* ---- rows */

static void coef(struct model *m, int row, int col, double v)
{
    if (col >= 0)
        lp_coef(m->lp, row, col, v);
}

/* Row 1: installed_t = installed_{t-1} + arrivals - retirements. */
static void balance_rows(struct model *m, int h, int l)
{
    const struct scenario *s = m->s;
    const struct plan_site *site = &s->sites[l];
    int life = scenario_life_q(s, h);
    for (int t = 0; t < s->quarters; t++) {
        double now = t < site->existing_until[h] ? site->existing[h] : 0;
        double before = t && t - 1 < site->existing_until[h] ? site->existing[h] : 0;
        int row = lp_row(m->lp, 'E', now - before);
        coef(m, row, m->installed[h][l][t], 1);
        if (t)
            coef(m, row, m->installed[h][l][t - 1], -1);
        for (int sup = 0; sup < s->supplier_count; sup++) {
            int lead = (int)s->suppliers[sup].offers[h].lead_q;
            if (t - lead >= 0)
                coef(m, row, *col_buy(m, h, sup, l, t - lead), -1);
            if (t - lead - life >= 0)
                coef(m, row, *col_buy(m, h, sup, l, t - lead - life), 1);
        }
    }
}

/* Rows 3 and 6 and the order of openings, for a site in a quarter; standby beside row 3. */
static void site_rows(struct model *m, int l, int t)
{
    const struct scenario *s = m->s;
    int power = lp_row(m->lp, 'L', 0);
    coef(m, power, m->open[l][t], -1);
    for (int h = 0; h < s->hw_count; h++) {
        const struct plan_hardware *hw = &s->hw[h];
        coef(m, power, m->installed[h][l][t], watts_at_site(s, h, l) / s->sites[l].power);
        int busy = lp_row(m->lp, 'L', 0), ready = survives(s) ? lp_row(m->lp, 'L', 0) : -1;
        coef(m, busy, m->installed[h][l][t], -hw->availability * s->rules.utilisation_max / (1 + hw->spares));
        if (ready >= 0)
            coef(m, ready, m->installed[h][l][t], -hw->availability);
        for (int c = 0; c < s->class_count; c++) {
            coef(m, busy, *col_assign(m, h, l, c, t), 1);
            if (ready >= 0)
                coef(m, ready, *col_standby(m, h, l, c, t), 1);
        }
    }
    if (t) {
        int row = lp_row(m->lp, 'G', 0);
        coef(m, row, m->open[l][t], 1);
        coef(m, row, m->open[l][t - 1], -1);
    }
}

/* Row 4: what a class sends to a site at its peak is at most what is assigned to it there. */
static void capacity_rows(struct model *m, int l, int c, int t)
{
    const struct scenario *s = m->s;
    int row = lp_row(m->lp, 'L', 0);
    for (int h = 0; h < s->hw_count; h++)
        coef(m, row, *col_assign(m, h, l, c, t), -s->classes[c].theta[h] / m->flow_unit);
    for (int d = 0; d < s->demand_count; d++)
        if (s->demands[d].cls == c)
            coef(m, row, *col_flow(m, d, l, t), s->demands[d].peak);
}

/* Row 5, and the cap on what goes to APIs. */
static void demand_rows(struct model *m, int t)
{
    const struct scenario *s = m->s;
    double total = 0;
    for (int d = 0; d < s->demand_count; d++)
        total += s->demands[d].rate[t] / m->flow_unit;
    int cap = s->rules.api_share_max < 1 && s->api_count ? lp_row(m->lp, 'L', s->rules.api_share_max * total) : -1;
    for (int d = 0; d < s->demand_count; d++) {
        int row = lp_row(m->lp, 'E', s->demands[d].rate[t] / m->flow_unit);
        coef(m, row, *col_unmet(m, d, t), 1);
        for (int l = 0; l < s->site_count; l++)
            coef(m, row, *col_flow(m, d, l, t), 1);
        for (int q = 0; q < s->api_count; q++) {
            coef(m, row, *col_api(m, d, q, t), 1);
            if (cap >= 0)
                coef(m, cap, *col_api(m, d, q, t), 1);
        }
    }
}

/* Follows from rows 4 and 6, but not for parts of a site: what a demand sends to a site needs it as open as that. The
 * relaxation is the tighter for it. */
static void open_rows(struct model *m, int d, int t)
{
    const struct scenario *s = m->s;
    double rate = s->demands[d].rate[t] / m->flow_unit, lower, upper;
    for (int l = 0; l < s->site_count; l++) {
        lp_get_bounds(m->lp, m->open[l][t], &lower, &upper);
        if (*col_flow(m, d, l, t) < 0 || lower > 0)
            continue;
        int row = lp_row(m->lp, 'L', 0);
        coef(m, row, *col_flow(m, d, l, t), 1 / rate);
        coef(m, row, m->open[l][t], -1);
    }
}

/* Row 2: a quarter's orders at a plant: at most its capacity; in lots of at least min_lot. */
static void plant_rows(struct model *m, int h, int sup, int t)
{
    const struct scenario *s = m->s;
    const struct plan_offer *o = &s->suppliers[sup].offers[h];
    double most = scenario_capacity(s, h, sup, t);
    m->lot[h][sup][t] = -1;
    if (!o->given || most < 1 || t + o->lead_q >= s->quarters)
        return;
    bool lots = o->min_lot > 1;
    int row = lp_row(m->lp, 'L', lots ? 0 : most), least = lots ? lp_row(m->lp, 'G', 0) : -1;
    if (lots) {
        m->lot[h][sup][t] = lp_col(m->lp, 0, most >= o->min_lot, 0, true);
        coef(m, row, m->lot[h][sup][t], -most);
        coef(m, least, m->lot[h][sup][t], -o->min_lot);
    }
    for (int l = 0; l < s->site_count; l++) {
        coef(m, row, *col_buy(m, h, sup, l, t), 1);
        if (lots)
            coef(m, least, *col_buy(m, h, sup, l, t), 1);
    }
}

static double total_capacity(const struct scenario *s, int h, int sup)
{
    double sum = 0;
    for (int t = 0; t < s->quarters; t++)
        sum += scenario_capacity(s, h, sup, t);
    return sum;
}

/* Row 7, second half: a critical h is bought from at least so many companies, or not at all. */
static void critical_rows(struct model *m, int h)
{
    const struct scenario *s = m->s;
    double all = 0;
    int count = lp_row(m->lp, 'G', 0), any = lp_row(m->lp, 'L', 0);
    m->used[h] = lp_col(m->lp, 0, 1, 0, true);
    coef(m, count, m->used[h], -ceil(s->rules.critical_suppliers_min));
    for (int sup = 0; sup < s->supplier_count; sup++) {
        int g = cost_company(s, sup);
        if (!s->suppliers[sup].offers[h].given)
            continue;
        if (m->company[h][g] < 0) {
            m->company[h][g] = lp_col(m->lp, 0, 1, 0, true);
            coef(m, count, m->company[h][g], 1);
            int real = lp_row(m->lp, 'L', 0); /* counts only if a unit is bought there */
            coef(m, real, m->company[h][g], 1);
            for (int p = 0; p < s->supplier_count; p++)
                for (int l = 0; cost_company(s, p) == g && l < s->site_count; l++)
                    for (int t = 0; t < s->quarters; t++)
                        coef(m, real, *col_buy(m, h, p, l, t), -1);
        }
        all += total_capacity(s, h, sup);
        for (int t = 0; t < s->quarters; t++)
            if (m->lot[h][sup][t] >= 0) {
                int row = lp_row(m->lp, 'L', 0); /* follows from `any`, but not for parts of a lot */
                coef(m, row, m->lot[h][sup][t], 1);
                coef(m, row, m->used[h], -1);
            }
        for (int l = 0; l < s->site_count; l++)
            for (int t = 0; t < s->quarters; t++)
                coef(m, any, *col_buy(m, h, sup, l, t), 1);
    }
    coef(m, any, m->used[h], -all);
}

/* Row 7, first half: sum over a group of price - share * sum over all of price <= 0. */
static void share_row(struct model *m, double share, bool by_company, int group)
{
    const struct scenario *s = m->s;
    int row = lp_row(m->lp, 'L', 0);
    for (int sup = 0; sup < s->supplier_count; sup++) {
        bool in = by_company ? cost_company(s, sup) == group : s->suppliers[sup].country == group;
        for (int h = 0; h < s->hw_count; h++)
            for (int l = 0; l < s->site_count; l++)
                for (int t = 0; t < s->quarters; t++)
                    coef(m, row, *col_buy(m, h, sup, l, t), (in - share) * scenario_price(s, h, sup, t) / m->money);
    }
}

static void share_rows(struct model *m)
{
    const struct scenario *s = m->s;
    bool country[PLACES_MAX] = { 0 };
    for (int sup = 0; sup < s->supplier_count; sup++) {
        if (s->rules.supplier_share_max < 1 && cost_company(s, sup) == sup)
            share_row(m, m->share_kept * s->rules.supplier_share_max, true, sup);
        if (s->rules.country_share_max < 1 && !country[s->suppliers[sup].country])
            share_row(m, m->share_kept * s->rules.country_share_max, false, s->suppliers[sup].country);
        country[s->suppliers[sup].country] = true;
    }
}

/* Row 9: what is paid for machines and openings up to a date. */
static void budget_rows(struct model *m, const struct plan_budget *b)
{
    const struct scenario *s = m->s;
    int row = lp_row(m->lp, 'L', b->amount / m->money);
    int last = b->by < s->quarters ? b->by : s->quarters - 1;
    if (last < 0)
        return;
    for (int l = 0; l < s->site_count; l++) {
        coef(m, row, m->open[l][last], s->sites[l].opening / m->money);
        for (int h = 0; h < s->hw_count; h++)
            for (int sup = 0; sup < s->supplier_count; sup++)
                for (int t = 0; t <= last; t++)
                    coef(m, row, *col_buy(m, h, sup, l, t),
                         scenario_price(s, h, sup, t) * scenario_uplift(s, h, sup, l) / m->money);
    }
}

/* ---- row 8: any one site down */

static uint32_t routes_of(const struct scenario *s, int d)
{
    uint32_t set = 0;
    for (int l = 0; l < s->site_count; l++)
        set |= s->demands[d].route_ok[l] ? 1u << l : 0;
    return set;
}

/* The sets of sites for which a cut must hold: those of the class's demands, and unions of overlapping ones
 * (Gale: a supply meets demands iff every set of demands finds enough in the union of its routes). */
static int outage_sets(const struct scenario *s, int c, uint32_t sets[SETS_MAX])
{
    int n = 0;
    for (int d = 0; d < s->demand_count; d++) {
        uint32_t r = routes_of(s, d);
        int k = 0;
        while (k < n && sets[k] != r)
            k++;
        if (s->demands[d].cls == c && r && k == n && n < SETS_MAX)
            sets[n++] = r;
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < i; j++) {
            uint32_t u = sets[i] | sets[j];
            int k = 0;
            while (k < n && sets[k] != u)
                k++;
            if ((sets[i] & sets[j]) && k == n && n < SETS_MAX)
                sets[n++] = u;
        }
    return n;
}

static void outage_row(struct model *m, int c, int t, uint32_t set, int down)
{
    const struct scenario *s = m->s;
    int row = lp_row(m->lp, 'G', 0);
    for (int l = 0; l < s->site_count; l++)
        for (int h = 0; l != down && (set >> l & 1) && h < s->hw_count; h++)
            coef(m, row, *col_standby(m, h, l, c, t), s->classes[c].theta[h] / m->flow_unit);
    for (int d = 0; d < s->demand_count; d++)
        for (int l = 0; s->demands[d].cls == c && !(routes_of(s, d) & ~set) && l < s->site_count; l++)
            coef(m, row, *col_flow(m, d, l, t), -s->rules.survive_site_loss * s->demands[d].peak);
}

static void outage_rows(struct model *m)
{
    const struct scenario *s = m->s;
    for (int c = 0; c < s->class_count; c++) {
        uint32_t sets[SETS_MAX];
        int n = outage_sets(s, c, sets);
        for (int k = 0; k < n; k++)
            for (int down = 0; down < s->site_count; down++)
                for (int t = 0; (sets[k] >> down & 1) && t < s->quarters; t++)
                    outage_row(m, c, t, sets[k], down);
    }
}

static void all_rows(struct model *m)
{
    const struct scenario *s = m->s;
    for (int h = 0; h < s->hw_count; h++) {
        for (int l = 0; l < s->site_count; l++)
            balance_rows(m, h, l);
        for (int sup = 0; sup < s->supplier_count; sup++)
            for (int t = 0; t < s->quarters; t++)
                plant_rows(m, h, sup, t);
        if (s->hw[h].critical)
            critical_rows(m, h);
    }
    for (int t = 0; t < s->quarters; t++) {
        demand_rows(m, t);
        for (int d = 0; d < s->demand_count; d++)
            open_rows(m, d, t);
        for (int l = 0; l < s->site_count; l++) {
            site_rows(m, l, t);
            for (int c = 0; c < s->class_count; c++)
                capacity_rows(m, l, c, t);
        }
    }
    share_rows(m);
    for (int b = 0; b < s->finance.budgets; b++)
        budget_rows(m, &s->finance.budget[b]);
    if (survives(s))
        outage_rows(m);
}

/* ---- the whole */

static int *cols_like(size_t count)
{
    int *p = mem_new(count, sizeof *p);
    for (size_t i = 0; i < count; i++)
        p[i] = -1;
    return p;
}

static void choose_units(struct model *m)
{
    const struct scenario *s = m->s;
    double most = 1, penalty = 1;
    for (int d = 0; d < s->demand_count; d++)
        for (int t = 0; t < s->quarters; t++) {
            most = fmax(most, s->demands[d].rate[t] * s->demands[d].peak);
            penalty += s->demands[d].rate[t] * QUARTER_HOURS * 3600 / 1e6 * s->demands[d].unmet;
        }
    m->flow_unit = most / 100;
    m->money = penalty / 1e6;
}

struct model *plan_model_new(const struct scenario *s, double share_kept)
{
    struct model *m = MEM_NEW(struct model);
    size_t hw = (size_t)s->hw_count, l = (size_t)s->site_count, t = (size_t)s->quarters, d = (size_t)s->demand_count;
    m->s = s;
    m->share_kept = share_kept;
    m->lp = lp_new();
    decision_init(&m->shape, s);
    choose_units(m);
    m->buy = cols_like(hw * (size_t)s->supplier_count * l * t);
    m->assign = cols_like(hw * l * (size_t)s->class_count * t);
    m->standby = cols_like(hw * l * (size_t)s->class_count * t);
    m->flow = cols_like(d * l * t);
    m->api = cols_like(d * (size_t)s->api_count * t);
    m->unmet = cols_like(d * t);
    memset(m->company, 0xff, sizeof m->company); /* all -1 */
    memset(m->used, 0xff, sizeof m->used);
    memset(m->lot, 0xff, sizeof m->lot);
    all_columns(m);
    all_rows(m);
    return m;
}

void plan_model_free(struct model *m)
{
    if (!m)
        return;
    lp_free(m->lp);
    decision_release(&m->shape);
    mem_free(m->buy);
    mem_free(m->assign);
    mem_free(m->standby);
    mem_free(m->flow);
    mem_free(m->api);
    mem_free(m->unmet);
    mem_free(m);
}

struct lp *plan_model_lp(struct model *m)
{
    return m->lp;
}

double plan_model_money(const struct model *m)
{
    return m->money;
}

double *plan_model_start(const struct model *m)
{
    const struct scenario *s = m->s;
    double *x = mem_new((size_t)lp_cols(m->lp), sizeof *x);
    for (int l = 0; l < s->site_count; l++) {
        bool open = s->sites[l].opening == 0 && s->sites[l].staff == 0;
        for (int t = s->quarters - 1; t >= 0; t--)
            for (int h = 0; h < s->hw_count; h++) {
                double n = t < s->sites[l].existing_until[h] ? s->sites[l].existing[h] : 0;
                x[m->installed[h][l][t]] = n;
                open = open || n > 0;
            }
        for (int t = 0; t < s->quarters; t++)
            x[m->open[l][t]] = open;
    }
    for (int d = 0; d < s->demand_count; d++)
        for (int t = 0; t < s->quarters; t++)
            x[*col_unmet(m, d, t)] = s->demands[d].rate[t] / m->flow_unit;
    return x;
}

static double value(const double *x, int col, double unit)
{
    return col >= 0 ? fmax(0, x[col]) * unit : 0;
}

static void read_site(const struct model *m, const double *x, struct decision *out, int l, int t)
{
    const struct scenario *s = m->s;
    *decision_open(out, l, t) = x[m->open[l][t]] > 0.5;
    for (int h = 0; h < s->hw_count; h++) {
        for (int sup = 0; sup < s->supplier_count; sup++)
            *decision_buy(out, h, sup, l, t) = (int)lround(value(x, *col_buy(m, h, sup, l, t), 1));
        for (int c = 0; c < s->class_count; c++) {
            *decision_assign(out, h, l, c, t) = value(x, *col_assign(m, h, l, c, t), 1);
            *decision_standby(out, h, l, c, t) = value(x, *col_standby(m, h, l, c, t), 1);
        }
    }
}

void plan_model_read(const struct model *m, const double *x, struct decision *out)
{
    const struct scenario *s = m->s;
    decision_init(out, s);
    for (int t = 0; t < s->quarters; t++) {
        for (int l = 0; l < s->site_count; l++)
            read_site(m, x, out, l, t);
        for (int d = 0; d < s->demand_count; d++) {
            double rest = s->demands[d].rate[t];
            for (int l = 0; l < s->site_count; l++)
                rest -= *decision_flow(out, d, l, t) = value(x, *col_flow(m, d, l, t), m->flow_unit);
            for (int q = 0; q < s->api_count; q++)
                rest -= *decision_api(out, d, q, t) = value(x, *col_api(m, d, q, t), m->flow_unit);
            *decision_unmet(out, d, t) = rest > 1e-9 * s->demands[d].rate[t] ? rest : 0;
        }
    }
}

/* Whether the search may buy any h for site l. */
static bool planned(const struct model *m, int h, int l, const double *upper)
{
    for (int sup = 0; sup < m->s->supplier_count; sup++)
        for (int t = 0; t < m->s->quarters; t++)
            if (*col_buy(m, h, sup, l, t) >= 0 && upper[*col_buy(m, h, sup, l, t)] >= 1)
                return true;
    return false;
}

void plan_model_widen(const struct model *m, bool all, double *upper)
{
    const struct scenario *s = m->s;
    for (int h = 0; h < s->hw_count; h++)
        for (int l = 0; l < s->site_count; l++) {
            if ((!all && !s->hw[h].critical) || !planned(m, h, l, upper))
                continue;
            for (int sup = 0; sup < s->supplier_count; sup++)
                for (int t = 0; t < s->quarters; t++) {
                    int col = *col_buy(m, h, sup, l, t);
                    if (col >= 0)
                        upper[col] = fmax(upper[col], fmax(1, s->suppliers[sup].offers[h].min_lot));
                }
        }
}

static void pin(struct model *m, int col, double v)
{
    if (col >= 0)
        lp_set_bounds(m->lp, col, v, v);
}

void plan_model_pin(struct model *m, const struct decision *d)
{
    const struct scenario *s = m->s;
    for (int h = 0; h < s->hw_count; h++) {
        bool bought = false, from[SUPPLIERS_MAX] = { 0 };
        for (int sup = 0; sup < s->supplier_count; sup++)
            for (int t = 0; t < s->quarters; t++) {
                int sum = 0;
                for (int l = 0; l < s->site_count; l++) {
                    int n = *decision_buy(d, h, sup, l, t);
                    pin(m, *col_buy(m, h, sup, l, t), n);
                    sum += n;
                }
                pin(m, m->lot[h][sup][t], sum > 0);
                bought = bought || sum > 0;
                from[cost_company(s, sup)] |= sum > 0;
            }
        pin(m, m->used[h], bought);
        for (int g = 0; g < s->supplier_count; g++)
            pin(m, m->company[h][g], from[g]);
    }
    for (int l = 0; l < s->site_count; l++)
        for (int t = 0; t < s->quarters; t++)
            pin(m, m->open[l][t], *decision_open(d, l, t));
}
