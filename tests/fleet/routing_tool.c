/* routing_tool -- what routing by known beginnings is worth: a trace of requests through the router itself, over workers
 * that are simulated. Usage: routing_tool TRACE WORKERS BLOCKS LOAD; bench/fleet_routing.py calls it.
 *
 * The trace: a JSON object a line, {"timestamp": ms, "input_length", "output_length", "hash_ids": [one per 512 tokens]}
 * (the form of Mooncake's). A worker computes one prompt after the other at a fixed rate, skips the beginning that it
 * has in an LRU cache of BLOCKS blocks of 512 tokens, and spends DECODE_COST prompt tokens' time on each token of the
 * answer. LOAD: what all prompts would cost without caches, as a share of what the workers can do in the trace's time.
 * Real are: roster, heartbeats each 250 ms with their delay, route_pick, the prefix table. */
#include "base/log.h"
#include "base/mem.h"
#include "fleet/route.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_TOKENS = 512, LINE_MAX_BYTES = 1 << 20, WORKERS_MAX = 64, SHORT = BLOCK_TOKENS * ROUTE_BYTES_PER_TOKEN };
#define DECODE_COST 4.0

enum policy { RANDOM, LOAD_ONLY, PREFIX_AWARE, POLICIES };

struct request {
    double at_s;
    int64_t input, output;
    uint64_t *chain;              /* [blocks]: identifies the first i + 1 blocks */
    int blocks;
};

struct machine {
    uint64_t *cache;              /* [blocks], longest unused first */
    int cached;
    double free_s;                /* when it has done all it was given */
    struct fleet_place place;
};

static struct request *requests;
static int request_count, worker_count, cache_blocks;
static struct machine machines[WORKERS_MAX];
static double rate;

static uint64_t mix(uint64_t a, uint64_t b)
{
    static const uint8_t key[SIPHASH_KEY_BYTES] = { 0 };
    uint64_t both[2] = { a, b };
    return siphash(key, both, sizeof both);
}

static bool read_trace(const char *path)
{
    FILE *f = fopen(path, "r");
    char *line = mem_new(1, LINE_MAX_BYTES);
    while (f && fgets(line, LINE_MAX_BYTES, f)) {
        json_t *v = jsonx_parse(line, strlen(line), NULL), *ids = json_object_get(v, "hash_ids");
        requests = mem_grow(requests, (size_t)request_count + 1, sizeof *requests);
        struct request *r = &requests[request_count++];
        *r = (struct request){ (double)json_integer_value(json_object_get(v, "timestamp")) / 1e3,
                               json_integer_value(json_object_get(v, "input_length")),
                               json_integer_value(json_object_get(v, "output_length")), NULL,
                               (int)json_array_size(ids) };
        r->chain = mem_new((size_t)r->blocks, sizeof *r->chain);
        for (int i = 0; i < r->blocks; i++)
            r->chain[i] = mix(i ? r->chain[i - 1] : 0, (uint64_t)json_integer_value(json_array_get(ids, (size_t)i)));
        json_decref(v);
    }
    mem_free(line);
    if (f)
        fclose(f);
    return request_count > 1;
}

/* ---- a worker's cache: a list, moved along; small enough for that */

static bool touch(struct machine *m, uint64_t key)
{
    for (int i = m->cached - 1; i >= 0; i--)
        if (m->cache[i] == key) {
            memmove(&m->cache[i], &m->cache[i + 1], (size_t)(m->cached - 1 - i) * sizeof key);
            m->cache[m->cached - 1] = key;
            return true;
        }
    return false;
}

static void insert(struct machine *m, uint64_t key)
{
    if (m->cached == cache_blocks)
        memmove(m->cache, m->cache + 1, (size_t)--m->cached * sizeof key);
    m->cache[m->cached++] = key;
}

/* How many tokens of its beginning are there; all of it is afterwards. The tail goes first when room is needed. */
static int64_t compute(struct machine *m, const struct request *r)
{
    int hit = 0;
    while (hit < r->blocks && touch(m, r->chain[hit]))
        hit++;
    for (int i = hit; i < r->blocks; i++)
        insert(m, r->chain[i]);
    for (int i = r->blocks - 1; i >= 0; i--)
        touch(m, r->chain[i]);
    int64_t tokens = (int64_t)hit * BLOCK_TOKENS;
    return tokens < r->input ? tokens : r->input;
}

/* ---- the fleet */

static void beat(struct roster *ros, struct prefixes *known, const struct machine *m, double now_s)
{
    struct heartbeat_model b = { .id = "m", .kv_pages = cache_blocks, .kv_pages_free = cache_blocks,
                                 .tokens_per_s = rate, .steps = 1 };
    struct heartbeat h = { .boot = 1, .models = &b, .model_count = 1 };
    struct buf out = { 0 };
    b.prefill_backlog = m->free_s > now_s ? (int64_t)((m->free_s - now_s) * rate) : 0;
    heartbeat_write(&h, &out);
    if (!roster_beat(ros, &m->place, out.data, out.len, (int64_t)(now_s * 1e3) + 1, NULL))
        route_learn(known, roster_by_place(ros, &m->place));
    buf_release(&out);
}

/* A beginning that ends within a block is there when the whole block is. */
static void name_beginnings(struct fleet_ask *ask, const struct request *r)
{
    for (int i = 0; i < FLEET_PREFIX_MAX; i++) {
        int64_t bytes = route_prefix_bytes(i), block = (bytes + SHORT - 1) / SHORT;
        if (block > r->blocks)
            break;
        ask->prefix[ask->prefix_count++] = mix(r->chain[block - 1], (uint64_t)bytes);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static struct machine *choose(struct roster *ros, struct prefixes *known, struct rng *dice, enum policy p,
                              const struct request *r)
{
    struct fleet_ask ask = { .model = "m", .prompt_bytes = r->input * ROUTE_BYTES_PER_TOKEN };
    struct route_pick pick;
    int retry_s;
    if (p == PREFIX_AWARE)
        name_beginnings(&ask, r);
    struct route_query q = { .ask = &ask, .home = "eu", .numerics = "",
                             .policy = p == RANDOM ? ROUTE_RANDOM : ROUTE_BEST };
    if (route_pick(ros, known, &q, dice, &pick, &retry_s, NULL))
        return NULL;
    route_sent(known, &ask, &pick);
    return &machines[strtol(pick.worker->place.name + 1, NULL, 10)];
}

static void run(enum policy p)
{
    static const char *const names[] = { "random", "load only", "prefix-aware" };
    struct roster *ros = roster_new(NULL, NULL);
    struct prefixes *known = prefixes_new(PREFIXES_SETS);
    struct rng dice = { 1, 0 };
    double *ttft = mem_new((size_t)request_count, sizeof *ttft), next_beat = 0, sum = 0;
    int64_t hit = 0, all = 0, refused = 0;
    for (int i = 0; i < worker_count; i++) {
        machines[i].cached = 0;
        machines[i].free_s = 0;
    }
    for (int i = 0; i < request_count; i++) {
        const struct request *r = &requests[i];
        for (; next_beat <= r->at_s; next_beat += HEARTBEAT_MS / 1e3)
            for (int k = 0; k < worker_count; k++)
                beat(ros, known, &machines[k], next_beat);
        struct machine *m = choose(ros, known, &dice, p, r);
        if (!m) {
            refused++;
            continue;
        }
        int64_t had = compute(m, r);
        double start = m->free_s > r->at_s ? m->free_s : r->at_s, prompt_s = (double)(r->input - had) / rate;
        m->free_s = start + prompt_s + DECODE_COST * (double)r->output / rate;
        ttft[i] = start - r->at_s + prompt_s;
        sum += ttft[i];
        hit += had;
        all += r->input;
    }
    qsort(ttft, (size_t)request_count, sizeof *ttft, by_value);
    printf("%-13s %5.1f %% %8.2f %8.2f %8.2f %8.2f s%s\n", names[p], 100.0 * (double)hit / (double)all,
           sum / request_count, ttft[request_count / 2], ttft[request_count * 9 / 10], ttft[request_count * 99 / 100],
           refused ? " (some refused)" : "");
    mem_free(ttft);
    prefixes_free(known);
    roster_free(ros);
}

int main(int argc, char **argv)
{
    log_set(LOG_ERROR, false);
    if (argc != 5 || !read_trace(argv[1])) {
        fprintf(stderr, "usage: routing_tool TRACE WORKERS BLOCKS LOAD\n");
        return 2;
    }
    worker_count = (int)strtol(argv[2], NULL, 10);
    cache_blocks = (int)strtol(argv[3], NULL, 10);
    double tokens = 0, load = strtod(argv[4], NULL);
    if (worker_count < 1 || worker_count > WORKERS_MAX || cache_blocks < 1 || load <= 0)
        return 2;
    for (int i = 0; i < request_count; i++)
        tokens += (double)requests[i].input + DECODE_COST * (double)requests[i].output;
    rate = tokens / requests[request_count - 1].at_s / worker_count / load;
    for (int i = 0; i < worker_count; i++) {
        machines[i].cache = mem_new((size_t)cache_blocks, sizeof(uint64_t));
        machines[i].place = (struct fleet_place){ "eu", "north", "" };
        snprintf(machines[i].place.name, sizeof machines[i].place.name, "w%d", i);
    }
    printf("# %d requests, %d workers of %.0f tokens/s with %d blocks of %d tokens, load %.2f without caches\n"
           "# policy          hit     TTFT mean     p50      p90      p99\n", request_count, worker_count, rate,
           cache_blocks, BLOCK_TOKENS, load);
    for (enum policy p = RANDOM; p < POLICIES; p++)
        run(p);
    for (int i = 0; i < worker_count; i++)
        mem_free(machines[i].cache);
    for (int i = 0; i < request_count; i++)
        mem_free(requests[i].chain);
    mem_free(requests);
    return 0;
}
