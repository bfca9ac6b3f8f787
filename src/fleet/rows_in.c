/* rows_in -- see rows.h: the home site's end. It makes the stream when it is not there (kept until taken, on disk),
 * and the bucket of the limits that gateways keep together: who collects may make things there, gateways may not. */
#include "fleet/lease_bucket.h"
#include "fleet/rows_impl.h"

#include "base/log.h"
#include "base/mem.h"

#include <string.h>

enum { FETCH_MS = 500, AGAIN_MS = 1000, ACK_WAIT_S = 30, DUPLICATES_S = 600 };

struct rows_in {
    struct rows_end end;
    char *subjects, *domain;      /* domain NULL: the server's own */
    int replicas;
    rows_take_fn take;
    void *arg;
    jsCtx *js;
    natsSubscription *sub;
};

static natsStatus make_stream(struct rows_in *r)
{
    jsStreamInfo *info = NULL;
    jsStreamConfig c;
    jsErrCode code = 0;
    const char *subjects[] = { r->subjects };
    natsStatus s = js_GetStreamInfo(&info, r->js, ROWS_STREAM, NULL, &code);
    if (s == NATS_NOT_FOUND) {
        jsStreamConfig_Init(&c);
        c.Name = ROWS_STREAM;
        c.Subjects = subjects;
        c.SubjectsLen = 1;
        c.Retention = js_WorkQueuePolicy;
        c.Storage = js_FileStorage;
        c.Replicas = r->replicas;
        c.MaxMsgSize = ROWS_BYTES_MAX;
        c.Duplicates = (int64_t)DUPLICATES_S * 1000000000;
        s = js_AddStream(&info, r->js, &c, NULL, &code);
    }
    jsStreamInfo_Destroy(info);
    return s;
}

static natsStatus subscribe(struct rows_in *r)
{
    jsOptions jo;
    jsSubOptions so;
    jsErrCode code = 0;
    if (r->sub)
        return NATS_OK;
    jsOptions_Init(&jo);
    jo.Wait = ROWS_WAIT_MS;
    jo.Domain = r->domain;
    natsStatus s = r->js ? NATS_OK : natsConnection_JetStream(&r->js, r->end.nc, &jo);
    if (!s)
        s = make_stream(r);
    if (!s)
        s = lease_bucket_need(r->js, NULL, r->replicas); /* gateways may not make it: see packaging/nats */
    if (s)
        return s;
    jsSubOptions_Init(&so);
    so.Stream = ROWS_STREAM;
    so.ManualAck = true;
    so.Config.AckPolicy = js_AckExplicit;
    so.Config.AckWait = (int64_t)ACK_WAIT_S * 1000000000;
    so.Config.MaxDeliver = -1;
    return js_PullSubscribe(&r->sub, r->js, r->subjects, ROWS_DURABLE, NULL, &so, &code);
}

static void hang_up(struct rows_in *r)
{
    natsSubscription_Destroy(r->sub);
    jsCtx_Destroy(r->js);
    r->sub = NULL;
    r->js = NULL;
    rows_end_hang_up(&r->end);
}

static void take_one(struct rows_in *r, natsMsg *m)
{
    const char *id = NULL, *data = natsMsg_GetData(m);
    size_t n = (size_t)natsMsg_GetDataLength(m);
    if (natsMsgHeader_Get(m, "Nats-Msg-Id", &id) || !*id || strlen(id) > ROWS_ID_MAX || n > ROWS_BYTES_MAX) {
        log_line(LOG_ERROR, "fleet", "a row came on %s without an id, or too long: it is left out",
                 natsMsg_GetSubject(m));
        natsMsg_Term(m, NULL);
        rows_end_count(&r->end, 0, 0, 1);
    } else if (r->take(r->arg, id, data, n)) {
        natsMsg_Ack(m, NULL); /* lost: it comes again, and is there */
        rows_end_count(&r->end, 1, 0, 0);
    } else {
        natsMsg_NakWithDelay(m, AGAIN_MS, NULL);
        rows_end_count(&r->end, 0, 1, 0);
    }
}

static natsStatus fetch(struct rows_in *r)
{
    natsMsgList list = { 0 };
    jsErrCode code = 0;
    natsStatus s = natsSubscription_Fetch(&list, r->sub, ROWS_BATCH, FETCH_MS, &code);
    for (int i = 0; !s && i < list.Count; i++)
        take_one(r, list.Msgs[i]);
    natsMsgList_Destroy(&list);
    return s == NATS_TIMEOUT || s == NATS_NOT_FOUND ? NATS_OK : s;
}

static void *run(void *arg)
{
    struct rows_in *r = arg;
    while (!rows_end_closing(&r->end)) {
        natsStatus s = NATS_NO_SERVER;
        if (rows_end_dial(&r->end)) {
            s = subscribe(r);
            rows_end_reached(&r->end, !s, s);
        }
        while (!s && !rows_end_closing(&r->end))
            s = natsConnection_IsClosed(r->end.nc) ? NATS_CONNECTION_CLOSED : fetch(r);
        if (!s)
            break;
        rows_end_reached(&r->end, false, s);
        hang_up(r);
        rows_end_sleep(&r->end, ROWS_REDIAL_MS);
    }
    if (r->end.nc)
        natsConnection_FlushTimeout(r->end.nc, ROWS_REDIAL_MS); /* the last acknowledgements */
    hang_up(r);
    nats_ReleaseThreadMemory();
    return NULL;
}

static void free_in(struct rows_in *r)
{
    mem_free(r->subjects);
    mem_free(r->domain);
    mem_free(r);
}

struct rows_in *rows_in_open(const struct rows_in_options *o, rows_take_fn take, void *arg, struct err *e)
{
    struct rows_in *r = MEM_NEW(struct rows_in);
    *r = (struct rows_in){ .subjects = mem_strdup(o->subjects), .replicas = o->replicas > 0 ? o->replicas : 1,
                           .domain = o->bus->domain ? mem_strdup(o->bus->domain) : NULL, .take = take, .arg = arg };
    if (rows_end_open(&r->end, "home", o->bus, run, r, e))
        return r;
    free_in(r);
    return NULL;
}

void rows_in_close(struct rows_in *r)
{
    if (!r)
        return;
    rows_end_close(&r->end);
    free_in(r);
}

struct rows_stats rows_in_stats(struct rows_in *r)
{
    return rows_end_stats(&r->end);
}
