/* mix -- quantisation recipes: which type a tensor gets when a model is written as "Q4_K_M" or the like.
 *
 * A recipe is a base type and a few tensors that lose most when they are squeezed and get more bits: the output
 * matrix, values of attention, ffn_down in the first and last eighth of the layers and every third between. The rules
 * are those that files of these names on the public hubs follow. */
#ifndef MODEL_MIX_H
#define MODEL_MIX_H
#include "gguf/gguf.h"

struct mix;

/* What the rules ask about the model, read once from the file. */
struct mix_facts {
    int layers, experts;
    int group;          /* query heads for each key/value head */
    bool tied;          /* token_embd serves as output */
};

const struct mix *mix_find(const char *name); /* NULL: no such recipe */
const char *mix_names(void);                  /* "F32, F16, ..." */
const char *mix_name(const struct mix *m);
int mix_file_type(const struct mix *m);       /* general.file_type */
void mix_read_facts(const struct gguf_file *f, struct mix_facts *out);
/* The type this tensor is written in. Vectors, norms, routers and biases keep theirs. */
enum kern_type mix_type_of(const struct mix *m, const struct mix_facts *facts, const struct gguf_tensor *t);
#endif
