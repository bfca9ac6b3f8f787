/* inbox -- <site>/inbox, where a signed statement waits for the running server, which alone writes the log.
 *
 *   inbox_leave: <hash>.note --inbox_next--> logged: <hash>.taken --inbox_done--> gone, when it holds
 *                                       `--> inbox_refuse: <hash>.refused, one sentence
 *
 * Nothing is believed for lying there: the server checks signature, role, number and time before it logs a note. */
#ifndef TRUST_INBOX_H
#define TRUST_INBOX_H
#include "trust/site.h"

enum { INBOX_NAME_MAX = 64, INBOX_NOTE_MAX = 1 << 20 };

/* Leaves the note, waits until what it says holds. ERR_DENIED: the server's sentence. ERR_BUSY: it did not answer. */
enum err_code inbox_leave(const struct site *s, struct span note, int64_t wait_ms, struct err *e);

/* One that waits, its bytes appended; false: none. name: without suffix, for the calls below. */
bool inbox_next(const struct site *s, char name[INBOX_NAME_MAX + 1], struct buf *note);
void inbox_taken(const struct site *s, const char *name);
void inbox_done(const struct site *s, const char *name);
void inbox_refuse(const struct site *s, const char *name, const char *sentence);
#endif
