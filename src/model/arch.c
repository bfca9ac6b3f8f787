/* arch -- the table of architectures. */
#include "model/arch.h"

#include "base/mem.h"

#include <string.h>

static const struct model_arch *const table[] = {
#define ARCH(name) &arch_##name,
#include "model/arch.def"
#undef ARCH
};

const struct model_arch *model_arch_find(struct gguf_str name)
{
    for (size_t i = 0; i < MEM_COUNT(table); i++)
        if (strlen(table[i]->name) == name.len && !memcmp(table[i]->name, name.data, name.len))
            return table[i];
    return NULL;
}

const char *model_arch_names(void)
{
    return "llama, qwen2, qwen3, qwen3moe, gemma2, gemma3, phi3, olmo2, granite, smollm3, glm4, gpt-oss, "
           "bert, nomic-bert";
}
