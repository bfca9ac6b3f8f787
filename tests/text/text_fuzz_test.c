/* text_fuzz_test -- the fuzz targets of templates, patterns, grammars and schemas over their corpora. */
#include "../test.h"
#include "../fuzz.h"
#include "../../fuzz/template.c"

#define LLVMFuzzerTestOneInput fuzz_grammar
#include "../../fuzz/grammar.c"
#undef LLVMFuzzerTestOneInput
#define LLVMFuzzerTestOneInput fuzz_schema
#include "../../fuzz/schema.c"
#undef LLVMFuzzerTestOneInput

static void templates(void)
{
    CHECK(fuzz_run("fuzz/corpus/template", 2000, LLVMFuzzerTestOneInput) > 2000);
}

static void grammars(void)
{
    CHECK(fuzz_run("fuzz/corpus/grammar", 500, fuzz_grammar) > 500);
}

static void schemas(void)
{
    CHECK(fuzz_run("fuzz/corpus/schema", 500, fuzz_schema) > 500);
}

int main(void)
{
    RUN(templates);
    RUN(grammars);
    RUN(schemas);
    DONE();
}
