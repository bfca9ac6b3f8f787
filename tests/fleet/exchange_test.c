/* exchange_test -- an exchange through failing workers: at every frame, in every way, the client sees one answer.
 * Runs alone: it judges silences. */
#include "scene.h"
#include "fleet/exchange.h"

/* Which worker has the request now. */
static int busy(void)
{
    for (int i = 0; i < WORKERS; i++)
        for (int k = 0; workers[i].bus && k < WORKS; k++)
            if (workers[i].works[k].used)
                return i;
    return -1;
}

static void bodies_in_parts(void)
{
    static const size_t sizes[] = { 0, 100, FLEET_PART_MAX - 400, 900000, 1100000, 8 << 20 };
    for (size_t i = 0; i < MEM_COUNT(sizes); i++) {
        raise_curtain(1);
        ask(sizes[i], 64);
        until_over(5000);
        whole_answer();
        CHECK_INT(workers[0].body_n, (int64_t)sizes[i]);
        CHECK_INT(workers[0].requests, 1);
        const json_t *head = workers[0].head;
        CHECK_STR(json_string_value(json_object_get(head, "model")), "m");
        CHECK_STR(json_string_value(json_array_get(json_object_get(head, "jurisdictions"), 0)), "eu");
        CHECK(json_is_integer(json_object_get(head, "seed")) && json_is_array(json_object_get(head, "prefix")));
        CHECK(!json_object_get(head, "resume"));
        curtain();
    }
}

/* The worker that gets the request fails at frame `at`; the other one cuts its frames otherwise. */
static void killed(enum how how, int at, int cut, int other_cut, uint32_t window)
{
    raise_curtain(2);
    script = (struct script){ .how = how, .at = at, .cut = cut, .cut_again = other_cut, .bare = at & 1 };
    ask(1000, window);
    until_over(5000);
    whole_answer();
    int moved = workers[0].requests + workers[1].requests - 1;
    if (moved != 1)
        printf("# how %d at %d: moved %d times\n", how, at, moved);
    CHECK_INT(moved, 1);
    CHECK_INT(workers[0].resumes + workers[1].resumes, at >= 1); /* something had been passed on */
    struct fleet_place where;
    int attempts;
    fleet_call_where(&client.call, &where, &attempts);
    CHECK_INT(attempts, 2);
    const struct fleet_call *c = &client.call; /* both are named, in their order, each life of a worker by its boot */
    CHECK_INT(c->part_count, how == LOSES_A_FRAME && !strcmp(c->parts[0].place.name, where.name) ? 1 : 2);
    CHECK_STR(c->parts[c->part].place.name, where.name);
    CHECK(c->part_count == 1 || strcmp(c->parts[0].place.name, c->parts[1].place.name) ||
          c->parts[0].boot != c->parts[1].boot);
    CHECK_STR(c->parts[0].numerics, same_numerics);
    CHECK(how == LOSES_A_FRAME || strcmp(where.name, script.victim->place.name));
    curtain();
}

static void killed_at_every_frame(void)
{
    static const enum how ways[] = { SAYS_LOST, BOOTS, LOSES_A_FRAME };
    for (size_t k = 0; k < MEM_COUNT(ways); k++)
        for (int at = 0; at < ANSWER_TOKENS + 4; at++)
            if (ways[k] != LOSES_A_FRAME || at < ANSWER_TOKENS + 3) /* the last one: see a_lost_end */
                killed(ways[k], at, 1, 1 + at % 5, 64);
    for (int at = 0; at < 9; at++)
        killed(SAYS_LOST, at, 5, 3, 64);
    for (int at = 0; at < 9; at++)
        killed(BOOTS, at, 5, 1, 2); /* a small window */
}

static void silent_or_still(void)
{
    static const enum how ways[] = { GOES_SILENT, STANDS };
    for (int k = 0; k < 2; k++) {
        raise_curtain(2);
        script.how = ways[k];
        script.at = 9;
        ask(1000, 64);
        int64_t began = clock_mono_ns();
        until_over(5000);
        double ms = (double)(clock_mono_ns() - began) / 1e6;
        printf("# %s: %.0f ms\n", k ? "stands" : "silent", ms);
        CHECK(k ? ms > 500 && ms < 1500 : ms > 250 && ms < 900);
        whole_answer();
        curtain();
    }
}

static struct fake_worker *other_than(const struct fake_worker *w)
{
    return &workers[w == &workers[0]];
}

/* A worker whose engine stands says so: what it had goes on elsewhere in no time. */
static void told_that_it_stands(void)
{
    for (int at = 1; at < ANSWER_TOKENS + 3; at++) {
        raise_curtain(2);
        script = (struct script){ .how = SAYS_IT_STANDS, .at = at, .cut_again = 1 + at % 4 };
        ask(1000, 64);
        int64_t began = clock_mono_ns();
        until_over(5000);
        CHECK((double)(clock_mono_ns() - began) / 1e6 < 300);
        whole_answer();
        struct fleet_place where;
        int attempts;
        fleet_call_where(&client.call, &where, &attempts);
        CHECK_INT(attempts, 2);
        CHECK_STR(where.name, other_than(script.victim)->place.name);
        spin(5);
        CHECK_INT(script.victim->cancels, 1);
        curtain();
    }
}

/* It was suspected wrongly: it goes on before the other one is as far, and the client sees nothing of all this. */
static void wrongly_suspected(void)
{
    for (int lost = 0; lost < 2; lost++) {
        raise_curtain(2);
        script = (struct script){ .how = SAYS_IT_STANDS, .at = 9 };
        workers[0].holds = workers[1].holds = true;
        ask(1000, 64);
        spin(10);
        struct fake_worker *first = &workers[busy()];
        first->holds = false;
        for (int i = 0; i < WORKS; i++)
            work_go(first, &first->works[i]);
        spin(150);
        struct fake_worker *second = other_than(first);
        CHECK_INT(second->requests, 1); /* the hedge */
        for (int i = 0; lost && i < WORKS; i++)
            if (second->works[i].used)
                work_error(second, &second->works[i], "engine_lost");
        spin(20);
        CHECK_INT(client.errors, 0);
        first->stands = first->says = false;
        for (int i = 0; i < WORKS; i++)
            work_go(first, &first->works[i]);
        until_over(2000);
        whole_answer();
        spin(10);
        CHECK(second->cancels >= 1 && second->works[0].used == false);
        CHECK_INT(first->requests, 1);
        struct fleet_place where;
        int attempts;
        fleet_call_where(&client.call, &where, &attempts);
        CHECK_STR(where.name, first->place.name);
        curtain();
    }
}

/* The worker is lost while the hedge is under way: that is gone on with, and nobody else is asked. */
static void hedged_and_lost(void)
{
    raise_curtain(3);
    script = (struct script){ .how = SAYS_IT_STANDS, .at = 9 };
    for (int i = 0; i < 3; i++)
        workers[i].holds = true;
    ask(1000, 64);
    spin(10);
    struct fake_worker *first = &workers[busy()];
    first->holds = false;
    for (int i = 0; i < WORKS; i++)
        work_go(first, &first->works[i]);
    spin(100);
    first->boot++;
    worker_beat(first);
    spin(20);
    CHECK_INT(workers[0].requests + workers[1].requests + workers[2].requests, 2);
    for (int k = 0; k < 3; k++) {
        workers[k].holds = false;
        for (int i = 0; i < WORKS; i++)
            if (&workers[k] != first)
                work_go(&workers[k], &workers[k].works[i]);
    }
    until_over(2000);
    whole_answer();
    CHECK_INT(workers[0].requests + workers[1].requests + workers[2].requests, 2);
    curtain();
}

/* Of an answer that is no stream the next worker is told the tokens too, and need not draw them. */
static void no_stream(void)
{
    static const enum how ways[] = { SAYS_LOST, BOOTS, SAYS_IT_STANDS };
    for (size_t k = 0; k < MEM_COUNT(ways); k++)
        for (int at = 2; at < ANSWER_TOKENS + 4; at++) {
            raise_curtain(2);
            script = (struct script){ .how = ways[k], .at = at, .whole = true };
            ask(100, 2);
            until_over(5000);
            whole_answer();
            CHECK_INT(workers[0].requests + workers[1].requests, 2);
            CHECK_INT(workers[0].drawn + workers[1].drawn, ANSWER_TOKENS);
            CHECK(json_is_true(json_object_get(workers[0].head, "tell")));
            curtain();
        }
}

/* Nobody was shown anything yet: one that draws other tokens is as good. */
static void no_stream_and_others(void)
{
    raise_curtain(2);
    script = (struct script){ .how = SAYS_LOST, .at = 20, .whole = true, .lies_tokens = true };
    ask(100, 64);
    until_over(5000);
    whole_answer();
    curtain();
}

/* The old worker was only away: what it sends when it is back is nobody's, and it is told to stop. */
static void stale_frames(void)
{
    raise_curtain(2);
    script.how = GOES_SILENT;
    script.at = 9;
    client.slow = true;
    ask(1000, 8);
    spin(1200);
    CHECK_INT(workers[0].requests + workers[1].requests, 2);
    CHECK(client.frames >= 8 && client.frames <= 8 + EXCHANGE_AGAIN_FRAMES);
    spin(20); /* the order to stop does not reach it */
    int got = client.frames;
    struct fake_worker *old = script.victim;
    old->silent = false; /* it goes on where it was */
    for (int i = 0; i < WORKS; i++) {
        old->works[i].credit = 1000;
        work_go(old, &old->works[i]);
    }
    spin(50);
    CHECK_INT(client.frames, got);
    CHECK_INT(old->cancels, 1);
    client.slow = false;
    give(&client, 64);
    until_over(2000);
    whole_answer();
    curtain();
}

static void three_times_and_no_more(void)
{
    for (int more = GATEWAY_RESUMES - 1; more <= GATEWAY_RESUMES; more++) {
        raise_curtain(3);
        script = (struct script){ .how = BOOTS, .at = 7, .more = more };
        ask(10, 64);
        until_over(3000);
        CHECK_INT(workers[0].requests + workers[1].requests + workers[2].requests, 1 + GATEWAY_RESUMES);
        if (more < GATEWAY_RESUMES) {
            whole_answer();
        } else {
            CHECK_INT(client.errors, 1);
            CHECK_STR(client.error, "503 engine_unavailable");
            CHECK_INT(client.token_count, 5);
        }
        curtain();
    }
}

static void another_answer_is_an_error(void)
{
    for (int k = 0; k < 3; k++) {
        raise_curtain(2);
        script = (struct script){ .how = SAYS_LOST, .at = 14, .lies_tokens = k == 0, .lies_bytes = k == 1,
                                  .tokens_again = k == 2 ? 10 : 0 }; /* it ends before what the client has */
        ask(10, 64);
        until_over(2000);
        CHECK_INT(client.errors, 1);
        CHECK_INT(client.ends, 0);
        CHECK_STR(client.error, "502 resume_mismatch");
        CHECK_INT(client.token_count, 12);
        curtain();
    }
}

static void a_slow_client(void)
{
    raise_curtain(2);
    client.slow = true;
    ask(10, 3);
    spin(50);
    CHECK_INT(client.frames, 3);
    for (int want = 5; want <= 9; want += 2) {
        give(&client, 2);
        spin(20);
        CHECK_INT(client.frames, want);
    }
    /* its worker dies while it takes nothing: what it has is computed again without it */
    int first = busy();
    CHECK(first >= 0);
    for (int i = 0; i < WORKS; i++)
        work_end(&workers[first].works[i]);
    workers[first].boot++;
    worker_beat(&workers[first]);
    spin(50);
    CHECK(client.frames >= 9 && client.frames <= 9 + EXCHANGE_AGAIN_FRAMES);
    client.slow = false;
    give(&client, 100);
    until_over(2000);
    whole_answer();
    curtain();
}

static void other_numbers_do_not_go_on(void)
{
    static const char other[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    for (int at = 0; at < 8; at += 7) {
        raise_curtain(2);
        workers[1].numerics = other;
        worker_beat(&workers[1]);
        spin(5);
        script.how = GOES_SILENT;
        script.at = at;
        ask(10, 64);
        until_over(6000);
        if (at) { /* it had begun to answer */
            CHECK_STR(client.error, "503 engine_unavailable");
            CHECK_INT(client.token_count, at - 2);
        } else {
            whole_answer();
        }
        curtain();
    }
}

static void not_resumable(void)
{
    struct err e;
    raise_curtain(2);
    script.how = SAYS_LOST;
    script.at = 6;
    CHECK(!ask_with((struct fleet_ask){ .resumable = false }, 10, 64, &e));
    until_over(2000);
    CHECK_STR(client.error, "503 engine_lost");
    CHECK_INT(workers[0].requests + workers[1].requests, 1);
    curtain();
}

static void refusals(void)
{
    raise_curtain(2); /* one drains, though its beat did not say so yet */
    script.refusal = "draining";
    script.refusals = 1;
    ask(10, 64);
    until_over(2000);
    whole_answer();
    CHECK_INT(workers[0].requests + workers[1].requests, 2);
    curtain();

    raise_curtain(2); /* both are full: both were asked, and it is said at once */
    script.refusal = "overloaded";
    script.refusals = 10;
    int64_t began = clock_mono_ns();
    ask(10, 64);
    until_over(2000);
    CHECK_STR(client.error, "503 overloaded");
    CHECK(clock_mono_ns() - began < 200000000);
    CHECK_INT(workers[0].requests, 1);
    CHECK_INT(workers[1].requests, 1);
    curtain();

    raise_curtain(2); /* the request itself is wrong: that is the answer */
    script.refusal = "invalid";
    script.refusals = 1;
    ask(10, 64);
    until_over(2000);
    CHECK_STR(client.error, "400 invalid");
    CHECK_INT(workers[0].requests + workers[1].requests, 1);
    curtain();
}

/* ---- messages that the bus loses */

static int lose_nth, seen;
static char lose_role;
static enum frame_kind lose_kind;

static bool loses(const char *subject, const char *data, size_t n)
{
    struct fleet_place p;
    struct frame f;
    char role, last[FLEET_NAME_MAX + 1];
    if (!fleet_subject_read(subject, &p, &role, last) || role != lose_role || !strcmp(last, "hb") ||
        frame_parse(data, n, &f, NULL) <= 0 || f.kind != lose_kind)
        return false;
    return seen++ == lose_nth;
}

static void lost_messages(void)
{
    static const struct {
        char role;
        enum frame_kind kind;
        int nth;
    } cases[] = { { 'w', FRAME_REQUEST, 0 }, { 'g', FRAME_END, 0 }, { 'g', FRAME_HEAD, 0 }, { 'g', FRAME_DATA, 23 } };
    for (size_t i = 0; i < MEM_COUNT(cases); i++) {
        raise_curtain(2);
        lose_role = cases[i].role;
        lose_kind = cases[i].kind;
        lose_nth = cases[i].nth;
        seen = 0;
        bus.loses = loses;
        ask(10, 64);
        until_over(4000);
        CHECK(seen > cases[i].nth);
        whole_answer();
        curtain();
    }
}

/* A worker that had paused for credit, and whose last frames were lost: its answer to the probe tells. */
static void lost_before_a_pause(void)
{
    raise_curtain(2);
    lose_role = 'g';
    lose_kind = FRAME_DATA;
    lose_nth = 4;
    seen = 0;
    bus.loses = loses;
    client.slow = true;
    ask(10, 5);
    spin(500);
    CHECK_INT(client.frames, 4);
    spin(1000);
    CHECK_INT(workers[0].requests + workers[1].requests, 2);
    client.slow = false;
    give(&client, 64);
    until_over(3000);
    whole_answer();
    curtain();
}

static void the_bus_goes_away(void)
{
    raise_curtain(2); /* for a moment, in the midst of an answer */
    client.slow = true;
    ask(10, 6);
    spin(50);
    CHECK_INT(client.frames, 6);
    bus.up = false;
    spin(900);
    give(&client, 6); /* it cannot be told now */
    struct client other = { .call = { .frame = client_frame, .arg = &other } };
    struct err e = { .text = "" };
    CHECK_INT(fleet_call_open(gateway, &(struct fleet_ask){ .model = "m" }, &other.call, &e), ERR_BUSY);
    bus.up = true;
    spin(300);
    CHECK_INT(client.frames, 12);
    CHECK_INT(workers[0].requests + workers[1].requests, 1); /* nobody was lost meanwhile */
    client.slow = false;
    give(&client, 64);
    until_over(2000);
    whole_answer();
    curtain();

    raise_curtain(2); /* for good */
    client.slow = true;
    ask(10, 6);
    spin(50);
    bus.up = false;
    int64_t began = clock_mono_ns();
    until_over(6000);
    CHECK_STR(client.error, "503 engine_unavailable");
    double s = (double)(clock_mono_ns() - began) / 1e9;
    CHECK(s > 2.8 && s < 3.6);
    bus.up = true; /* the worker hears of it at last */
    int at = busy();
    CHECK(at >= 0);
    spin(200);
    CHECK_INT(busy(), -1);
    curtain();
}

static void cancelled(void)
{
    raise_curtain(1);
    client.slow = true;
    ask(10, 3);
    spin(50);
    fleet_call_close(&client.call);
    fleet_call_close(&client.call);
    spin(50);
    CHECK_INT(workers[0].cancels, 1);
    CHECK_INT(client.frames, 3);
    CHECK_INT(busy(), -1);
    curtain();
}

int main(void)
{
    log_set(LOG_ERROR, false);
    RUN(bodies_in_parts);
    RUN(killed_at_every_frame);
    RUN(silent_or_still);
    RUN(told_that_it_stands);
    RUN(wrongly_suspected);
    RUN(hedged_and_lost);
    RUN(no_stream);
    RUN(no_stream_and_others);
    RUN(stale_frames);
    RUN(three_times_and_no_more);
    RUN(another_answer_is_an_error);
    RUN(a_slow_client);
    RUN(other_numbers_do_not_go_on);
    RUN(not_resumable);
    RUN(refusals);
    RUN(lost_messages);
    RUN(lost_before_a_pause);
    RUN(the_bus_goes_away);
    RUN(cancelled);
    DONE();
}
