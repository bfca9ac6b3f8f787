/* fleet_bills -- see fleet_bills.h. */
#include "front/fleet_bills.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "ledger/carry.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { MARK_BYTES_MAX = 64 };

struct fleet_bills {
    struct rows_out *out;
    struct carry *carry;   /* the rows' thread's; NULL: there is no ledger yet */
    char *dir;
    bool said;             /* what keeps it from being read */
    atomic_llong waiting;  /* rows not sent yet, or nearly so; relaxed: a figure */
};

static bool next(void *arg, uint64_t after, struct rows_row *row)
{
    struct fleet_bills *b = arg;
    struct err e = { .text = "" };
    uint64_t last = after;
    _Static_assert((int)ROWS_ID_MAX >= (int)LEDGER_REQUEST_ID_MAX, "a row's id is its request's");
    enum err_code c = b->carry ? ERR_OK : carry_open(b->dir, false, clock_wall_ns() / 1000000, &b->carry, &e);
    c = c ? c : carry_last(b->carry, &last, &e);
    atomic_store_explicit(&b->waiting, last > after ? (long long)(last - after) : 0, memory_order_relaxed);
    c = c ? c : carry_next(b->carry, after, &row->at, row->id, row->data, &e);
    if (c && c != ERR_NOT_FOUND && !b->said)
        log_line(LOG_ERROR, "fleet", "bills are not sent on: %s", e.text);
    b->said = c && c != ERR_NOT_FOUND;
    return !c;
}

/* There is one from the start, so that nobody deletes rows that were not sent (ledger/erased.h). */
static enum err_code check_mark(const char *dir, const char *path, struct err *e)
{
    struct buf text = { 0 };
    struct carry *c = NULL;
    uint64_t last = 0;
    bool there = !access(path, F_OK);
    enum err_code code = there ? file_read(path, MARK_BYTES_MAX, &text, e) : file_write(path, "0\n", 2, e);
    if (!code && there && !carry_open(dir, false, clock_wall_ns() / 1000000, &c, NULL) && !carry_last(c, &last, NULL) &&
        strtoull(buf_str(&text), NULL, 10) > last) {
        log_line(LOG_WARN, "fleet", "the ledger ends before what was sent of it: it is another one, and all its rows "
                 "are sent again");
        code = file_write(path, "0\n", 2, e);
    }
    carry_close(c);
    buf_release(&text);
    return code;
}

enum err_code fleet_bills_open(const struct bus_options *bus, const struct fleet_place *me, const char *dir,
                               struct fleet_bills **out, struct err *e)
{
    char subject[FLEET_SUBJECT_MAX];
    struct buf mark = { 0 };
    struct fleet_bills *b = MEM_NEW(struct fleet_bills);
    b->dir = mem_strdup(dir);
    snprintf(subject, sizeof subject, "tw.v1.%s.%s.rows", me->jurisdiction, me->site);
    buf_printf(&mark, "%s/" CARRY_MARK_FILE, dir);
    if (check_mark(dir, buf_str(&mark), e)) {
        buf_release(&mark);
        fleet_bills_close(b);
        return e->code;
    }
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
    return json_pack("{s:I, s:I, s:I, s:I, s:b}", "sent", (json_int_t)s.done, "again", (json_int_t)s.again, "failed",
                     (json_int_t)s.failed, "waiting", (json_int_t)atomic_load_explicit(&b->waiting,
                     memory_order_relaxed), "reached", s.reached || !s.failed);
}
