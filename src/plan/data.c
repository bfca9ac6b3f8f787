/* data -- see data.h. The assembler copies the files of data/ in; paths are from the checkout's root. */
#include "plan/data.h"

#include <string.h>

#define EMBED(symbol, path) \
    __asm__(".section .rodata\n.balign 16\n.hidden " #symbol "\n.global " #symbol "\n" #symbol ":\n" \
            ".incbin \"" path "\"\n.byte 0\n.text\n"); \
    extern const char symbol[];

EMBED(plan_data_hardware, "data/catalogue/hardware.yaml")
EMBED(plan_data_models, "data/catalogue/models.yaml")
EMBED(plan_data_suppliers, "data/catalogue/suppliers.yaml")
EMBED(plan_data_apis, "data/catalogue/apis.yaml")
EMBED(plan_data_figures, "data/catalogue/figures.yaml")
EMBED(plan_data_billion, "data/scenarios/billion.yaml")
EMBED(plan_data_own_silicon, "data/scenarios/own-silicon.yaml")
EMBED(plan_data_hospital, "data/scenarios/hospital.yaml")
EMBED(plan_data_token_factory, "data/scenarios/token-factory.yaml")

const struct plan_data plan_catalogue[] = {
    { "catalogue/hardware.yaml", plan_data_hardware },
    { "catalogue/models.yaml", plan_data_models },
    { "catalogue/suppliers.yaml", plan_data_suppliers },
    { "catalogue/apis.yaml", plan_data_apis },
    { "catalogue/figures.yaml", plan_data_figures },
    { NULL, NULL },
};

const struct plan_data plan_examples[] = {
    { "billion", plan_data_billion },
    { "own-silicon", plan_data_own_silicon },
    { "hospital", plan_data_hospital },
    { "token-factory", plan_data_token_factory },
    { NULL, NULL },
};

const struct plan_data *plan_example_find(const char *name)
{
    for (const struct plan_data *d = plan_examples; d->name; d++)
        if (!strcmp(d->name, name))
            return d;
    return NULL;
}
