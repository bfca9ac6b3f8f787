/* generate -- see generate.h. */
#include "plan/generate.h"

#include "base/rng.h"

const struct generate_size generate_full = { 6, 8, 12, 6, 3, 2, 8 };

enum { JURISDICTIONS = 4 };

static double pick(struct rng *r, double lo, double hi)
{
    return lo + (hi - lo) * rng_next_unit(r);
}

static int below(struct rng *r, int n)
{
    return (int)rng_below(r, (uint64_t)n);
}

static void head(struct rng *r, const struct generate_size *z, struct buf *out)
{
    buf_printf(out, "scenario: generated\ntitle: A seeded scenario for timing the optimiser\nstart: "
                    "2027-Q1\nquarters: %d\n"
                    "finance: {discount_rate: 0.09, unmet_penalty: 30}\n"
                    "rules: {utilisation_max: 0.85, supplier_share_max: 0.5, country_share_max: 0.6, "
                    "critical_suppliers_min: 2, survive_site_loss: 0.5}\nmodels:\n", z->quarters);
    for (int m = 0; m < z->models; m++)
        buf_printf(out, "- {id: m%d, weights: %d, kv_per_token: 60000}\n", m, 30 * (m + 1));
    buf_puts(out, "slos:\n");
    for (int k = 0; k < z->slos; k++)
        buf_printf(out, "- {id: k%d, ttft_p99: %d, itl_p99: %d}\n", k, k ? 20000 : 1500, k ? 200 : 80);
    buf_puts(out, "hardware:\n");
    for (int h = 0; h < z->hardware; h++) {
        double size = pick(r, 0.7, 1.3) * (h % 3 ? 1 : 8);
        buf_printf(out, "- {id: h%d, critical: %s, devices: 8, memory: %.0f, price: %.0f, network: 0.08, "
                        "power_load: %.0f, "
                        "power_idle: %.0f,\n   performance: [", h, h % 3 ? "false" : "true", 160 * size,
                   300e3 * size * pick(r, 0.85, 1.15), 9000 * size, 2700 * size);
        for (int m = 0; m < z->models; m++)
            buf_printf(out, "{model: m%d, rate: %.0f, itl: 150},", m, 40e3 * size * pick(r, 0.8, 1.2) / (m + 1));
        buf_puts(out, "]}\n");
    }
}

static void suppliers(struct rng *r, const struct generate_size *z, struct buf *out)
{
    buf_puts(out, "suppliers:\n");
    for (int s = 0; s < z->suppliers; s++) {
        buf_printf(out, "- {id: s%d, company: c%d, country: C%d, freight: %.3f, duty: {abroad: %.3f}, sells: [", s,
                   s * 3 / 4, s % 5, pick(r, 0, 0.03), pick(r, 0, 0.06));
        for (int h = 0; h < z->hardware; h++)
            if ((s + h) % 2 == 0 || below(r, 8) == 0)
                buf_printf(out, "{hardware: h%d, price_factor: %.3f, capacity: %d, lead_time: %d, min_lot: %d},", h,
                           pick(r, 0.92, 1.12), (h % 3 ? 240 : 30) + below(r, 60), 1 + below(r, 3), h % 3 ? 0 : 2);
        buf_puts(out, "]}\n");
    }
}

static void sites(struct rng *r, const struct generate_size *z, struct buf *out)
{
    buf_puts(out, "sites:\n");
    for (int l = 0; l < z->sites; l++)
        buf_printf(out, "- {id: l%d, jurisdiction: J%d, power: %.0f, power_price: %.3f, pue: %.2f, opening: %.0f, "
                        "rent: %.0f, "
                        "staff: %.0f}\n", l, l % JURISDICTIONS, pick(r, 2e6, 8e6), pick(r, 0.04, 0.22), pick(r, 1.1,
                            1.5),
                   pick(r, 3e5, 1.5e6), pick(r, 80, 200), pick(r, 1e5, 4e5));
}

static void demands(struct rng *r, const struct generate_size *z, struct buf *out)
{
    buf_puts(out, "api: [{id: q, jurisdiction: J9, price_in: 0.5, price_out: 4}]\ndemand:\n");
    for (int d = 0; d < z->regions * z->models * z->slos; d++) {
        int region = d % z->regions, m = d / z->regions % z->models, k = d / z->regions / z->models;
        buf_printf(out, "- {id: d%d, model: m%d, slo: k%d, residency: ", d, m, k);
        if (region < 3)
            buf_printf(out, "[J%d]", region);
        else
            buf_puts(out, "any, api: [q]");
        buf_printf(out, ", output_per_day: %.0f, growth: %.2f, input_tokens: 1024, output_tokens: 512, peak: "
                        "%.2f, latency: {",
                   pick(r, 6000, 32000) / (m + 1), pick(r, 0.1, 1), pick(r, 1.3, 2));
        for (int l = 0; l < z->sites; l++)
            buf_printf(out, "l%d: %d,", l, 5 + below(r, 200));
        buf_puts(out, "}}\n");
    }
}

void generate_scenario(uint64_t seed, const struct generate_size *z, struct buf *out)
{
    struct rng r = { seed, 0 };
    head(&r, z, out);
    suppliers(&r, z, out);
    sites(&r, z, out);
    demands(&r, z, out);
}
