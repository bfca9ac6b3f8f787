/* gateway_test -- the gateway's own affairs, on the made bus: models, state, orders, residency, prefixes, overload, the
 * try without a name, round trips, its heartbeat. Runs alone: it judges times. */
#include "scene.h"
#include "base/rng.h"
#include "fleet/exchange.h"
#include "fleet/route.h"

static void models_come_and_go(void)
{
    models_told = 0;
    raise_curtain(2);
    CHECK_INT(fleet_gateway_model_count(gateway), 1);
    CHECK(models_told > 0);
    struct fleet_model m;
    fleet_gateway_model(gateway, 0, &m);
    CHECK_STR(m.id, "m");
    CHECK_STR(m.numerics, same_numerics);
    CHECK_INT(m.workers, 2);
    CHECK_INT(m.ready, 2);
    CHECK_INT(json_integer_value(json_object_get(m.facts, "ctx")), 4096);
    int told = models_told;
    spin(300);
    CHECK_INT(models_told, told); /* beats that say nothing new tell nothing */
    workers[1].draining = true;
    worker_beat(&workers[1]);
    spin(5);
    fleet_gateway_model(gateway, 0, &m);
    CHECK_INT(m.ready, 1);
    CHECK_INT(models_told, told + 1);
    workers[0].silent = workers[1].silent = true; /* all of them: only our own echo tells that it is not us */
    spin(1200);
    fleet_gateway_model(gateway, 0, &m);
    CHECK_INT(m.workers, 0);
    curtain();
}

static void state(void)
{
    raise_curtain(2);
    client.slow = true;
    ask(10, 2);
    spin(30);
    json_t *v = fleet_gateway_state(gateway), *sites = json_object_get(v, "sites");
    json_t *list = json_object_get(json_array_get(sites, 0), "workers");
    CHECK_INT((int)json_array_size(sites), 1);
    CHECK_INT((int)json_array_size(list), 2);
    const json_t *w = json_array_get(list, 0);
    CHECK_STR(json_string_value(json_object_get(w, "name")), "ada");
    CHECK_STR(json_string_value(json_object_get(w, "state")), "alive");
    CHECK_STR(json_string_value(json_object_get(w, "boot")), "0000000000000064");
    CHECK(json_real_value(json_object_get(w, "rtt_ms")) > 0 && workers[0].hellos > 0);
    CHECK_INT(json_integer_value(json_object_get(w, "open")) +
              json_integer_value(json_object_get(json_array_get(list, 1), "open")), 1);
    const json_t *g = json_array_get(json_object_get(v, "gateways"), 0);
    CHECK_STR(json_string_value(json_object_get(g, "name")), "gate");
    CHECK(json_is_true(json_object_get(g, "self")));
    CHECK_STR(json_string_value(json_object_get(json_array_get(json_object_get(v, "events"), 0), "what")),
              "worker eu/north/ada joined");
    CHECK_INT(json_integer_value(json_object_get(json_object_get(v, "moves"), "resumed")), 0);
    json_decref(v);
    curtain();
}

static void drain(void)
{
    struct err e;
    raise_curtain(2);
    CHECK(!fleet_gateway_drain(gateway, "north", "bob", &e));
    CHECK_INT(fleet_gateway_drain(gateway, "south", "bob", &e), ERR_NOT_FOUND);
    CHECK_STR(e.text, "there is no worker south/bob; there are: north/ada, north/bob");
    spin(5);
    CHECK_INT(workers[1].drains, 1);
    CHECK_INT(workers[0].drains, 0);
    curtain();
}

static enum err_code opens(struct fleet_ask a, char text[ERR_TEXT_MAX])
{
    struct err e = { .text = "" };
    struct fleet_call c = { .frame = client_frame, .arg = &client };
    if (!a.model)
        a.model = "m";
    enum err_code code = fleet_call_open(gateway, &a, &c, &e);
    snprintf(text, ERR_TEXT_MAX, "%s", e.text);
    if (code)
        CHECK(!c.x && c.retry_s > 0);
    fleet_call_close(&c);
    return code;
}

static void refused_at_the_door(void)
{
    char text[ERR_TEXT_MAX];
    raise_curtain(2);
    CHECK_INT(opens((struct fleet_ask){ .jurisdictions = { "us" }, .jurisdiction_count = 1 }, text), ERR_DENIED);
    CHECK_STR(text, "no worker of m is in a jurisdiction where this request may go");
    CHECK_INT(opens((struct fleet_ask){ .model = "other" }, text), ERR_BUSY);
    CHECK_INT(opens((struct fleet_ask){ .model = "m" }, text), ERR_OK);
    CHECK_INT(opens((struct fleet_ask){ .model = "m", .prompt_bytes = 2LL << 30 }, text), ERR_BUSY);
    CHECK_STR(text, "1024 MB of requests are under way, as much as a gateway keeps; try again in 1 s");
    workers[0].waiting = workers[1].waiting = ROUTE_WAITING_MAX;
    worker_beat(&workers[0]);
    worker_beat(&workers[1]);
    spin(5);
    CHECK_INT(opens((struct fleet_ask){ .model = "m" }, text), ERR_BUSY);
    CHECK_STR(text, "the queue of every worker of m is full; try again in 1 s");
    json_t *v = fleet_gateway_state(gateway);
    CHECK_INT(json_integer_value(json_object_get(json_object_get(v, "moves"), "refused")), 3);
    json_decref(v);
    curtain();
}

static void beginnings_lead_to_who_has_them(void)
{
    struct err e;
    for (int i = 0; i < 8; i++) { /* 8 of 8 by chance: 1 in 256 */
        raise_curtain(2);
        workers[1].prefix = 77;
        worker_beat(&workers[1]);
        spin(5);
        struct fleet_ask a = { .resumable = true, .prompt_bytes = 32 << 10, .prefix = { 1, 2, 3, 4, 5, 6, 7, 8, 77 },
                               .prefix_count = 9 };
        CHECK(!ask_with(a, 10, 64, &e));
        until_over(1000);
        whole_answer();
        CHECK_INT(workers[1].requests, 1);
        CHECK_STR(json_string_value(json_array_get(json_object_get(workers[1].head, "prefix"), 8)),
                  "000000000000004d");
        curtain();
    }
}

static void nobody_is_heard_of(void)
{
    for (int answers = 1; answers >= 0; answers--) {
        raise_curtain(1);
        workers[0].mute = true;
        spin(1100); /* known, and dead as far as can be told */
        workers[0].silent = !answers;
        int64_t began = clock_mono_ns();
        ask(10, 64);
        until_over(5000);
        double s = (double)(clock_mono_ns() - began) / 1e9;
        if (answers) {
            whole_answer();
            CHECK(s < 0.5);
        } else {
            CHECK_STR(client.error, "503 engine_unavailable");
            CHECK(s > 1.9 && s < 2.4);
        }
        curtain();
    }
}

static int beats_heard;

static void on_hb(void *arg, const struct bus_message *m)
{
    json_t *v = jsonx_parse(m->data, m->n, NULL);
    CHECK_INT(json_integer_value(json_object_get(v, "v")), 1);
    CHECK_INT((int)json_string_length(json_object_get(v, "boot")), 16);
    json_decref(v);
    beats_heard++;
}

static void its_heartbeat(void)
{
    struct err e;
    raise_curtain(0);
    struct bus_sub *s = bus_subscribe(&bus, "tw.v1.eu.north.g.gate.hb", NULL, on_hb, NULL, &e);
    spin(2300);
    CHECK_INT(beats_heard, 2);
    bus_unsubscribe(s);
    curtain();
}

/* What comes to the inbox is hostile too. */
static void garbage_in_the_inbox(void)
{
    static const char inbox[] = "tw.v1.eu.north.g.gate.in";
    struct rng r = { 7, 0 };
    raise_curtain(1);
    client.slow = true;
    ask(10, 3);
    spin(30);
    uint64_t id = 0;
    for (int i = 0; i < WORKS; i++)
        id = workers[0].works[i].used ? workers[0].works[i].id : id;
    for (int i = 0; i < 3000; i++) {
        struct buf b = { 0 };
        char payload[64];
        for (size_t k = 0; k < sizeof payload; k++)
            payload[k] = (char)rng_next(&r);
        struct frame f = { .kind = (enum frame_kind)(1 + rng_below(&r, FRAME_ADAPTER)),
                           .flags = (uint16_t)rng_below(&r, 4), .id = rng_below(&r, 3) ? rng_next(&r) : id,
                           .attempt = 1 + (uint32_t)rng_below(&r, 3), .seq = rng_below(&r, 8), .payload = payload,
                           .length = rng_below(&r, sizeof payload) };
        frame_write(&b, &f);
        if (rng_below(&r, 2))
            b.data[rng_below(&r, b.len)] ^= (char)rng_next(&r);
        b.data[16] |= 1; /* never the attempt under way */
        bus_publish(&bus, inbox, NULL, b.data, rng_below(&r, 8) ? b.len : rng_below(&r, b.len));
        buf_release(&b);
        if (i % 100 == 0)
            spin(1);
    }
    spin(20);
    client.slow = false;
    give(&client, 64);
    until_over(2000);
    whole_answer();
    curtain();
}

int main(void)
{
    log_set(LOG_ERROR, false);
    RUN(models_come_and_go);
    RUN(state);
    RUN(drain);
    RUN(refused_at_the_door);
    RUN(beginnings_lead_to_who_has_them);
    RUN(nobody_is_heard_of);
    RUN(its_heartbeat);
    RUN(garbage_in_the_inbox);
    DONE();
}
