/* params -- how a sequence is sampled and when it ends. Plain data; made by api/, obeyed by infer/ and sched/. */
#ifndef INFER_PARAMS_H
#define INFER_PARAMS_H
#include <stdbool.h>
#include <stdint.h>

enum {
    INFER_TOP_LOGPROBS_MAX = 20,
    INFER_LOGIT_BIAS_MAX = 1024,
};

struct infer_logit_bias {
    int32_t token;
    float bias; /* added to the logit; -100 and below forbids in practice */
};

struct grammar;

/* A limit on thinking aloud: when tokens_max of it were drawn, the tokens of `close` are drawn next, whatever the
 * logits say. */
struct infer_thought {
    int tokens_max;
    bool begun;            /* the prompt ends within a thought; else it begins where the text has `open` */
    const char *open, *end;/* the marks as the text shows them */
    const int32_t *close;  /* [close_count] */
    int close_count;
};

struct infer_params {
    int max_tokens;            /* <= 0: until the context is full */
    int min_tokens;            /* end tokens are forbidden before this many */
    bool ignore_eos;           /* end tokens are never drawn */
    float temperature;         /* 0: greedy */
    float top_p;               /* 1: off */
    float min_p;               /* 0: off */
    int top_k;                 /* 0: off */
    float frequency_penalty;   /* OpenAI: logit -= f * count + p * (count > 0), over generated tokens */
    float presence_penalty;
    float repetition_penalty;  /* 1: off; divides positive, multiplies negative logits of prompt and output tokens */
    uint64_t seed;             /* the draw at position i is a pure function of (seed, i) */
    int top_logprobs;          /* -1: no logprobs; 0: the token's own; else that many alternatives as well */
    const struct grammar *grammar; /* text/grammar.h: what the text must look like, or NULL; borrowed */
    const struct infer_thought *thought; /* NULL: no limit; borrowed */
    struct infer_logit_bias *bias; /* [bias_count], owned by whoever made the params */
    int bias_count;
};

enum infer_finish {
    INFER_RUNNING,
    INFER_STOP,      /* an end token or a stop string */
    INFER_LENGTH,    /* max_tokens or the context's end */
    INFER_CANCELLED,
    INFER_FAILED,
    INFER_DEADLINE,  /* its deadline passed */
};

struct infer_logprob {
    int32_t token;
    float logprob;   /* natural logarithm, after the temperature-free softmax of the raw logits */
};

/* One generated token as the scheduler reports it. */
struct infer_token {
    int32_t id;
    float logprob;   /* valid when top_logprobs >= 0 */
    int top_count;
    struct infer_logprob top[INFER_TOP_LOGPROBS_MAX]; /* best first */
};
#endif
