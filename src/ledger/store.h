/* store -- the ledger's file: SQLite in WAL mode with synchronous=FULL, so that what a commit reported survives a power
 * cut. A store belongs to one thread at a time. All money, energy and time in it are integers.
 *
 * usage has a row for each settled request; daily has their sums by day, tenant, key and model, kept in the same
 * transactions, so that counters start quickly and outlive the rows' retention. */
#ifndef LEDGER_STORE_H
#define LEDGER_STORE_H
#include "ledger/book.h"

#include <sqlite3.h>

enum { STORE_VERSION = 2, STORE_FINISH_MAX = 24 };

struct store {
    sqlite3 *db;
    sqlite3_stmt *insert, *sum; /* prepared for the writer */
    int64_t seen_version;       /* PRAGMA data_version when the directory was last loaded */
};

struct usage_row {
    struct book_settled settled;
    struct ledger_use use;                          /* its pointers are not used: the copies below are */
    char finish[STORE_FINISH_MAX];
    char jurisdiction[LEDGER_JURISDICTION_MAX + 1];
    bool has_receipt;
    uint8_t receipt[LEDGER_HASH_BYTES];
    bool duplicate;                                 /* set by store_insert: the request id has a row already */
    ledger_done_fn *done;
    void *arg;
    struct usage_row *next;
};

/* path: the database file; create: make it and its schema when missing, else ERR_NOT_FOUND. Refuses a file of a newer
 * version, and one that is no ledger. */
enum err_code store_open(const char *path, bool create, int64_t now_ms, struct store **out, struct err *e);
void store_close(struct store *s);
/* DIR/ledger.db of a state folder; the folder is made with mode 0700. The caller frees. */
char *store_path(const char *dir);

enum err_code store_load(struct store *s, int64_t now_ms, struct directory *out, struct err *e);
/* Whether another connection (a command) changed the file since the directory was loaded. */
bool store_changed(struct store *s);
/* One transaction: all rows or none. Rows whose request id exists are marked duplicate and change nothing. */
enum err_code store_insert(struct store *s, struct usage_row **rows, int count, struct err *e);

/* For the files of this floor: run, prepare, and an error that carries SQLite's own words. */
enum err_code store_exec(struct store *s, const char *sql, struct err *e);
enum err_code store_prepare(struct store *s, const char *sql, sqlite3_stmt **out, struct err *e);
enum err_code store_fault(struct store *s, const char *what, struct err *e);
/* Steps a statement that gives no rows. */
enum err_code store_step_done(struct store *s, sqlite3_stmt *st, const char *what, struct err *e);
/* One integer, or `none` when there is no row. Binds text to ?1 when it is not NULL. */
enum err_code store_int(struct store *s, const char *sql, const char *text, int64_t none, int64_t *out, struct err *e);
#endif
