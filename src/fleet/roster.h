/* roster -- who is alive: workers and their models, as their heartbeats say and as our own ears can vouch for.
 *
 *   nobody --roster_beat--> ALIVE --HEARTBEAT_MISSED beats long not heard, though others were--> DEAD
 *                            | ^--roster_beat--'      a new boot id: lost() first, then ALIVE again, with a new serial
 *                            `--its step counter stands while something runs--> STILL --it moves--> ALIVE
 *
 * Before it is judged a worker is under suspicion: its silence (of beats, answers and echoes alike) is longer than it
 * ever was lately, or it says itself that its engine stands. That costs it nothing but new requests; those it has are
 * begun elsewhere too (exchange.h I5), and whoever goes on first is believed.
 *
 * I1  Nobody is declared dead for a silence of our own. A beat's age is measured against the last thing that was heard
 *     on the bus, whoever said it: when all are silent roster_tick() asks for a sign from our own connection (an echo),
 *     and until one came nothing is judged. The clock steps STRIDE_MAX_MS at most from one call to the next, so that a
 *     loop that stood still finds everybody as old as when it stopped.
 * I2  A serial names one life of one worker: exchanges and prefix knowledge that hold an old one hold nothing.
 *
 * Time comes in from the caller, in ms of a monotonic clock. Owner: the loop's thread. */
#ifndef FLEET_ROSTER_H
#define FLEET_ROSTER_H
#include "fleet/heartbeat.h"
#include "fleet/subject.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    ROSTER_WORKERS_MAX = 1024,
    ROSTER_EVENTS_MAX = 128,
    ROSTER_EVENT_TEXT = 200,
    ROSTER_DEAD_MS = HEARTBEAT_MS * HEARTBEAT_MISSED,
    ROSTER_SUSPECT_MS = 350,      /* of silence at least; ROSTER_MARGIN_MS more than its longest one lately */
    ROSTER_MARGIN_MS = 150,
    ROSTER_HABIT_MS = 600,        /* but always of so long a one: that is no habit, and not learned */
    ROSTER_STILL_MS = 1000,       /* a step counter that stands so long, or four times its longest step */
    ROSTER_STILL_MAX_MS = 30000,  /* the same while a prompt is computed: one step may be long */
    ROSTER_FORGET_MS = 600 * 1000, /* the dead are shown so long */
};

enum roster_life { ROSTER_ALIVE, ROSTER_STILL, ROSTER_DEAD };

struct roster_model {             /* a model of a worker */
    struct heartbeat_model beat;  /* the latest; facts and aliases kept between beats */
    double rate;                  /* tokens/s it has shown, forgotten slowly: what a backlog is divided by */
    int64_t sent_tokens[2];       /* by us since its last beat, and in the beat before: it may not know of them */
    int64_t sent[2];              /* requests, the same; less those that are over */
    int64_t stepped_ms;           /* when its counter last moved, or nothing ran */
    int64_t step_ms;              /* the longest it has stood and moved again */
};

struct roster_worker {
    struct fleet_place place;
    uint64_t boot;
    uint32_t serial;
    enum roster_life life;
    bool draining;
    int64_t beat_ms;              /* roster's own time */
    int64_t dead_ms;              /* when it was found dead */
    int64_t sign_ms;              /* when anything came from it */
    int64_t quiet_ms;             /* its longest silence lately */
    bool silent;                  /* suspected of it */
    int64_t knocked_ms;           /* the gateway's: when it asked for a sign, by the gateway's clock */
    double rtt_ms;                /* smoothed; -1: not measured yet */
    struct roster_model *models;  /* [model_count], owned */
    int model_count;
};

struct roster_event {
    int64_t at_s;                 /* Unix */
    char what[ROSTER_EVENT_TEXT];
};

struct roster_events {
    /* This life of the worker is over or of no use: whatever it worked on is lost. */
    void (*lost)(void *arg, uint32_t serial, const char *why);
    void (*changed)(void *arg);   /* who there is, what they have, or whether they take requests */
    void (*suspected)(void *arg, uint32_t serial); /* it may be lost; NULL: nobody wants to know */
};

struct roster;
struct roster *roster_new(const struct roster_events *events, void *arg);
void roster_free(struct roster *r);

/* A heartbeat as it came; hostile. ERR_INVALID, ERR_LIMIT (too many workers): it is not taken. */
enum err_code roster_beat(struct roster *r, const struct fleet_place *p, const char *text, size_t n, int64_t now_ms,
                          struct err *e);
void roster_heard(struct roster *r, int64_t now_ms); /* something came over the bus */
void roster_sign(struct roster *r, uint32_t serial, int64_t now_ms); /* from this life of a worker */
/* Judges; a few times a second. true: all is silent, and a sign from our own connection would tell why. */
bool roster_tick(struct roster *r, int64_t now_ms);
/* The connection is there again: everybody gets the time to be heard. */
void roster_amnesty(struct roster *r, int64_t now_ms);

int roster_count(const struct roster *r);
struct roster_worker *roster_at(const struct roster *r, int i);
struct roster_worker *roster_by_serial(const struct roster *r, uint32_t serial);  /* NULL: that life is over */
struct roster_worker *roster_by_place(const struct roster *r, const struct fleet_place *p);
struct roster_model *roster_model_of(const struct roster_worker *w, const char *id); /* NULL: it has none such */
/* It is under suspicion. model NULL: any of its models. */
bool roster_suspects(const struct roster_worker *w, const char *model);
int64_t roster_silence_ms(const struct roster *r, const struct roster_worker *w); /* since its last sign */
int64_t roster_age_ms(const struct roster *r, const struct roster_worker *w);

void roster_rtt(struct roster_worker *w, double ms);
void roster_sent(struct roster_model *m, int64_t tokens); /* a request with so many tokens to compute went there */
void roster_done(struct roster *r, uint32_t serial, const char *model); /* and one is over */

/* What happened lately, oldest first; i in [0, count). */
int roster_event_count(const struct roster *r);
const struct roster_event *roster_event(const struct roster *r, int i);
void roster_say(struct roster *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
#endif
