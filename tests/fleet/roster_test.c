/* roster_test -- who is alive, in made time: missed beats, our own silence, a loop that stood, frozen counters, boots. */
#include "../test.h"
#include "base/log.h"
#include "base/mem.h"
#include "fleet/catalog.h"
#include "fleet/roster.h"

static struct roster *roster;
static uint32_t lost[16];
static char lost_why[80];
static int lost_count, changes, suspicions;
static int64_t now = 1000000;

static void on_lost(void *arg, uint32_t serial, const char *why)
{
    lost[lost_count++ % 16] = serial;
    snprintf(lost_why, sizeof lost_why, "%s", why);
}

static void on_changed(void *arg)
{
    changes++;
}

static void on_suspected(void *arg, uint32_t serial)
{
    suspicions++;
}

struct said {
    const char *name;
    uint64_t boot;
    int64_t steps, running, backlog;
    bool draining, facts, stands;
    double rate;
    const char *site;
};

static const struct fleet_place *place_of(const struct said *s)
{
    static struct fleet_place p;
    p = (struct fleet_place){ "eu", "", "" };
    snprintf(p.site, sizeof p.site, "%s", s->site ? s->site : "north");
    snprintf(p.name, sizeof p.name, "%s", s->name);
    return &p;
}

static struct roster_worker *beat(struct said s)
{
    struct heartbeat_model m = { .id = "m", .steps = s.steps, .running = s.running, .prefill_backlog = s.backlog,
                                 .tokens_per_s = s.rate, .kv_pages = 100, .kv_pages_free = 50, .stands = s.stands,
                                 .facts = s.facts ? json_pack("{s:i}", "ctx", 4096) : NULL };
    struct heartbeat h = { .boot = s.boot ? s.boot : 1, .draining = s.draining, .models = &m, .model_count = 1 };
    struct buf b = { 0 };
    struct err e = { .text = "" };
    heartbeat_write(&h, &b);
    CHECK(!roster_beat(roster, place_of(&s), b.data, b.len, now, &e));
    buf_release(&b);
    json_decref(m.facts);
    return roster_by_place(roster, place_of(&s));
}

static void begin(void)
{
    static const struct roster_events events = { on_lost, on_changed, on_suspected };
    roster_free(roster);
    roster = roster_new(&events, NULL);
    lost_count = changes = suspicions = 0;
}

/* ms pass; b and c (when named) beat, as well as our own ears hear (echoes). true: an echo was asked for. */
static bool pass(int64_t ms, const char *b, const char *c, bool echoes)
{
    bool asked = false;
    for (int64_t end = now + ms, t = 0; now < end; t++) {
        now += 50;
        if (t % 5 == 4 && b)
            beat((struct said){ .name = b });
        if (t % 5 == 4 && c)
            beat((struct said){ .name = c });
        if (roster_tick(roster, now)) {
            asked = true;
            if (echoes)
                roster_heard(roster, now);
        }
    }
    return asked;
}

static void three_missed_beats(void)
{
    begin();
    struct roster_worker *a = beat((struct said){ .name = "a" });
    beat((struct said){ .name = "b" });
    CHECK_INT(a->life, ROSTER_ALIVE);
    pass(700, "b", NULL, false);
    CHECK_INT(a->life, ROSTER_ALIVE);
    pass(350, "b", NULL, false); /* 750 ms, and the next beat of b that vouches for our ears */
    CHECK_INT(a->life, ROSTER_DEAD);
    CHECK_INT(lost_count, 1);
    CHECK_INT(lost[0], a->serial);
    uint32_t serial = a->serial;
    beat((struct said){ .name = "a" }); /* the same boot: it had only been away */
    CHECK_INT(a->life, ROSTER_ALIVE);
    CHECK_INT(a->serial, serial);
}

static void suspicion_comes_first(void)
{
    begin();
    struct roster_worker *a = beat((struct said){ .name = "a" });
    beat((struct said){ .name = "b" });
    pass(300, "b", NULL, true);
    CHECK(!roster_suspects(a, NULL));
    pass(100, "b", NULL, true);
    CHECK(roster_suspects(a, "m") && a->life == ROSTER_ALIVE);
    CHECK_INT(suspicions, 1);
    roster_sign(roster, a->serial, now); /* an answer, or an echo */
    CHECK(!roster_suspects(a, NULL));
    beat((struct said){ .name = "a" });
    pass(450, "b", NULL, true); /* it was silent for 400 before: now that is no reason */
    CHECK(!roster_suspects(a, NULL));
    pass(150, "b", NULL, true);
    CHECK(roster_suspects(a, NULL));
    CHECK_INT(suspicions, 2);
    pass(400, "b", NULL, true);
    CHECK_INT(lost_count, 1);
}

static void our_own_silence_is_no_suspicion(void)
{
    begin();
    struct roster_worker *a = beat((struct said){ .name = "a" });
    CHECK(pass(2000, NULL, NULL, false));
    CHECK(!roster_suspects(a, NULL));
    pass(100, NULL, NULL, true); /* we hear ourselves */
    CHECK(roster_suspects(a, NULL));
}

static void it_says_that_its_engine_stands(void)
{
    begin();
    struct roster_worker *a = beat((struct said){ .name = "a", .running = 1 });
    beat((struct said){ .name = "a", .running = 1, .stands = true });
    CHECK(roster_suspects(a, "m") && !roster_suspects(a, "other") && a->life == ROSTER_ALIVE);
    roster_sign(roster, a->serial, now);
    beat((struct said){ .name = "a", .running = 1, .stands = true });
    CHECK(roster_suspects(a, "m"));
    CHECK_INT(suspicions, 1);
    beat((struct said){ .name = "a", .running = 1, .steps = 2 });
    CHECK(!roster_suspects(a, NULL));
    CHECK_INT(lost_count, 0);
}

static void own_silence_kills_nobody(void)
{
    begin();
    struct roster_worker *a = beat((struct said){ .name = "a" }), *b = beat((struct said){ .name = "b" });
    CHECK(pass(5000, NULL, NULL, false)); /* nothing is heard at all, not even our own echo */
    CHECK_INT(lost_count, 0);
    CHECK(a->life == ROSTER_ALIVE && b->life == ROSTER_ALIVE);
    pass(100, NULL, NULL, true);          /* we hear ourselves: so it is them */
    CHECK_INT(lost_count, 2);
}

static void a_loop_that_stood(void)
{
    begin();
    struct roster_worker *a = beat((struct said){ .name = "a" });
    beat((struct said){ .name = "b" });
    pass(500, "a", "b", true);
    now += 20000; /* stopped, and continued; b's beat is the first in the queue, and the tick comes between */
    beat((struct said){ .name = "b" });
    CHECK(!roster_tick(roster, now));
    CHECK_INT(lost_count, 0);
    beat((struct said){ .name = "a" });
    pass(1000, "a", "b", true);
    CHECK_INT(lost_count, 0);
    CHECK_INT(a->life, ROSTER_ALIVE);
}

static void back_on_the_bus(void)
{
    begin();
    beat((struct said){ .name = "a" });
    beat((struct said){ .name = "b" });
    now += 140;
    pass(700, NULL, NULL, false);
    roster_amnesty(roster, now);
    beat((struct said){ .name = "b" }); /* the first to be heard */
    pass(600, "b", NULL, true);
    CHECK_INT(lost_count, 0);
    pass(400, "b", NULL, true);
    CHECK_INT(lost_count, 1);
}

static void a_new_boot_is_another_life(void)
{
    begin();
    struct roster_worker *a = beat((struct said){ .name = "a", .boot = 7, .facts = true });
    uint32_t serial = a->serial;
    roster_rtt(a, 12);
    CHECK(beat((struct said){ .name = "a", .boot = 8 }) == a);
    CHECK_INT(lost_count, 1);
    CHECK_INT(lost[0], serial);
    CHECK(a->serial != serial && a->boot == 8);
    CHECK_NEAR(a->rtt_ms, -1, 0);
    CHECK(!roster_model_of(a, "m")->beat.facts); /* another program: nothing of the old one is kept */
    CHECK(!roster_by_serial(roster, serial));
    /* a dead one that comes again is not lost a second time */
    beat((struct said){ .name = "b" });
    pass(1200, "b", NULL, true);
    CHECK_INT(lost_count, 2);
    beat((struct said){ .name = "a", .boot = 9 });
    CHECK_INT(lost_count, 2);
}

/* Beats come all the time; the counter is what matters. */
static void steps(struct said s, int64_t ms, int64_t every_ms)
{
    for (int64_t t = 0; t < ms; t += 250) {
        now += 125;
        roster_tick(roster, now);
        now += 125;
        s.steps = every_ms ? t / every_ms : s.steps;
        beat(s);
    }
}

static void a_frozen_counter(void)
{
    begin();
    struct said s = { .name = "a", .running = 1, .steps = 5 };
    steps(s, 750, 0);
    CHECK_INT(lost_count, 0);
    steps(s, 750, 0);
    CHECK_INT(lost_count, 1);
    CHECK_STR(lost_why, "stands still: its engine computes no step");
    CHECK_INT(roster_at(roster, 0)->life, ROSTER_STILL);
    s.steps = 6;
    steps(s, 250, 0);
    CHECK_INT(roster_at(roster, 0)->life, ROSTER_ALIVE);
    s.running = 0; /* nothing runs: it may stand */
    steps(s, 5000, 0);
    CHECK_INT(lost_count, 1);
}

/* What it stood still for is no step it is known to need. */
static void a_counter_frozen_twice(void)
{
    begin();
    struct said s = { .name = "a", .running = 1, .steps = 5 };
    steps(s, 6000, 0);
    CHECK_INT(lost_count, 1);
    s.steps = 6;
    steps(s, 250, 0);
    CHECK_INT(roster_at(roster, 0)->life, ROSTER_ALIVE);
    steps(s, 1250, 0);
    CHECK_INT(lost_count, 2);
}

static void slow_steps_are_learned(void)
{
    begin();
    struct said s = { .name = "a", .running = 1, .backlog = 512 };
    steps(s, 9000, 3000);      /* a prompt: three seconds a step */
    CHECK_INT(lost_count, 0);
    s.backlog = 0;             /* then without one: four of the longest are waited for */
    s.steps = 100;
    steps(s, 6000, 0);
    CHECK_INT(lost_count, 0);
    steps(s, 8000, 0);
    CHECK_INT(lost_count, 1);
}

static void what_is_kept_between_beats(void)
{
    begin();
    struct roster_worker *a = beat((struct said){ .name = "a", .facts = true, .rate = 400 });
    int was = changes;
    struct roster_model *m = roster_model_of(a, "m");
    roster_sent(m, 1000);
    beat((struct said){ .name = "a", .rate = 10 });
    m = roster_model_of(a, "m");
    CHECK(m->beat.facts != NULL);
    CHECK_INT(changes, was);        /* nothing that anybody is told */
    CHECK_INT(m->sent_tokens[1], 1000); /* it may have left before ours came */
    roster_sent(m, 0);
    CHECK_INT(m->sent[0] + m->sent[1], 2);
    for (int i = 0; i < 3; i++)         /* over: it fills no queue any more, and there are no less than none */
        roster_done(roster, a->serial, "m");
    roster_done(roster, a->serial + 1000, "m");
    CHECK_INT(m->sent[0], 0);
    CHECK_INT(m->sent[1], 0);
    CHECK_NEAR(m->rate, 398, 0.1);
    beat((struct said){ .name = "a" });
    m = roster_model_of(a, "m");
    CHECK_INT(m->sent_tokens[0] + m->sent_tokens[1], 0);
    beat((struct said){ .name = "a", .draining = true });
    CHECK_INT(changes, was + 1);
    const struct roster_event *v = roster_event(roster, roster_event_count(roster) - 1);
    CHECK_STR(v->what, "worker eu/north/a drains");
}

static void events_are_bounded(void)
{
    begin();
    for (int i = 0; i < 3 * ROSTER_EVENTS_MAX; i++)
        roster_say(roster, "event %d", i);
    CHECK_INT(roster_event_count(roster), ROSTER_EVENTS_MAX);
    CHECK_STR(roster_event(roster, 0)->what, "event 256");
    CHECK_STR(roster_event(roster, ROSTER_EVENTS_MAX - 1)->what, "event 383");
}

static void hostile_beats(void)
{
    begin();
    struct err e = { .text = "" };
    struct fleet_place p = { "eu", "north", "x" };
    static const char *const bad[] = { "", "{}", "[]", "{\"v\":1,\"boot\":\"1\",\"models\":[]}", "{\"v\":1" };
    for (size_t i = 0; i < MEM_COUNT(bad); i++)
        CHECK_INT(roster_beat(roster, &p, bad[i], strlen(bad[i]), now, &e), ERR_INVALID);
    CHECK_INT(roster_count(roster), 0);
    char name[16];
    for (int i = 0; i < ROSTER_WORKERS_MAX; i++) {
        snprintf(name, sizeof name, "w%d", i);
        beat((struct said){ .name = name });
    }
    static const char one_more[] = "{\"v\":1,\"boot\":\"0000000000000001\",\"models\":[]}";
    CHECK_INT(roster_beat(roster, &p, one_more, sizeof one_more - 1, now, &e), ERR_LIMIT);
    CHECK_INT(roster_count(roster), ROSTER_WORKERS_MAX);
}

static void the_dead_are_forgotten(void)
{
    begin();
    beat((struct said){ .name = "a" });
    beat((struct said){ .name = "b" });
    pass(2000, "b", NULL, true);
    CHECK_INT(roster_count(roster), 2);
    pass(ROSTER_FORGET_MS + 1000, "b", NULL, true);
    CHECK_INT(roster_count(roster), 1);
    CHECK_STR(roster_at(roster, 0)->place.name, "b");
}

static void the_catalog(void)
{
    struct catalog c = { 0 };
    begin();
    beat((struct said){ .name = "a" });
    CHECK(catalog_update(&c, roster));
    CHECK_INT(c.count, 1);
    CHECK_INT(c.models[0].workers, 1);
    CHECK_INT(c.models[0].ready, 0); /* its facts are not known yet */
    beat((struct said){ .name = "a", .facts = true });
    beat((struct said){ .name = "b", .facts = true, .draining = true });
    CHECK(catalog_update(&c, roster));
    CHECK_INT(c.models[0].workers, 2);
    CHECK_INT(c.models[0].ready, 1);
    CHECK_INT(json_integer_value(json_object_get(c.models[0].facts, "ctx")), 4096);
    CHECK(!catalog_update(&c, roster));
    pass(1500, NULL, NULL, true);
    CHECK(catalog_update(&c, roster));
    CHECK_INT(c.count, 1);           /* known, though nobody has it now */
    CHECK_INT(c.models[0].workers, 0);
    CHECK_INT(c.models[0].ready, 0);
    CHECK(catalog_find(&c, "m") && !catalog_find(&c, "n"));
    catalog_release(&c);
}

int main(void)
{
    log_set(LOG_ERROR, false);
    RUN(three_missed_beats);
    RUN(suspicion_comes_first);
    RUN(our_own_silence_is_no_suspicion);
    RUN(it_says_that_its_engine_stands);
    RUN(own_silence_kills_nobody);
    RUN(a_loop_that_stood);
    RUN(back_on_the_bus);
    RUN(a_new_boot_is_another_life);
    RUN(a_frozen_counter);
    RUN(a_counter_frozen_twice);
    RUN(slow_steps_are_learned);
    RUN(what_is_kept_between_beats);
    RUN(events_are_bounded);
    RUN(hostile_beats);
    RUN(the_dead_are_forgotten);
    RUN(the_catalog);
    roster_free(roster);
    DONE();
}
