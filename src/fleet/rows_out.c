/* rows_out -- see rows.h: the gateway's end. Rows go out in batches, each with an inbox of its own for the stream's
 * acknowledgements; the mark moves past a batch when all of it is acknowledged, else the batch goes out again. */
#include "fleet/rows_impl.h"

#include "base/assert.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FAREWELL_BATCHES = 16, INBOX_MAX = 256 };

struct rows_out {
    struct rows_end end;
    char *subject, *mark_file, *prefix; /* prefix: of the inbox; NULL: the library's */
    rows_next_fn next;
    void *arg;
    uint64_t mark;
    natsSubscription *acks;
    char inbox[INBOX_MAX];
    uint64_t batch;
};

static enum err_code read_mark(const char *path, uint64_t *out, struct err *e)
{
    struct buf b = { 0 };
    enum err_code c = file_read(path, 64, &b, e);
    if (!c) {
        char *end;
        *out = strtoull(buf_str(&b), &end, 10);
        if (end == b.data || *end != '\n' || b.data[0] < '0' || b.data[0] > '9')
            c = err_set(e, ERR_CORRUPT, "%s does not hold a number; it says how far the ledger's rows were sent", path);
    }
    buf_release(&b);
    return c;
}

static bool write_mark(struct rows_out *r, uint64_t mark)
{
    char text[32];
    struct err e;
    int n = snprintf(text, sizeof text, "%" PRIu64 "\n", mark);
    if (!file_write(r->mark_file, text, (size_t)n, &e)) {
        r->mark = mark;
        return true;
    }
    log_line(LOG_ERROR, "fleet", "%s", e.text);
    return false;
}

static void hang_up(struct rows_out *r)
{
    natsSubscription_Destroy(r->acks);
    r->acks = NULL;
    r->inbox[0] = '\0';
    rows_end_hang_up(&r->end);
}

static natsStatus listen_for_acks(struct rows_out *r)
{
    char subject[INBOX_MAX + 4];
    natsInbox *inbox = NULL;
    natsStatus s = *r->inbox ? NATS_OK : natsInbox_Create(&inbox);
    if (inbox) /* "_INBOX.<unique>", and ours below the prefix that we may hear */
        snprintf(r->inbox, sizeof r->inbox, "%.*s%s", INBOX_MAX - 40, r->prefix ? r->prefix : "_INBOX",
                 strrchr(inbox, '.'));
    natsInbox_Destroy(inbox);
    if (s || r->acks)
        return s;
    snprintf(subject, sizeof subject, "%s.*", r->inbox);
    return natsConnection_SubscribeSync(&r->acks, r->end.nc, subject);
}

static natsStatus send_row(struct rows_out *r, const struct rows_row *row)
{
    char reply[INBOX_MAX + 24];
    natsMsg *m = NULL;
    snprintf(reply, sizeof reply, "%s.%" PRIu64, r->inbox, r->batch);
    natsStatus s = natsMsg_Create(&m, r->subject, reply, buf_str(row->data), (int)row->data->len);
    if (!s)
        s = natsMsgHeader_Set(m, "Nats-Msg-Id", row->id);
    if (!s)
        s = natsConnection_PublishMsg(r->end.nc, m);
    natsMsg_Destroy(m);
    return s;
}

/* 1: stored, or stored before; 2: the same, and it was before; 0: not; -1: of another batch. */
static int read_ack(const struct rows_out *r, natsMsg *m)
{
    const char *dot = strrchr(natsMsg_GetSubject(m), '.');
    if (!dot || strtoull(dot + 1, NULL, 10) != r->batch)
        return -1;
    json_t *v = natsMsg_IsNoResponders(m) ? NULL
              : jsonx_parse(natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m), NULL);
    bool stored = json_is_string(json_object_get(v, "stream")) && !json_object_get(v, "error");
    int ack = stored ? 1 + json_is_true(json_object_get(v, "duplicate")) : 0;
    json_decref(v);
    return ack;
}

/* All of a batch, or NATS' status that says why not. */
static natsStatus await_acks(struct rows_out *r, int count)
{
    int again = 0, got = 0;
    while (got < count) {
        natsMsg *m = NULL;
        natsStatus s = natsSubscription_NextMsg(&m, r->acks, ROWS_WAIT_MS);
        if (s)
            return s;
        int ack = read_ack(r, m);
        bool nobody = natsMsg_IsNoResponders(m);
        natsMsg_Destroy(m);
        if (!ack)
            return nobody ? NATS_NO_RESPONDERS : NATS_ERR;
        got += ack > 0;
        again += ack == 2;
    }
    rows_end_count(&r->end, got, again, 0);
    return NATS_OK;
}

/* Sends what there is, at most a batch. Returns the rows sent, -1 when the stream cannot be reached. */
static int send_batch(struct rows_out *r)
{
    struct buf data = { 0 };
    struct rows_row row = { .data = &data };
    uint64_t at = r->mark;
    natsStatus s = NATS_OK;
    int count = 0;
    r->batch++;
    while (!s && count < ROWS_BATCH && r->next(r->arg, at, &row)) {
        if (!count && (!rows_end_dial(&r->end) || (s = listen_for_acks(r)))) {
            count = -1;
            break;
        }
        ASSERT(data.len <= ROWS_BYTES_MAX && row.at > at);
        s = send_row(r, &row);
        at = row.at;
        count++;
        buf_clear(&data);
    }
    buf_release(&data);
    if (count > 0 && !s)
        s = await_acks(r, count);
    if (count > 0)
        rows_end_reached(&r->end, !s, s);
    if (s || count < 0) {
        rows_end_count(&r->end, 0, 0, 1);
        return -1;
    }
    return !count || write_mark(r, at) ? count : -1;
}

static void *run(void *arg)
{
    struct rows_out *r = arg;
    for (int farewell = 0; farewell < FAREWELL_BATCHES;) {
        bool closing = rows_end_closing(&r->end);
        int n = send_batch(r);
        if (n < 0)
            hang_up(r);
        if (closing && n <= 0)
            break;
        farewell += closing;
        if (n <= 0)
            rows_end_sleep(&r->end, n < 0 ? ROWS_REDIAL_MS : ROWS_LOOK_MS);
    }
    hang_up(r);
    nats_ReleaseThreadMemory();
    return NULL;
}

static void free_out(struct rows_out *r)
{
    mem_free(r->subject);
    mem_free(r->mark_file);
    mem_free(r->prefix);
    mem_free(r);
}

struct rows_out *rows_out_open(const struct bus_options *bus, const char *subject, const char *mark_file,
                               rows_next_fn next, void *arg, struct err *e)
{
    struct rows_out *r = MEM_NEW(struct rows_out);
    *r = (struct rows_out){ .subject = mem_strdup(subject), .mark_file = mem_strdup(mark_file), .next = next,
                            .prefix = bus->inbox ? mem_strdup(bus->inbox) : NULL, .arg = arg };
    bool begun = !access(mark_file, F_OK) || errno != ENOENT;
    if ((begun && read_mark(mark_file, &r->mark, e)) || !rows_end_open(&r->end, "gateway", bus, run, r, e)) {
        free_out(r);
        return NULL;
    }
    return r;
}

void rows_out_wake(struct rows_out *r)
{
    rows_end_wake(&r->end);
}

void rows_out_close(struct rows_out *r)
{
    if (!r)
        return;
    rows_end_close(&r->end);
    free_out(r);
}

struct rows_stats rows_out_stats(struct rows_out *r)
{
    return rows_end_stats(&r->end);
}
