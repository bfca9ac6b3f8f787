/* subject -- the names messages travel under. Jurisdiction and site stand in every subject, so that the permissions of
 * the NATS servers between sites can enforce residency a second time.
 *
 *   tw.v1.<jurisdiction>.<site>.w.<worker>.req   frames of requests, to a worker (reply: the gateway's inbox)
 *   tw.v1.<jurisdiction>.<site>.w.<worker>.ctl   JSON orders to a worker: {"drain": true}
 *   tw.v1.<jurisdiction>.<site>.w.<worker>.hb    JSON heartbeat of a worker, each 250 ms (heartbeat.h)
 *   tw.v1.<jurisdiction>.<site>.g.<gateway>.in   frames of answers, to a gateway
 *   tw.v1.<jurisdiction>.<site>.g.<gateway>.hb   JSON heartbeat of a gateway, each second
 *   tw.v1.<jurisdiction>.m.<model>.any           queue group of the workers that have a model: the fallback, one try
 *
 * Content travels on req, in and any, and nowhere else. A name is 1..32 of [a-z0-9-]; a model is written as the first
 * 16 hex digits of the SHA-256 of its id. */
#ifndef FLEET_SUBJECT_H
#define FLEET_SUBJECT_H
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

enum { FLEET_NAME_MAX = 32, FLEET_SUBJECT_MAX = 192, FLEET_PART_MAX = 512 << 10 };

struct fleet_place {              /* who somebody is, or where */
    char jurisdiction[FLEET_NAME_MAX + 1], site[FLEET_NAME_MAX + 1], name[FLEET_NAME_MAX + 1];
};

bool fleet_name_ok(const char *name);
/* "w" or "g", and the last word. */
void fleet_subject(const struct fleet_place *p, char role, const char *last, char out[FLEET_SUBJECT_MAX]);
void fleet_subject_any(const char *jurisdiction, const char *model_id, char out[FLEET_SUBJECT_MAX]);
/* Of a subject as above, "any" excepted: whose it is, its role and last word. false: it is none. */
bool fleet_subject_read(const char *subject, struct fleet_place *p, char *role, char last[FLEET_NAME_MAX + 1]);
#endif
