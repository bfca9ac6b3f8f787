/* plan -- tokenworks plan: what to buy, where to put it, what a million tokens costs, and whether it will hold. */
#include "cmd/cmd.h"

#include "base/buf.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cmd/plan_machine.h"
#include "plan/data.h"
#include "plan/generate.h"
#include "plan/output.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct plan_options {
    const char *out, *example, *fit, *machine;
    struct opt_strings what_if;
    bool compare, catalogue, simulate, sensitivity, json;
    double gap, seconds;
    int64_t threads, generate;
};

static const struct opt rows[] = {
    { "out", 'o', OPT_STRING, "DIR", "write plan.json, report.html and CSV files there (default: plan)",
      OPT_FIELD(struct plan_options, out), 0, 0 },
    { "example", 0, OPT_STRING, "NAME", "print a shipped scenario: billion, own-silicon, hospital, token-factory",
      OPT_FIELD(struct plan_options, example), 0, 0 },
    { "what-if", 0, OPT_STRINGS, "PATH=VALUE", "change one input and compare; may be repeated",
      OPT_FIELD(struct plan_options, what_if), 0, 0 },
    { "compare", 0, OPT_FLAG, NULL, "compare two plan.json files", OPT_FIELD(struct plan_options, compare), 0, 0 },
    { "gap", 0, OPT_FLOAT, "SHARE", "stop when proven this close to the optimum (default 0.005)",
      OPT_FIELD(struct plan_options, gap), 0, 1 },
    { "seconds", 0, OPT_FLOAT, "S", "time limit for each solve (default 300; 0: none)",
      OPT_FIELD(struct plan_options, seconds), 0, 1e7 },
    { "threads", 't', OPT_INT, "N", "solver threads (default 2)", OPT_FIELD(struct plan_options, threads), 1, 64 },
    { "simulate", 0, OPT_FLAG, NULL, "hold the plan against a simulated fleet (default; --no-simulate)",
      OPT_FIELD(struct plan_options, simulate), 0, 0 },
    { "sensitivity", 0, OPT_FLAG, NULL, "move every assumed figure (default; --no-sensitivity)",
      OPT_FIELD(struct plan_options, sensitivity), 0, 0 },
    { "json", 0, OPT_FLAG, NULL, "print plan.json on stdout instead of the summary", OPT_FIELD(struct plan_options,
        json), 0, 0 },
    { "catalogue", 0, OPT_FLAG, NULL, "print the catalogue that `use:` refers to",
      OPT_FIELD(struct plan_options, catalogue), 0, 0 },
    { "fit", 0, OPT_STRING, "FILE", "fit a step-time model to `bench --json` output or to a list of points",
      OPT_FIELD(struct plan_options, fit), 0, 0 },
    { "machine", 0, OPT_STRING, "URL",
      "print a scenario of the machine behind a running server: the step times it learned, its limits",
      OPT_FIELD(struct plan_options, machine), 0, 0 },
    { "generate", 0, OPT_INT, "SEED", "print a large generated scenario", OPT_FIELD(struct plan_options, generate), 0,
      9e15 },
    { 0 },
};
const struct opt_command cmd_plan_spec = {
    "plan", "[options] SCENARIO.yaml | --compare A/plan.json B/plan.json",
    "what to buy, where to put it, what a million tokens costs, and whether it will hold",
    "A scenario is one YAML file: hardware, suppliers, sites, demand, service levels, APIs, finance and rules.\n"
    "Start from an example:  tokenworks plan --example hospital > s.yaml;  tokenworks plan s.yaml -o plan\n"
    "and open plan/report.html. Ctrl-C stops the search and keeps the best plan so far.\n"
    "A --what-if path enters lists by id: --what-if sites.north.power_price=\"0.30 EUR/kWh\"",
    rows,
};

static volatile sig_atomic_t stop_asked;

static void on_interrupt(int sig)
{
    stop_asked = 1;
    signal(sig, SIG_DFL); /* a second one ends the program */
}

/* ---- narration */

static void show_line(void *arg, const char *line)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r\033[K");
    fprintf(stderr, "%s\n", line);
}

static void show_progress(void *arg, const struct lp_progress *p)
{
    static double shown_s = -10;
    bool tty = isatty(STDERR_FILENO);
    if (!tty && p->seconds < shown_s + 5 && p->seconds >= shown_s)
        return;
    shown_s = p->seconds;
    struct buf b = { 0 };
    buf_printf(&b, "%s%6.1f s  best ", tty ? "\r\033[K" : "", p->seconds);
    if (p->incumbent < LP_INFINITY)
        buf_printf(&b, "%.5g USD", p->incumbent);
    else
        buf_puts(&b, "none yet");
    if (p->bound > -LP_INFINITY)
        buf_printf(&b, "  bound %.5g USD  gap %.2f %%", p->bound, 100 * lp_gap(p->incumbent, p->bound));
    fprintf(stderr, "%s%s", buf_str(&b), tty ? "" : "\n");
    buf_release(&b);
}

static void print_orders(const struct plan *p)
{
    const struct scenario *s = p->s;
    printf("order    units hardware             from                 to\n");
    for (int t = 0; t < s->quarters; t++)
        for (int h = 0; h < s->hw_count; h++)
            for (int sup = 0; sup < s->supplier_count; sup++)
                for (int l = 0; l < s->site_count; l++) {
                    int n = *decision_buy(&p->result.decision, h, sup, l, t);
                    char q[16];
                    scenario_quarter_name(s, t, q);
                    if (n)
                        printf("%s  %5d %-20s %-20s %s\n", q, n, s->hw[h].id, s->suppliers[sup].id, s->sites[l].id);
                }
}

static void print_summary(const struct plan *p, const char *folder)
{
    const struct scenario *s = p->s;
    print_orders(p);
    printf("\nnet present cost   %.5g USD", p->result.npv);
    if (isinf(p->result.gap))
        printf(" (stopped before anything was proven)\n");
    else
        printf(" (no plan costs less than %.5g: gap %.2f %%)\n", p->result.bound, 100 * p->result.gap);
    printf("capital            %.5g USD\n", p->cost.capex);
    printf("a million tokens   %.3g USD", p->cost.usd_per_mtok);
    if (p->has_sense)
        printf(" (P10 %.3g, P90 %.3g)", p->sense.p10, p->sense.p90);
    printf("\nsuppliers' HHI     %.0f\n", p->cost.hhi);
    if (p->simulated)
        printf("service levels     %d simulated, %d missed\n", p->slo.count, p->slo.failed);
    for (int i = 0; i < p->sense.bar_count && i < 5; i++) {
        const struct sense_bar *b = &p->sense.bars[i];
        printf("%s %s: NPV ", i ? "                  " : "hangs most on      ", s->figures[b->figure].path);
        for (int side = 0; side < 2; side++) {
            double v = side ? b->high : b->low;
            if (isnan(v))
                printf("a rule breaks at %s10 %%", side ? "+" : "-");
            else
                printf("%.4g at %s10 %%", v, side ? "+" : "-");
            printf(side ? "\n" : ", ");
        }
    }
    if (folder)
        printf("written            %s/report.html, plan.json, units.csv, costs.csv, flows.csv, slo.csv, figures.csv\n",
               folder);
}

/* ---- the actions */

static int show_mistakes(struct mistakes *m)
{
    fprintf(stderr, "%s", buf_str(&m->text));
    fprintf(stderr, "tokenworks plan: %d mistake%s in the scenario; nothing was planned\n", m->count,
            m->count == 1 ? "" : "s");
    mistakes_release(m);
    return 1;
}

static int solve(const struct plan_options *o, const char *path, bool changed, struct scenario **s, struct plan *out)
{
    struct mistakes m = { 0 };
    struct err e = { 0 };
    *s = scenario_load_file(path, o->what_if.v, changed ? o->what_if.count : 0, &m);
    if (!*s)
        return show_mistakes(&m);
    struct planner_options po = {
        .optimise = { .gap = o->gap, .seconds = o->seconds, .threads = (int)o->threads, .stop = &stop_asked,
                      .progress = show_progress },
        .simulate = o->simulate, .sensitivity = o->sensitivity && (changed || !o->what_if.count), .say = show_line,
    };
    fprintf(stderr, "planning %s: %d figures, %d quarters%s\n", (*s)->id, (*s)->figure_count, (*s)->quarters,
            changed && o->what_if.count ? ", what if" : "");
    if (planner_run(*s, &po, out, &e)) {
        scenario_free(*s);
        *s = NULL;
        return cmd_fail(&cmd_plan_spec, &e);
    }
    return 0;
}

/* Before minutes of solving: that the changed scenario can be read, and that the answer can be written. */
static int look_ahead(const struct plan_options *o, const char *path, const char *folder)
{
    struct mistakes m = { 0 };
    struct err e = { 0 };
    enum err_code c = folder ? file_make_dirs(folder, &e) : ERR_OK;
    if (!c && folder && access(folder, W_OK))
        c = err_errno(&e, "%s: cannot write there", folder);
    if (c)
        return cmd_fail(&cmd_plan_spec, &e);
    struct scenario *s = scenario_load_file(path, o->what_if.v, o->what_if.count, &m);
    if (!s)
        return show_mistakes(&m);
    scenario_free(s);
    return 0;
}

/* With --what-if both are planned, and compared; what is written is the changed one. */
static int plan_file(const struct plan_options *o, const char *path)
{
    struct scenario *base_s = NULL, *s = NULL;
    struct plan base = { 0 }, p = { 0 };
    struct err e = { 0 };
    struct buf diff = { 0 };
    const char *folder = o->out ? o->out : o->json ? NULL : "plan";
    int rc = look_ahead(o, path, folder);
    if (!rc && o->what_if.count)
        rc = solve(o, path, false, &base_s, &base);
    if (!rc)
        rc = solve(o, path, true, &s, &p);
    if (!rc && folder && plan_write(&p, folder, &e))
        rc = cmd_fail(&cmd_plan_spec, &e);
    if (!rc && o->json) {
        json_t *v = plan_to_json(&p);
        json_dumpf(v, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
        puts("");
        json_decref(v);
    } else if (!rc) {
        print_summary(&p, folder);
    }
    if (!rc && base_s && !o->json) {
        json_t *a = plan_to_json(&base), *b = plan_to_json(&p);
        plan_compare(a, b, &diff, &e);
        printf("\nfirst: as written; second: what if\n%s", buf_str(&diff));
        json_decref(a);
        json_decref(b);
    }
    if (!rc && p.slo.failed) {
        fprintf(stderr, "tokenworks plan: %d service levels are missed after %d rounds: relax them, add hardware "
                "that is "
                        "faster, or raise the budget\n", p.slo.failed, p.rounds);
        rc = 1;
    }
    buf_release(&diff);
    plan_release(&p);
    plan_release(&base);
    scenario_free(s);
    scenario_free(base_s);
    return rc;
}

static int compare_files(const char *first, const char *second)
{
    struct err e = { 0 };
    struct buf out = { 0 };
    json_t *a = jsonx_parse_file(first, 1 << 28, &e), *b = a ? jsonx_parse_file(second, 1 << 28, &e) : NULL;
    int rc = !b || plan_compare(a, b, &out, &e) ? cmd_fail(&cmd_plan_spec, &e) : 0;
    if (!rc)
        fputs(buf_str(&out), stdout);
    json_decref(a);
    json_decref(b);
    buf_release(&out);
    return rc;
}

static int print_example(const char *name)
{
    const struct plan_data *d = plan_example_find(name);
    if (d) {
        fputs(d->text, stdout);
        return 0;
    }
    fprintf(stderr, "tokenworks plan: no example '%s'; there are:", name);
    for (d = plan_examples; d->name; d++)
        fprintf(stderr, " %s", d->name);
    fprintf(stderr, "\n");
    return 2;
}

static int print_catalogue(void)
{
    for (const struct plan_data *d = plan_catalogue; d->name; d++)
        printf("# ==== %s\n%s\n", d->name, d->text);
    return 0;
}

/* Prints the fit as the `step:` of a scenario, and each point against it. */
static int fit_file(const char *path)
{
    struct err e = { 0 };
    struct step_point *points = mem_new(STEP_POINTS_MAX, sizeof *points);
    struct step_fit fit;
    int count = 0;
    json_t *v = jsonx_parse_file(path, 1 << 26, &e);
    int rc = !v || step_points_read(v, points, &count, &e) || step_fit(points, count, &fit, &e) ? 1 : 0;
    if (rc) {
        if (v)
            err_prefix(&e, "%s", path);
        cmd_fail(&cmd_plan_spec, &e);
    } else {
        const struct step_model *m = &fit.model;
        printf("step: {a: %.6g ms, b: %.6g ms/tok, c: %.6g ms/tok, d: %.6g ns/tok, e: %.6g ns/tok2}\n", m->a, m->b,
               m->c,
               m->d * 1e6, m->e * 1e6);
        printf("# %d points, mean error %.2f %%, worst %.2f %%\n"
               "# prefill batch context sum_pc: ms measured, ms fitted\n",
               count, 100 * fit.mean, 100 * fit.worst);
        for (int i = 0; i < count; i++)
            printf("# %g %g %g %g: %.3f %.3f\n", points[i].prefill, points[i].batch, points[i].context,
                   points[i].sum_pc,
                   points[i].ms, step_ms(m, points[i].prefill, points[i].batch, points[i].context, points[i].sum_pc));
    }
    json_decref(v);
    mem_free(points);
    return rc;
}

static int print_machine(const char *url)
{
    struct buf b = { 0 };
    struct err e = { 0 };
    int rc = plan_machine(url, getenv("TOKENWORKS_API_KEY"), &b, &e) ? cmd_fail(&cmd_plan_spec, &e) : 0;
    fputs(buf_str(&b), stdout);
    buf_release(&b);
    return rc;
}

static int generate(int64_t seed)
{
    struct buf b = { 0 };
    generate_scenario((uint64_t)seed, &generate_full, &b);
    fputs(buf_str(&b), stdout);
    buf_release(&b);
    return 0;
}

int cmd_plan(int argc, char **argv)
{
    int count;
    struct plan_options o = { .gap = 0.005, .seconds = 300, .threads = 2, .simulate = true, .sensitivity = true,
                              .generate = -1 };
    enum opt_result r = opt_parse(&cmd_plan_spec, argc, argv, &o, &count);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (o.example)
        return print_example(o.example);
    if (o.catalogue)
        return print_catalogue();
    if (o.fit)
        return fit_file(o.fit);
    if (o.machine)
        return print_machine(o.machine);
    if (o.generate >= 0)
        return generate(o.generate);
    if (count != (o.compare ? 2 : 1)) {
        fprintf(stderr, "tokenworks plan: give %s (tokenworks plan --help)\n",
                o.compare ? "two plan.json files to compare" : "one scenario file, or --example hospital to get one");
        return 2;
    }
    if (o.compare)
        return compare_files(argv[1], argv[2]);
    signal(SIGINT, on_interrupt);
    return plan_file(&o, argv[1]);
}
