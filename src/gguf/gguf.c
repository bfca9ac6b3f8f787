/* gguf -- see gguf.h: maps a file, hands it to the parser, finds keys and tensors by name.
 *
 * I1: after gguf_open* returns nothing in struct gguf_file changes. */
#include "gguf/gguf.h"

#include "base/mem.h"
#include "gguf/file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err_code open_bytes(const void *data, size_t n, bool mapped, const char *name, struct gguf_file **out,
                                struct err *e)
{
    struct gguf_file *f = MEM_NEW(struct gguf_file);
    f->name = mem_strdup(name);
    f->data = data;
    f->bytes = n;
    f->mapped = mapped;
    enum err_code c = gguf_parse(f, e);
    if (c) {
        gguf_close(f);
        err_prefix(e, "%s", name);
        return c;
    }
    *out = f;
    return ERR_OK;
}

enum err_code gguf_open_fd(int fd, const char *name, struct gguf_file **out, struct err *e)
{
    struct stat st;
    if (fstat(fd, &st))
        return err_errno(e, "%s: cannot look at the file", name);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_INVALID, "%s: not a regular file, so not a model", name);
    if (st.st_size <= 0)
        return err_set(e, ERR_CORRUPT, "%s: the file is empty", name);
    void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return err_errno(e, "%s: cannot map the file", name);
    return open_bytes(p, (size_t)st.st_size, true, name, out, e);
}

enum err_code gguf_open(const char *path, struct gguf_file **out, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "%s: cannot open", path);
    enum err_code c = gguf_open_fd(fd, path, out, e);
    close(fd);
    return c;
}

enum err_code gguf_open_memory(const void *data, size_t n, struct gguf_file **out, struct err *e)
{
    return open_bytes(data, n, false, "memory", out, e);
}

void gguf_close(struct gguf_file *f)
{
    if (!f)
        return;
    for (int i = 0; i < f->key_count; i++)
        gguf_value_release(&f->keys[i].value);
    mem_free(f->keys);
    mem_free(f->tensors);
    mem_free(f->keys_sorted);
    mem_free(f->tensors_sorted);
    if (f->mapped)
        munmap((void *)f->data, f->bytes);
    mem_free(f->name);
    mem_free(f);
}

void gguf_drop_pages(struct gguf_file *f)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t first = (f->data_start + page - 1) / page * page;
    if (f->mapped && first < f->bytes) /* a hint: refusal costs memory only */
        madvise((void *)(f->data + first), f->bytes - first, MADV_DONTNEED);
}

int gguf_str_compare(struct gguf_str a, struct gguf_str b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int c = n ? memcmp(a.data, b.data, n) : 0;
    return c ? c : a.len < b.len ? -1 : a.len > b.len;
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf_file *f, const char *name)
{
    struct gguf_str want = { name, strlen(name) };
    for (int lo = 0, hi = f->tensor_count; lo < hi;) {
        int mid = lo + (hi - lo) / 2;
        const struct gguf_tensor *t = &f->tensors[f->tensors_sorted[mid]];
        int c = gguf_str_compare(want, t->name);
        if (!c)
            return t;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

const struct gguf_value *gguf_find(const struct gguf_file *f, const char *key)
{
    struct gguf_str want = { key, strlen(key) };
    for (int lo = 0, hi = f->key_count; lo < hi;) {
        int mid = lo + (hi - lo) / 2;
        const struct gguf_key *k = &f->keys[f->keys_sorted[mid]];
        int c = gguf_str_compare(want, k->name);
        if (!c)
            return &k->value;
        if (c < 0)
            hi = mid;
        else
            lo = mid + 1;
    }
    return NULL;
}

int gguf_version(const struct gguf_file *f)
{
    return f->version;
}

size_t gguf_file_bytes(const struct gguf_file *f)
{
    return f->bytes;
}

size_t gguf_alignment(const struct gguf_file *f)
{
    return f->alignment;
}

int gguf_key_count(const struct gguf_file *f)
{
    return f->key_count;
}

struct gguf_str gguf_key_name(const struct gguf_file *f, int i)
{
    return f->keys[i].name;
}

const struct gguf_value *gguf_key_value(const struct gguf_file *f, int i)
{
    return &f->keys[i].value;
}

int gguf_tensor_count(const struct gguf_file *f)
{
    return f->tensor_count;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf_file *f, int i)
{
    return &f->tensors[i];
}

const char *gguf_name(const struct gguf_file *f)
{
    return f->name;
}
