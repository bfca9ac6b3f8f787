/* runtime -- one loaded model ready to run: weights, tokenizer, chat template, scheduler. What the engine process
 * and the embedding library share.
 *
 * Owner: the thread that opened it is the step thread of its scheduler; vocab, chat template and facts are
 * immutable and may be read by any thread. */
#ifndef LIB_RUNTIME_H
#define LIB_RUNTIME_H
#include "api/api.h"
#include "kern/kern.h"
#include "model/model.h"
#include "sched/sched.h"

enum { RUNTIME_END_TOKENS_MAX = 32 };

struct runtime_options {
    const char *id;          /* the model's name for clients; copied */
    int threads;             /* 0: the processors this process may use */
    int ctx;                 /* 0: what the model was trained for, or what the KV memory holds */
    size_t kv_bytes;         /* 0: a quarter of memory_free, at most 64 contexts */
    struct model_part part;  /* the layers to load; kv_bytes are the whole model's all the same */
    int kv_layers;           /* whose keys and values the default counts; 0: all of the model's */
    const struct model_rest *rest; /* runs the others; borrowed; NULL: there are none */
    size_t memory_free;      /* what the system could give when runtime_defaults was called */
    enum kern_type kv_type;  /* KERN_F16 unless told */
    bool encoders;           /* models that only pool are welcome */
    const struct runtime_adapter *adapters; /* [adapter_count], borrowed for runtime_open */
    int adapter_count;
    int adapter_slots, adapter_rank; /* room for so many that come later, of this rank at most; 0: none */
    bool matryoshka;         /* vectors may be cut (api.h) */
    enum kern_isa isa;       /* the best rung allowed; KERN_ISA_COUNT: no cap */
    int batch_rows, prefill_rows, running_max, waiting_max; /* 0: the defaults of runtime.c */
    int draft_rows;          /* guesses of next tokens checked in a step for a sequence, at most; 0: none */
    int draft_fd;            /* a small model that guesses; -1: none. It stays the caller's */
    bool draft_always;       /* as many as there are, whether it pays or not */
    int itl_ms, ttft_ms;     /* targets: between tokens, and to the first (0: as soon as the other allows) */
    void (*progress)(void *arg, double fraction);
    void *progress_arg;
};

/* A LoRA adapter to begin with: its file is open. */
struct runtime_adapter {
    const char *name;
    int fd;
};

struct runtime {
    struct kern_table kern;
    struct pool *pool;
    struct model *model;
    struct model *draft;     /* NULL: none guesses */
    struct vocab *vocab;
    struct grammar_trie *trie; /* the vocabulary's bytes, for structured output */
    struct template *chat;   /* NULL: the file has none */
    struct calls_form *form; /* how it writes tool calls and thoughts; NULL without a template */
    struct sched *sched;
    struct api_model api;
    struct api_adapters adapters;
    int adapters_first, adapter_slots, adapter_rank; /* of the start; for later ones */
    char *id;
    int32_t end_tokens[RUNTIME_END_TOKENS_MAX];
    int end_count;
    struct model_needs needs;
};

/* Options with every default spelled out; fill what you want to change. */
struct runtime_options runtime_defaults(void);
/* fd stays the caller's. name is for messages. */
enum err_code runtime_open(int fd, const char *name, const struct runtime_options *o, struct runtime **out,
                           struct err *e);
void runtime_close(struct runtime *r);
/* An adapter comes to a model that runs, or leaves it: one thread at a time, beside the step thread. */
enum err_code runtime_adapter_add(struct runtime *r, const char *name, int fd, struct err *e);
enum err_code runtime_adapter_remove(struct runtime *r, const char *name, struct err *e); /* ERR_BUSY: it is in use */
/* What opening would take, from the file's header alone: the plan `inspect` prints. ctx: a sequence's positions. */
/* What a serving process takes beside weights, work and KV: the tokenizer, and the program itself. */
size_t runtime_host_bytes(const struct gguf_file *f);
enum err_code runtime_measure(int fd, const char *name, const struct runtime_options *o, struct model_needs *needs,
                              int *ctx, struct err *e);
/* {"id","arch","name","type","ctx",...}: what hello frames, /v1/models and `inspect` say alike. Appended. */
void runtime_facts_json(struct runtime *r, struct buf *out);
#endif
