/* file -- whole files: read, write so that a crash leaves the old or the new one, and where state lives. */
#ifndef BASE_FILE_H
#define BASE_FILE_H
#include "base/buf.h"
#include "base/err.h"

/* Appends the file's (or descriptor's) bytes to out; more than max is ERR_LIMIT. "-" reads stdin. */
enum err_code file_read(const char *path, size_t max, struct buf *out, struct err *e);
enum err_code file_read_fd(int fd, const char *name, size_t max, struct buf *out, struct err *e);
/* May a rename put a new file at path? Only where nothing or a regular file is: never over a device or a link. */
enum err_code file_replaceable(const char *path, struct err *e);
/* Writes beside the target, fsyncs, renames over it (file_replaceable), fsyncs the folder. */
enum err_code file_write(const char *path, const void *data, size_t n, struct err *e);
enum err_code file_write_all_fd(int fd, const void *data, size_t n, struct err *e);
enum err_code file_make_dirs(const char *path, struct err *e); /* mkdir -p, mode 0700 */

/* The state folder of CONTRACTS.md: option (may be NULL), else $TOKENWORKS_HOME, else ~/.cache/tokenworks.
 * The caller frees the string. */
char *file_state_dir(const char *option);
#endif
