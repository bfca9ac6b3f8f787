/* collect -- tokenworks collect: the bills of a fleet's gateways, gathered into one ledger. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/nats_args.h"
#include "fleet/rows.h"
#include "ledger/carry.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TELL_S = 60 };

struct collect_options {
    struct nats_args nats;
    const char *state, *domain;
    int64_t replicas;
    bool log_json;
};

#define FIELD(name) OPT_FIELD(struct collect_options, name)
static const struct opt rows[] = {
    NATS_ROWS(struct collect_options, nats),
    { "nats-domain", 0, OPT_STRING, "NAME", "the JetStream domain to collect from: the hub's site name", FIELD(domain),
      0, 0 },
    { "replicas", 0, OPT_INT, "N", "copies of stream and limits in a NATS cluster, when they are made (1)",
      FIELD(replicas), 1, 5 },
    { "state", 0, OPT_STRING, "DIR", "whose ledger.db takes the rows; not a running server's", FIELD(state), 0, 0 },
    { "log-json", 0, OPT_FLAG, NULL, "log lines as JSON objects", FIELD(log_json), 0, 0 },
    { 0 },
};

const struct opt_command cmd_collect_spec = {
    "collect", "--nats URL --state DIR", "gather the bills of a fleet's gateways into one ledger",
    "Runs at the home site. Every gateway whose configuration says `nats: { bills: true }` sends the rows of its\n"
    "ledger here, each at least once; a row that is here already changes nothing, so each counts once. What was\n"
    "billed while a gateway, the bus or this program was away comes later, from the gateway's own ledger. It makes\n"
    "the bucket of the limits that gateways keep together (`limits: true`) too, which they may not. Then `tokenworks\n"
    "usage` with the same --state has the whole fleet. NATS needs JetStream (docs/fleet-sites.md, nats-server -js).",
    rows,
};

struct collecting {
    struct carry *carry; /* the rows' thread's */
    bool failing;
};

/* On disk, or refused for good: what is no row would come again for ever. */
static bool take(void *arg, const char *id, const char *data, size_t n)
{
    struct collecting *g = arg;
    struct err e = { .text = "" };
    bool fresh;
    enum err_code c = carry_take(g->carry, data, n, clock_wall_ns() / 1000000, &fresh, &e);
    if (c == ERR_INVALID)
        log_line(LOG_ERROR, "fleet", "row %s is thrown away: %s", id, e.text);
    else if (c && !g->failing)
        log_line(LOG_ERROR, "fleet", "rows wait: %s", e.text);
    g->failing = c && c != ERR_INVALID;
    return !c || c == ERR_INVALID;
}

/* Until SIGTERM or SIGINT; a line a minute when something came. */
static void wait_for_end(struct rows_in *in)
{
    const struct timespec minute = { .tv_sec = TELL_S };
    sigset_t end;
    int64_t told = 0;
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigaddset(&end, SIGINT);
    while (sigtimedwait(&end, NULL, &minute) < 0 && (errno == EAGAIN || errno == EINTR)) {
        struct rows_stats s = rows_in_stats(in);
        if (s.done != told)
            log_line(LOG_INFO, "fleet", "%lld rows, %lld of them told twice", (long long)s.done, (long long)s.again);
        told = s.done;
    }
}

static enum err_code collect(const struct collect_options *o, const char *dir, struct err *e)
{
    struct collecting g = { .carry = NULL };
    struct bus_options bus = nats_bus(&o->nats, "collect");
    bus.domain = o->domain;
    struct rows_in_options in = { .bus = &bus, .subjects = "tw.v1.*.*.rows", .replicas = (int)o->replicas };
    sigset_t end;
    sigemptyset(&end); /* before any thread is started: all of them leave these two to wait_for_end */
    sigaddset(&end, SIGTERM);
    sigaddset(&end, SIGINT);
    pthread_sigmask(SIG_BLOCK, &end, NULL);
    enum err_code c = file_make_dirs(dir, e);
    c = c ? c : carry_open(dir, true, clock_wall_ns() / 1000000, &g.carry, e);
    struct rows_in *r = c ? NULL : rows_in_open(&in, take, &g, e);
    if (r) {
        printf("collecting into %s/ledger.db\n", dir);
        fflush(stdout);
        wait_for_end(r);
        rows_in_close(r);
    }
    carry_close(g.carry);
    return c ? c : r ? ERR_OK : e->code;
}

int cmd_collect(int argc, char **argv)
{
    struct collect_options o = { .nats = NATS_ARGS_DEFAULT, .replicas = 1 };
    struct err e = { 0 };
    int n;
    enum opt_result r = opt_parse(&cmd_collect_spec, argc, argv, &o, &n);
    if (r != OPT_RUN)
        return r == OPT_HELP_SHOWN ? 0 : 2;
    if (n) {
        fprintf(stderr, "tokenworks collect: %s: it takes options only; --help shows them\n", argv[1]);
        return 2;
    }
    log_set(LOG_INFO, o.log_json);
    char *dir = file_state_dir(o.state);
    enum err_code c = collect(&o, dir, &e);
    mem_free(dir);
    return c ? cmd_fail(&cmd_collect_spec, &e) : 0;
}
