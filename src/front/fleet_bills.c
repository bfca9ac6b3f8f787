/* fleet_bills -- see fleet_bills.h. */
#include "front/fleet_bills.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "ledger/carry.h"

#include <stdio.h>

struct fleet_bills {
    struct rows_out *out;
    struct carry *carry;   /* the rows' thread's; NULL: there is no ledger yet */
    char *dir;
    bool said;             /* what keeps it from being read */
};

static bool next(void *arg, uint64_t after, struct rows_row *row)
{
    struct fleet_bills *b = arg;
    struct err e = { .text = "" };
    _Static_assert((int)ROWS_ID_MAX >= (int)LEDGER_REQUEST_ID_MAX, "a row's id is its request's");
    enum err_code c = b->carry ? ERR_OK : carry_open(b->dir, false, clock_wall_ns() / 1000000, &b->carry, &e);
    c = c ? c : carry_next(b->carry, after, &row->at, row->id, row->data, &e);
    if (c && c != ERR_NOT_FOUND && !b->said)
        log_line(LOG_ERROR, "fleet", "bills are not sent on: %s", e.text);
    b->said = c && c != ERR_NOT_FOUND;
    return !c;
}

enum err_code fleet_bills_open(const struct bus_options *bus, const struct fleet_place *me, const char *dir,
                               struct fleet_bills **out, struct err *e)
{
    char subject[FLEET_SUBJECT_MAX];
    struct buf mark = { 0 };
    struct fleet_bills *b = MEM_NEW(struct fleet_bills);
    b->dir = mem_strdup(dir);
    snprintf(subject, sizeof subject, "tw.v1.%s.%s.rows", me->jurisdiction, me->site);
    buf_printf(&mark, "%s/fleet-bills.mark", dir);
    b->out = rows_out_open(bus, subject, buf_str(&mark), next, b, e);
    buf_release(&mark);
    if (!b->out) {
        fleet_bills_close(b);
        return e->code;
    }
    *out = b;
    return ERR_OK;
}

void fleet_bills_close(struct fleet_bills *b)
{
    if (!b)
        return;
    if (b->out)
        rows_out_close(b->out);
    carry_close(b->carry);
    mem_free(b->dir);
    mem_free(b);
}

json_t *fleet_bills_state(struct fleet_bills *b)
{
    struct rows_stats s = rows_out_stats(b->out);
    return json_pack("{s:I, s:I, s:I, s:b}", "sent", (json_int_t)s.done, "again", (json_int_t)s.again, "failed",
                     (json_int_t)s.failed, "reached", s.reached);
}
