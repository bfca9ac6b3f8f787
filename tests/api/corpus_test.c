/* corpus_test -- every body of fuzz/corpus/openai_body through the fuzz target, and cut at every length. */
#include "../test.h"
#include "../../fuzz/openai_body.c"

#include "base/file.h"

#include <dirent.h>

static void corpus_survives(void)
{
    static const char folder[] = "fuzz/corpus/openai_body";
    DIR *d = opendir(folder);
    int files = 0;
    CHECK(d != NULL);
    for (struct dirent *f; d && (f = readdir(d)) != NULL;) {
        char path[512];
        struct buf b = { 0 };
        if (f->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, f->d_name);
        CHECK_INT(file_read(path, 1 << 20, &b, NULL), ERR_OK);
        for (size_t n = b.len < 2000 ? 0 : b.len; n <= b.len; n++) {
            uint8_t *exact = mem_dup(b.len ? b.data : "", n ? n : 1);
            LLVMFuzzerTestOneInput(exact, n);
            mem_free(exact);
        }
        files++;
        buf_release(&b);
    }
    if (d)
        closedir(d);
    CHECK(files >= 9);
}

int main(void)
{
    RUN(corpus_survives);
    DONE();
}
