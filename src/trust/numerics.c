/* numerics -- see numerics.h. */
#include "trust/numerics.h"

#include "trust/modelsig.h"

#include <fcntl.h>
#include <unistd.h>

enum err_code numerics_build(uint8_t out[HASH_BYTES], struct err *e)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(e, "the program itself cannot be read");
    enum err_code c = modelsig_hash_fd(fd, out, e);
    close(fd);
    return c;
}

void numerics_id(const uint8_t build[HASH_BYTES], const char *isa, const char *kv_type,
                 const uint8_t weights[HASH_BYTES], uint8_t out[HASH_BYTES])
{
    struct buf b = { 0 };
    char program[HASH_HEX + 1], file[HASH_HEX + 1];
    code_hex(program, build, HASH_BYTES);
    code_hex(file, weights, HASH_BYTES);
    buf_printf(&b, "tokenworks/numerics/v1\n%s\n%s\n%s\n%s\n", program, isa, kv_type, file);
    code_sha256(out, b.data, b.len);
    buf_release(&b);
}
