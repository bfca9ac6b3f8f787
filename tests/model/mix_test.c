/* mix_test -- which tensors of Llama 3.1 8B get more bits: as in the files of these names on the public hubs. */
#include "../test.h"
#include "model/mix.h"

static enum kern_type type_in(const char *mix, const struct mix_facts *facts, const char *name, uint64_t cols)
{
    struct gguf_tensor t = { .name = { name, strlen(name) }, .type = KERN_F16, .dims = 2, .ne = { cols, 1024, 1, 1 } };
    return mix_type_of(mix_find(mix), facts, &t);
}

static const struct mix_facts llama8b = { .layers = 32, .experts = 0, .group = 4, .tied = false };

/* Layers whose attn_v and ffn_down are Q6_K in the Q4_K_M file. */
static void q4_k_m(void)
{
    static const int more[] = { 0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29, 30, 31 };
    int at = 0;
    for (int i = 0; i < 32; i++) {
        char name[64];
        bool six = at < 16 && more[at] == i;
        at += six;
        snprintf(name, sizeof name, "blk.%d.attn_v.weight", i);
        CHECK_INT(type_in("Q4_K_M", &llama8b, name, 4096), six ? KERN_Q6_K : KERN_Q4_K);
        snprintf(name, sizeof name, "blk.%d.ffn_down.weight", i);
        CHECK_INT(type_in("Q4_K_M", &llama8b, name, 14336), six ? KERN_Q6_K : KERN_Q4_K);
    }
    CHECK_INT(type_in("Q4_K_M", &llama8b, "output.weight", 4096), KERN_Q6_K);
    CHECK_INT(type_in("Q4_K_M", &llama8b, "token_embd.weight", 4096), KERN_Q4_K);
    CHECK_INT(type_in("Q4_K_M", &llama8b, "blk.5.attn_q.weight", 4096), KERN_Q4_K);
}

static void other_recipes(void)
{
    CHECK_INT(type_in("Q4_K_S", &llama8b, "blk.3.attn_v.weight", 4096), KERN_Q5_K);
    CHECK_INT(type_in("Q4_K_S", &llama8b, "blk.4.attn_v.weight", 4096), KERN_Q4_K);
    CHECK_INT(type_in("Q3_K_M", &llama8b, "blk.1.ffn_down.weight", 14336), KERN_Q5_K);
    CHECK_INT(type_in("Q3_K_M", &llama8b, "blk.2.ffn_down.weight", 14336), KERN_Q4_K);
    CHECK_INT(type_in("Q3_K_M", &llama8b, "blk.2.attn_output.weight", 4096), KERN_Q4_K);
    CHECK_INT(type_in("Q2_K", &llama8b, "blk.2.attn_v.weight", 4096), KERN_Q4_K);
    CHECK_INT(type_in("Q2_K", &llama8b, "blk.2.ffn_down.weight", 14336), KERN_Q3_K);
    CHECK_INT(type_in("Q4_0", &llama8b, "output.weight", 4096), KERN_Q6_K);
    CHECK_INT(type_in("Q8_0", &llama8b, "output.weight", 4096), KERN_Q8_0);
    CHECK_INT(type_in("F16", &llama8b, "output.weight", 4096), KERN_F16);
    CHECK(mix_find("Q4_K_L") == NULL);
}

static void rows_that_do_not_divide(void)
{
    CHECK_INT(type_in("Q4_K_M", &llama8b, "blk.5.attn_q.weight", 576), KERN_Q5_0);
    CHECK_INT(type_in("Q4_K_M", &llama8b, "output.weight", 576), KERN_Q8_0);
    CHECK_INT(type_in("Q5_K_S", &llama8b, "blk.5.attn_q.weight", 576), KERN_Q5_1);
    CHECK_INT(type_in("Q2_K", &llama8b, "blk.5.attn_q.weight", 576), KERN_IQ4_NL);
    CHECK_INT(type_in("Q4_0", &llama8b, "blk.5.attn_q.weight", 40), KERN_F16);
}

static void small_tensors_stay(void)
{
    const struct mix_facts tied = { .layers = 32, .group = 1, .tied = true };
    struct gguf_tensor norm = { .name = { "output_norm.weight", 18 }, .type = KERN_F32, .dims = 1,
                                .ne = { 4096, 1, 1, 1 } };
    CHECK_INT(mix_type_of(mix_find("Q4_K_M"), &tied, &norm), KERN_F32);
    CHECK_INT(type_in("Q4_K_M", &tied, "blk.0.ffn_gate_inp.weight", 4096), KERN_F16);
    CHECK_INT(type_in("Q4_K_M", &tied, "blk.0.ffn_gate_exps.bias", 4096), KERN_F16);
    CHECK_INT(type_in("Q4_K_M", &tied, "token_embd.weight", 4096), KERN_Q6_K);
}

int main(void)
{
    RUN(q4_k_m);
    RUN(other_recipes);
    RUN(rows_that_do_not_divide);
    RUN(small_tensors_stay);
    DONE();
}
