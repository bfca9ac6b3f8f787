/* crew -- how many of a team's threads work, while other programs want the processors too.
 *
 * Threads that meet at barriers go on together or not at all: of processors shared with others, each member having a
 * share s of the time, n members get about s^n of the machine done where one alone gets s. So when members lost their
 * processors and the team got less done than those left over would have, the next runs are theirs alone; from time to
 * time all are tried again. Results do not depend on it: no cut of the work changes a bit.
 *
 * Nothing here knows threads or clocks: pool.c tells what was measured. */
#ifndef BASE_CREW_H
#define BASE_CREW_H
#include <stdint.h>

struct crew {
    int full, size;              /* members there are; that work in the next run */
    int64_t useful_ns, wall_ns;  /* of the runs since the last judgement */
    int robbed;                  /* members that lost a processor in one of them, at most */
    int64_t rest_ns, until_ns;   /* how long a smaller crew works; when all are tried again */
};

struct crew_run {
    int64_t now_ns, wall_ns;
    int64_t useful_ns;           /* processor time of all members, what they waited for each other left out */
    int robbed;                  /* members that lost their processor to another program of this system */
};

void crew_init(struct crew *c, int full);
int crew_size(struct crew *c, int64_t now_ns); /* for the run that begins now */
void crew_note(struct crew *c, const struct crew_run *r);
#endif
