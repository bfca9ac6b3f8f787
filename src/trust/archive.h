/* archive -- receipts of earlier boots, found by id.
 *
 * Each boot's receipts file gets an index beside the public folder, made when the boot ends or when it is first looked
 * for: <index>/<boot>.index, sorted entries of 32 bytes (key of the id, offset, leaf, length). It is a shortcut, never
 * believed: what is found must carry the id that was asked for, and a leaf is proved. One thread. */
#ifndef TRUST_ARCHIVE_H
#define TRUST_ARCHIVE_H
#include "trust/tlog.h"

enum { ARCHIVE_BOOTS_MAX = 65536 };

/* pub: the folder with receipts/; index: made when missing. */
enum err_code archive_index(const char *pub, const char *index, const char *boot, struct err *e);
/* Searches all boots but `except`. leaf NULL: not wanted. ERR_NOT_FOUND: no boot has it. */
enum err_code archive_find(const char *pub, const char *index, const char *except, const char *id, struct tlog *log,
                           struct buf *note, uint64_t *leaf, struct err *e);
#endif
