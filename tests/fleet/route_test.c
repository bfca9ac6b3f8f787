/* route_test -- who may and who is soonest, prefixes, overload, residency. */
#include "../test.h"
#include "base/log.h"
#include "base/mem.h"
#include "fleet/route.h"

static struct roster *roster;
static struct prefixes *known;
static struct rng dice = { 42, 0 };
static int64_t now = 1000;

struct says {
    const char *name, *jurisdiction, *numerics, *id;
    int64_t waiting, backlog, pages_free;
    double rate;
    bool draining, outside;
    uint64_t prefix;
};

static struct roster_worker *add(struct says s)
{
    struct heartbeat_model m = { .waiting = s.waiting, .prefill_backlog = s.backlog, .kv_pages = 100,
                                 .kv_pages_free = s.pages_free ? s.pages_free : 100, .tokens_per_s = s.rate,
                                 .prefixes = { s.prefix }, .prefix_count = s.prefix != 0, .outside = s.outside };
    struct heartbeat h = { .boot = 1, .draining = s.draining, .models = &m, .model_count = 1 };
    struct fleet_place p = { "eu", "north", "" };
    struct buf b = { 0 };
    struct err e = { .text = "" };
    snprintf(m.id, sizeof m.id, "%s", s.id ? s.id : "m");
    snprintf(m.numerics, sizeof m.numerics, "%s", s.numerics ? s.numerics : "");
    snprintf(p.name, sizeof p.name, "%s", s.name);
    if (s.jurisdiction)
        snprintf(p.jurisdiction, sizeof p.jurisdiction, "%s", s.jurisdiction);
    heartbeat_write(&h, &b);
    CHECK(!roster_beat(roster, &p, b.data, b.len, now, &e));
    buf_release(&b);
    struct roster_worker *w = roster_by_place(roster, &p);
    route_learn(known, w);
    return w;
}

static void begin(void)
{
    roster_free(roster);
    prefixes_free(known);
    roster = roster_new(NULL, NULL);
    known = prefixes_new(256);
}

static enum err_code code;
static int retry_s;
static char text[ERR_TEXT_MAX];

/* The name of who is picked; "" and code, text. */
static const char *picked(struct route_query q)
{
    struct route_pick p;
    struct err e = { .text = "" };
    if (!q.home)
        q.home = "eu";
    if (!q.numerics)
        q.numerics = "";
    code = route_pick(roster, known, &q, &dice, &p, &retry_s, &e);
    snprintf(text, sizeof text, "%s", e.text);
    return code ? "" : p.worker->place.name;
}

static void policy(void)
{
    begin();
    struct fleet_ask ask = { .model = "m" };
    CHECK_STR(picked((struct route_query){ .ask = &ask }), "");
    CHECK_INT(code, ERR_NOT_FOUND);
    uint32_t us = add((struct says){ .name = "us", .jurisdiction = "us" })->serial;
    CHECK_STR(picked((struct route_query){ .ask = &ask }), "");
    CHECK_INT(code, ERR_DENIED);
    CHECK_STR(picked((struct route_query){ .ask = &ask, .home = "us" }), "us");
    struct fleet_ask two = { .model = "m", .jurisdictions = { "eu", "us" }, .jurisdiction_count = 2 };
    CHECK_STR(picked((struct route_query){ .ask = &two }), "us");
    add((struct says){ .name = "other", .id = "n" });
    CHECK_STR(picked((struct route_query){ .ask = &ask }), "");
    add((struct says){ .name = "drains", .draining = true });
    CHECK_STR(picked((struct route_query){ .ask = &ask }), "");
    CHECK_INT(code, ERR_BUSY);
    CHECK_STR(picked((struct route_query){ .ask = &two, .excluded = { us }, .excluded_count = 1 }), "");
    CHECK_INT(code, ERR_BUSY);
}

/* With evidence: the sites that are named, the weights that were signed. */
static void places_and_weights(void)
{
    static const char signed_hash[] = "4444444444444444444444444444444444444444444444444444444444444444";
    json_t *places = json_pack("[s, s]", "eu/south", "us/north");
    struct fleet_ask ask = { .model = "m", .jurisdictions = { "eu", "us" }, .jurisdiction_count = 2, .places = places };
    begin();
    add((struct says){ .name = "here" });
    CHECK_STR(picked((struct route_query){ .ask = &ask }), ""); /* eu/north is not among them */
    CHECK_INT(code, ERR_DENIED);
    struct roster_worker *w = add((struct says){ .name = "there", .jurisdiction = "us", .backlog = 100000 });
    for (int i = 0; i < 20; i++)
        CHECK_STR(picked((struct route_query){ .ask = &ask }), "there");
    ask.hash = signed_hash;
    CHECK_STR(picked((struct route_query){ .ask = &ask }), "");
    CHECK_INT(code, ERR_BUSY);
    memcpy(w->models[0].beat.hash, signed_hash, sizeof signed_hash);
    CHECK_STR(picked((struct route_query){ .ask = &ask }), "there");
    ask.places = NULL;
    CHECK_STR(picked((struct route_query){ .ask = &ask }), "there");
    json_decref(places);
}

static void equal_numerics(void)
{
    static const char one[] = "1111111111111111111111111111111111111111111111111111111111111111";
    static const char two[] = "2222222222222222222222222222222222222222222222222222222222222222";
    begin();
    struct fleet_ask ask = { .model = "m" };
    add((struct says){ .name = "a", .numerics = one, .backlog = 100000 });
    add((struct says){ .name = "b", .numerics = two });
    add((struct says){ .name = "c" }); /* it does not say: nothing is resumed there */
    for (int i = 0; i < 20; i++)
        CHECK_STR(picked((struct route_query){ .ask = &ask, .numerics = one }), "a");
    static const char three[] = "3333333333333333333333333333333333333333333333333333333333333333";
    CHECK_STR(picked((struct route_query){ .ask = &ask, .numerics = three }), "");
    CHECK_INT(code, ERR_BUSY);
}

static int times(const char *name, struct route_query q, int of)
{
    int n = 0;
    for (int i = 0; i < of; i++)
        n += !strcmp(picked(q), name);
    return n;
}

static void scores(void)
{
    struct fleet_ask ask = { .model = "m", .prompt_bytes = 4000 };
    struct route_query q = { .ask = &ask };
    begin(); /* backlog over rate, not backlog */
    add((struct says){ .name = "slow", .rate = 100, .backlog = 500 });
    add((struct says){ .name = "fast", .rate = 1000, .backlog = 1000 });
    CHECK_INT(times("fast", q, 50), 50);
    begin(); /* the way there */
    roster_rtt(add((struct says){ .name = "far", .rate = 1000 }), 200);
    roster_rtt(add((struct says){ .name = "near", .rate = 1000 }), 1);
    CHECK_INT(times("near", q, 50), 50);
    begin(); /* room */
    add((struct says){ .name = "full", .rate = 1000, .pages_free = 5 });
    add((struct says){ .name = "free", .rate = 1000 });
    CHECK_INT(times("free", q, 50), 50);
    begin(); /* equals share */
    for (int i = 0; i < 4; i++)
        add((struct says){ .name = (const char *[]){ "a", "b", "c", "d" }[i], .rate = 1000 + i });
    for (int i = 0; i < 4; i++) {
        int n = times((const char *[]){ "a", "b", "c", "d" }[i], q, 400);
        CHECK(n > 10 && n < 250); /* the better of two: 1/16 .. 7/16 */
    }
    q.policy = ROUTE_RANDOM;
    add((struct says){ .name = "d", .rate = 1000, .backlog = 100000 });
    int n = times("d", q, 400);
    CHECK(n > 60 && n < 140);
}

static void own_requests_count_before_the_next_beat(void)
{
    begin();
    struct fleet_ask ask = { .model = "m", .prompt_bytes = 40000 };
    struct route_query q = { .ask = &ask, .home = "eu", .numerics = "" };
    struct route_pick p;
    add((struct says){ .name = "a", .rate = 1000 });
    add((struct says){ .name = "b", .rate = 1000 });
    int at_a = 0;
    for (int i = 0; i < 10; i++) {
        CHECK(!route_pick(roster, known, &q, &dice, &p, &retry_s, NULL));
        route_sent(known, &ask, &p);
        at_a += p.worker->place.name[0] == 'a';
    }
    CHECK_INT(at_a, 5);
}

static void overload(void)
{
    begin();
    struct fleet_ask ask = { .model = "m", .deadline_ms = 2000 };
    struct route_query q = { .ask = &ask };
    add((struct says){ .name = "a", .rate = 100, .backlog = 650 });
    CHECK_STR(picked(q), "");
    CHECK_INT(code, ERR_BUSY);
    CHECK_INT(retry_s, 5); /* 6.5 s of work, 2 s of time */
    CHECK(strstr(text, "try again in 5 s") != NULL);
    ask.deadline_ms = 7000;
    CHECK_STR(picked(q), "a");
    ask.deadline_ms = 0;
    CHECK_STR(picked(q), "a");
    add((struct says){ .name = "a", .waiting = ROUTE_WAITING_MAX });
    CHECK_STR(picked(q), "");
    CHECK_INT(code, ERR_BUSY);
    CHECK_INT(retry_s, 1);
    add((struct says){ .name = "b" });
    CHECK_STR(picked(q), "b");
}

static void prefixes_lead_home(void)
{
    begin();
    struct fleet_ask ask = { .model = "m", .prompt_bytes = 64 << 10, .prefix = { 11, 12, 13, 14, 15, 16 },
                             .prefix_count = 6 };
    struct route_query q = { .ask = &ask };
    add((struct says){ .name = "a", .rate = 1000 });
    add((struct says){ .name = "b", .rate = 1000, .prefix = 16 }); /* 20 blocks of 256 bytes: 1280 tokens, 1.3 s */
    add((struct says){ .name = "c", .rate = 1000, .prefix = 13 });
    CHECK_INT(times("b", q, 50), 50);
    add((struct says){ .name = "b", .rate = 1000, .backlog = 3000, .prefix = 16 }); /* more than it saves */
    CHECK_INT(times("b", q, 50), 0);
    /* what we sent is known, to this life and this model only */
    struct route_pick p = { .worker = roster_at(roster, 0), .model = roster_model_of(roster_at(roster, 0), "m") };
    route_sent(known, &ask, &p);
    uint64_t m = prefixes_model("m"), n = prefixes_model("n");
    CHECK(prefixes_has(known, m, 11, p.worker->serial) && prefixes_has(known, m, 16, p.worker->serial));
    CHECK(!prefixes_has(known, n, 11, p.worker->serial) && !prefixes_has(known, m, 11, p.worker->serial + 100));
}

/* An outside provider gets what may go there and would wait much longer at home, or could not stay. */
static void the_house_goes_first(void)
{
    begin();
    struct fleet_ask may = { .model = "m", .jurisdictions = { "eu", "us" }, .jurisdiction_count = 2, .outside = true };
    struct fleet_ask home = { .model = "m", .outside = true };
    struct fleet_ask inside = { .model = "m", .jurisdictions = { "eu", "us" }, .jurisdiction_count = 2 };
    add((struct says){ .name = "vendor", .jurisdiction = "us", .rate = 1000, .outside = true });
    CHECK_STR(picked((struct route_query){ .ask = &may }), "vendor");
    CHECK_STR(picked((struct route_query){ .ask = &inside }), "");
    CHECK_INT(code, ERR_DENIED);
    CHECK_STR(picked((struct route_query){ .ask = &home }), ""); /* its law does not reach there */
    add((struct says){ .name = "own", .rate = 1000, .backlog = 1500 });
    CHECK_INT(times("own", (struct route_query){ .ask = &may }, 50), 50);
    add((struct says){ .name = "own", .rate = 1000, .backlog = 9000 });
    CHECK_INT(times("vendor", (struct route_query){ .ask = &may }, 50), 50);
    CHECK_INT(times("own", (struct route_query){ .ask = &inside }, 50), 50);
    add((struct says){ .name = "own", .rate = 1000, .draining = true });
    CHECK_STR(picked((struct route_query){ .ask = &may }), "vendor");
}

static void the_table_forgets_the_oldest(void)
{
    struct prefixes *t = prefixes_new(1);
    for (uint32_t i = 1; i <= PREFIXES_WAYS; i++)
        prefixes_note(t, 0, i, 1);
    prefixes_note(t, 0, 1, 1); /* used again */
    prefixes_note(t, 0, 100, 1);
    CHECK(prefixes_has(t, 0, 1, 1) && prefixes_has(t, 0, 100, 1));
    CHECK(!prefixes_has(t, 0, 2, 1));
    CHECK(prefixes_has(t, 0, 3, 1));
    prefixes_free(t);
}

/* Two conversations that begin alike name the same beginnings, however long they are. */
static void beginnings_every_request_names(void)
{
    static const uint8_t salt[SIPHASH_KEY_BYTES] = { 1 };
    struct buf one = { 0 }, two = { 0 };
    struct api_prefix a, b;
    struct fleet_ask x = { .model = "m" }, y = x;
    buf_puts(&one, "{\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (int i = 0; i < 3000; i++)
        buf_puts(&one, "word ");
    buf_append(&two, one.data, one.len);
    buf_puts(&one, "\"}]}");
    buf_puts(&two, "and on it goes");
    for (int i = 0; i < 3000; i++)
        buf_puts(&two, "more ");
    buf_puts(&two, "\"}]}");
    CHECK(!api_prefix_of(salt, one.data, one.len, &a, NULL) && !api_prefix_of(salt, two.data, two.len, &b, NULL));
    fleet_ask_prefix(&x, &a);
    fleet_ask_prefix(&y, &b);
    CHECK_INT(a.count, 58);
    CHECK_INT(x.prefix_count, 12); /* 1 2 4 8 16 20 24 28 32 40 48 56: and no 64 */
    CHECK(y.prefix_count > x.prefix_count);
    CHECK(!memcmp(x.prefix, y.prefix, (size_t)x.prefix_count * sizeof x.prefix[0]));
    CHECK_INT(route_prefix_bytes(0), 256);
    CHECK_INT(route_prefix_bytes(5), 20 * 256);
    CHECK_INT(route_prefix_bytes(FLEET_PREFIX_MAX - 1), 1792 * 256);
    api_prefix_release(&a);
    api_prefix_release(&b);
    buf_release(&one);
    buf_release(&two);
}

int main(void)
{
    log_set(LOG_ERROR, false);
    RUN(policy);
    RUN(places_and_weights);
    RUN(equal_numerics);
    RUN(scores);
    RUN(own_requests_count_before_the_next_beat);
    RUN(overload);
    RUN(prefixes_lead_home);
    RUN(the_house_goes_first);
    RUN(the_table_forgets_the_oldest);
    RUN(beginnings_every_request_names);
    roster_free(roster);
    prefixes_free(known);
    DONE();
}
