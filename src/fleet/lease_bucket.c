/* lease_bucket -- see lease_bucket.h. */
#include "fleet/lease_bucket.h"

natsStatus lease_bucket_need(jsCtx *js, const char *name, int replicas)
{
    kvStore *kv = NULL;
    kvConfig c;
    const char *bucket = name ? name : LEASE_BUCKET;
    natsStatus s = js_KeyValue(&kv, js, bucket);
    if (s == NATS_NOT_FOUND) {
        kvConfig_Init(&c);
        c.Bucket = bucket;
        c.History = 1;
        c.Replicas = replicas > 0 ? replicas : 1;
        s = js_CreateKeyValue(&kv, js, &c);
    }
    kvStore_Destroy(kv);
    return s;
}
