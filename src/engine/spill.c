/* spill -- see spill.h. */
#include "engine/spill.h"

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sha256.h"
#include "trust/code.h"
#include "trust/sealbox.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    HEAD_BYTES = KV_CHAIN_BYTES + 8, /* chain, stamp */
    SLOTS_MAX = 1 << 22,
    SAMPLE_BYTES = 64 * 1024,
    SAMPLES = 64,                    /* of the model file, evenly over it, beside its header */
    HEADER_SAMPLE = 1 << 20,
    NONE = -1,
};

struct spill {
    int fd;
    uint8_t key[SEALBOX_KEY];
    uint8_t model[SHA256_BYTES], build[SHA256_BYTES], id[SHA256_BYTES];
    int64_t bytes;
    size_t page_bytes, slot_bytes;
    int slots, next;                 /* the next to be written */
    uint64_t stamp;                  /* of the newest; 0 in a slot: empty */
    uint8_t (*chains)[KV_CHAIN_BYTES]; /* [slots], what each holds */
    bool *used;                      /* [slots] */
    int *buckets, *links;            /* hash of chain -> slot -> next slot */
    int bucket_mask;
    uint8_t *slot;                   /* one slot's bytes: the step path allocates nothing */
    struct spill_stats stats;
};

/* ---- what the pages belong to */

static void hash_part(struct sha256 *h, int fd, int64_t at, size_t n, uint8_t *buffer)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, buffer, n - done < SAMPLE_BYTES ? n - done : SAMPLE_BYTES, at + (int64_t)done);
        if (got <= 0)
            return;
        sha256_update(h, buffer, (size_t)got);
        done += (size_t)got;
    }
}

/* Header, size, time and samples: reading all of a large file would cost more than it saves. */
static void hash_model(int fd, uint8_t out[SHA256_BYTES])
{
    struct stat st = { .st_size = 0 };
    struct sha256 h;
    uint8_t *buffer = mem_new(1, SAMPLE_BYTES);
    sha256_init(&h);
    fstat(fd, &st);
    int64_t facts[3] = { st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec };
    sha256_update(&h, facts, sizeof facts);
    hash_part(&h, fd, 0, HEADER_SAMPLE, buffer);
    for (int64_t i = 1; i <= SAMPLES && st.st_size > SAMPLE_BYTES; i++)
        hash_part(&h, fd, (st.st_size - SAMPLE_BYTES) / SAMPLES * i, SAMPLE_BYTES, buffer);
    sha256_final(&h, out);
    mem_free(buffer);
}

static void make_id(struct spill *s, const char *isa, const char *kv_type)
{
    struct sha256 h;
    uint64_t page = s->page_bytes;
    sha256_init(&h);
    sha256_update(&h, "tokenworks/kv-spill/v1", 23);
    sha256_update(&h, s->key, sizeof s->key);
    sha256_update(&h, s->build, sizeof s->build);
    sha256_update(&h, s->model, sizeof s->model);
    sha256_update(&h, isa, strlen(isa) + 1);
    sha256_update(&h, kv_type, strlen(kv_type) + 1);
    sha256_update(&h, &page, sizeof page);
    sha256_final(&h, s->id);
}

struct spill *spill_new(const json_t *hello, int fd, int model_fd)
{
    const char *key = json_string_value(json_object_get(hello, "key"));
    const char *build = json_string_value(json_object_get(hello, "build"));
    struct spill *s = MEM_NEW(struct spill);
    s->fd = fd;
    s->bytes = json_integer_value(json_object_get(hello, "bytes"));
    if (!key || !build || !code_unhex(s->key, sizeof s->key, span_of(key)) ||
        !code_unhex(s->build, sizeof s->build, span_of(build))) {
        spill_free(s);
        return NULL;
    }
    hash_model(model_fd, s->model);
    return s;
}

void spill_free(struct spill *s)
{
    if (!s)
        return;
    close(s->fd);
    mem_wipe(s->key, sizeof s->key);
    mem_free(s->chains);
    mem_free(s->used);
    mem_free(s->buckets);
    mem_free(s->links);
    mem_free(s->slot);
    mem_free(s);
}

uint64_t spill_salt(const struct spill *s)
{
    struct sha256 h;
    uint8_t out[SHA256_BYTES];
    uint64_t salt;
    sha256_init(&h);
    sha256_update(&h, "tokenworks/kv-space/v1", 23);
    sha256_update(&h, s->key, sizeof s->key);
    sha256_final(&h, out);
    memcpy(&salt, out, sizeof salt);
    return salt;
}

const struct spill_stats *spill_stats(const struct spill *s)
{
    return &s->stats;
}

/* ---- the index */

static int *bucket_of(const struct spill *s, const uint8_t *chain)
{
    uint32_t h;
    memcpy(&h, chain, sizeof h); /* a hash already */
    return &s->buckets[h & (uint32_t)s->bucket_mask];
}

static int find(const struct spill *s, const uint8_t *chain)
{
    int at = *bucket_of(s, chain);
    while (at != NONE && memcmp(s->chains[at], chain, KV_CHAIN_BYTES))
        at = s->links[at];
    return at;
}

static void forget(struct spill *s, int slot)
{
    if (!s->used[slot])
        return;
    int *at = bucket_of(s, s->chains[slot]);
    while (*at != slot)
        at = &s->links[*at];
    *at = s->links[slot];
    s->used[slot] = false;
}

static void remember(struct spill *s, int slot, const uint8_t *chain)
{
    int *bucket = bucket_of(s, chain);
    memcpy(s->chains[slot], chain, KV_CHAIN_BYTES);
    s->links[slot] = *bucket;
    *bucket = slot;
    s->used[slot] = true;
}

static int64_t offset_of(const struct spill *s, int slot)
{
    return (int64_t)slot * (int64_t)s->slot_bytes;
}

/* The slots' heads say what is there; whether it is true shows when it is opened. */
static void read_heads(struct spill *s)
{
    uint8_t head[HEAD_BYTES];
    uint64_t stamp;
    for (int i = 0; i < s->slots; i++) {
        if (pread(s->fd, head, sizeof head, offset_of(s, i)) != (ssize_t)sizeof head)
            return;
        memcpy(&stamp, head + KV_CHAIN_BYTES, sizeof stamp);
        if (!stamp || stamp == UINT64_MAX || find(s, head) != NONE)
            continue;
        remember(s, i, head);
        if (stamp > s->stamp) {
            s->stamp = stamp;
            s->next = (i + 1) % s->slots;
        }
    }
}

/* ---- pages */

/* id, chain, stamp: what a page is sealed under. */
static void make_name(const struct spill *s, const uint8_t *head, uint8_t name[SHA256_BYTES + HEAD_BYTES])
{
    memcpy(name, s->id, SHA256_BYTES);
    memcpy(name + SHA256_BYTES, head, HEAD_BYTES);
}

static bool save(void *arg, const uint8_t chain[KV_CHAIN_BYTES], const void *page)
{
    struct spill *s = arg;
    uint8_t name[SHA256_BYTES + HEAD_BYTES];
    if (find(s, chain) != NONE)
        return true;
    int slot = s->next;
    s->next = (s->next + 1) % s->slots;
    s->stamp++;
    forget(s, slot);
    memcpy(s->slot, chain, KV_CHAIN_BYTES);
    memcpy(s->slot + KV_CHAIN_BYTES, &s->stamp, sizeof s->stamp);
    make_name(s, s->slot, name);
    sealbox_seal(s->key, name, sizeof name, page, s->page_bytes, s->slot + HEAD_BYTES);
    if (pwrite(s->fd, s->slot, s->slot_bytes, offset_of(s, slot)) != (ssize_t)s->slot_bytes)
        return false; /* a full disk: this page is not kept */
    remember(s, slot, chain);
    s->stats.saved++;
    return true;
}

static bool load(void *arg, const uint8_t chain[KV_CHAIN_BYTES], void *page)
{
    struct spill *s = arg;
    uint8_t name[SHA256_BYTES + HEAD_BYTES];
    int slot = find(s, chain);
    if (slot == NONE)
        return false;
    bool whole = pread(s->fd, s->slot, s->slot_bytes, offset_of(s, slot)) == (ssize_t)s->slot_bytes &&
                 !memcmp(s->slot, chain, KV_CHAIN_BYTES);
    make_name(s, s->slot, name);
    if (whole && sealbox_open(s->key, name, sizeof name, s->slot + HEAD_BYTES, s->page_bytes, page)) {
        s->stats.loaded++;
        return true;
    }
    forget(s, slot);
    s->stats.damaged++;
    return false;
}

void spill_attach(struct spill *s, struct kv_pool *kv, size_t page_bytes, const char *isa, const char *kv_type)
{
    ASSERT(!s->slot);
    s->page_bytes = page_bytes;
    s->slot_bytes = (HEAD_BYTES + page_bytes + SEALBOX_EXTRA + 511) / 512 * 512;
    int64_t slots = s->bytes / (int64_t)s->slot_bytes;
    s->slots = slots < SLOTS_MAX ? (int)slots : SLOTS_MAX;
    if (s->slots < 1) {
        log_line(LOG_WARN, "engine", "--kv-spill holds no page of this model (%zu bytes): nothing is kept",
                 s->slot_bytes);
        return;
    }
    int buckets = 64;
    while (buckets < s->slots)
        buckets *= 2;
    s->bucket_mask = buckets - 1;
    s->chains = mem_new((size_t)s->slots, sizeof *s->chains);
    s->used = mem_new((size_t)s->slots, sizeof *s->used);
    s->links = mem_new((size_t)s->slots, sizeof *s->links);
    s->buckets = mem_new((size_t)buckets, sizeof *s->buckets);
    memset(s->buckets, 0xff, (size_t)buckets * sizeof *s->buckets); /* NONE */
    s->slot = mem_new(1, s->slot_bytes);
    make_id(s, isa, kv_type);
    if (ftruncate(s->fd, offset_of(s, s->slots))) /* sparse: as large as it may become */
        log_line(LOG_WARN, "engine", "the spill file cannot have its size; what fits is kept");
    read_heads(s);
    kv_set_spill(kv, &(struct kv_spill){ .save = save, .load = load, .arg = s }, s->id);
}
