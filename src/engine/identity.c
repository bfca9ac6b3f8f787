/* identity -- see identity.h. */
#include "engine/identity.h"

#include "base/mem.h"
#include "trust/modelsig.h"
#include "trust/numerics.h"

#include <pthread.h>
#include <string.h>

struct identity {
    int fd;
    bool expected;                /* a model note names the hash */
    uint8_t build[HASH_BYTES], want[HASH_BYTES], have[HASH_BYTES], numerics[HASH_BYTES];
    pthread_t thread;
    bool running;
    enum err_code code;           /* the thread's until it is joined */
    struct err error;
};

static void *hash_file(void *arg)
{
    struct identity *d = arg;
    d->code = modelsig_hash_fd(d->fd, d->have, &d->error);
    return NULL;
}

enum err_code identity_begin(const json_t *asked, int fd, struct identity **out, struct err *e)
{
    const char *want = json_string_value(json_object_get(asked, "sha256"));
    const char *build = json_string_value(json_object_get(asked, "build"));
    *out = NULL;
    if (!asked)
        return ERR_OK;
    struct identity *d = MEM_NEW(struct identity);
    d->fd = fd;
    d->expected = want != NULL;
    if (!build || !code_unhex(d->build, HASH_BYTES, span_of(build)) ||
        (want && !code_unhex(d->want, HASH_BYTES, span_of(want)))) {
        mem_free(d);
        return err_set(e, ERR_INVALID, "the hello asks for an identity and lacks a hash");
    }
    d->running = !pthread_create(&d->thread, NULL, hash_file, d);
    if (!d->running)
        hash_file(d);
    *out = d;
    return ERR_OK;
}

enum err_code identity_check(struct identity *d, const char *isa, const char *kv_type, struct err *e)
{
    if (!d)
        return ERR_OK;
    if (d->running)
        pthread_join(d->thread, NULL);
    d->running = false;
    if (d->code) {
        *e = d->error;
        return d->code;
    }
    if (d->expected && !code_same(d->want, d->have, HASH_BYTES))
        return err_set(e, ERR_DENIED, "these are not the weights that were signed: the file was changed or swapped");
    numerics_id(d->build, isa, kv_type, d->have, d->numerics);
    return ERR_OK;
}

const uint8_t *identity_numerics(const struct identity *d)
{
    return d->numerics;
}

const uint8_t *identity_hash(const struct identity *d)
{
    return d->have;
}

void identity_free(struct identity *d)
{
    if (d && d->running)
        pthread_join(d->thread, NULL);
    mem_free(d);
}
