/* setup -- see setup.h. */
#include "dist/setup.h"

#include "base/mem.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SAMPLES = 1024, SAMPLE_BYTES = 4096, HEAD_BYTES = 1 << 20 };

bool dist_setup_ok(const struct dist_setup *s)
{
    if (memchr(s->version, 0, sizeof s->version) == NULL || strcmp(s->version, TW_VERSION) != 0)
        return false;
    if (s->ranks < 2 || s->ranks > DIST_RANKS_MAX || s->rank < 0 || s->rank >= s->ranks || s->cut[0] != 0)
        return false;
    for (int i = 0; i < s->ranks; i++)
        if (s->cut[i + 1] <= s->cut[i])
            return false;
    return s->threads >= 0 && s->threads <= POOL_THREADS_MAX && s->ctx >= 0 && s->kv_type >= 0 &&
           s->kv_type < KERN_TYPE_LIMIT && s->isa >= 0 && s->isa <= KERN_ISA_COUNT;
}

static enum err_code hash_part(int fd, struct sha256 *h, unsigned char *buf, off_t at, size_t n, struct err *e)
{
    size_t done = 0;
    while (done < n) {
        ssize_t got = pread(fd, buf + done, n - done, at + (off_t)done);
        if (got < 0)
            return err_errno(e, "the model's file cannot be read");
        if (!got)
            break;
        done += (size_t)got;
    }
    sha256_update(h, buf, done);
    return ERR_OK;
}

enum err_code dist_fingerprint(int fd, uint8_t out[SHA256_BYTES], struct err *e)
{
    struct stat st;
    struct sha256 h;
    if (fstat(fd, &st))
        return err_errno(e, "the model's file cannot be looked at");
    uint64_t size = (uint64_t)st.st_size;
    unsigned char *buf = mem_new(HEAD_BYTES, 1);
    sha256_init(&h);
    sha256_update(&h, &size, sizeof size);
    enum err_code c = hash_part(fd, &h, buf, 0, HEAD_BYTES, e);
    for (uint64_t i = 0; i < SAMPLES && !c; i++)
        c = hash_part(fd, &h, buf, (off_t)(size / SAMPLES * i), SAMPLE_BYTES, e);
    if (!c)
        sha256_final(&h, out);
    mem_free(buf);
    return c;
}
