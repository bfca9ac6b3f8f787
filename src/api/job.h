/* job -- what a parsed request is inside api/: prompts, parameters, and the state of each choice's text.
 *
 * I1  Text leaves a choice only up to the first byte that could still begin a stop string.
 * I2  `pending` starts and ends on UTF-8 boundaries: vocab_stream gives whole characters, stop strings are
 *     valid UTF-8, so neither cut can fall inside one.
 * I3  A token's logprobs leave with, never before, the text it completed. */
#ifndef API_JOB_H
#define API_JOB_H
#include "api/api.h"
#include "api/parts.h"
#include "api/reply.h"
#include "api/stop.h"
#include "api/tools.h"

/* The two forms of body that fields.c, sampling.c and their kin read; other dialects are rewritten as one of them.
 * Bits: the field table says where a field belongs. */
enum api_dialect { API_CHAT = 1, API_COMPLETION = 2 };

enum {
    API_BODY_FIELDS_MAX = 256,
    API_MESSAGES_MAX = 16384,
    API_PARTS_MAX = 4096,
    API_COMPLETION_TOKENS_DEFAULT = 16, /* OpenAI's default for /v1/completions */
};

/* A generated token whose logprobs wait to be sent. Offsets count bytes of the choice's visible text. */
struct api_token {
    struct infer_token token;
    size_t start, end;
    size_t start_char;        /* the same start in characters, as text_offset counts */
};

struct api_choice {
    struct vocab_stream stream;
    struct stop_state stop;
    struct buf pending;       /* visible text not yet released (I1) */
    struct reply *reply;      /* tells thoughts and calls apart; NULL: all is text */
    struct api_parts parts;   /* what was said; only when not streaming, or when the writer keeps it */
    int calls;                /* tool calls opened so far */
    int thought_tokens;       /* of those drawn so far */
    bool thinking;            /* the latest delta was a thought */
    struct vocab_ids ids;     /* every token drawn; only when the job keeps them */
    struct buf stop_text;     /* the stop string that ended it, or empty */
    size_t seen, seen_chars;  /* visible text so far, pending included */
    size_t released;          /* bytes of it released */
    struct api_token *tokens; /* [token_count], owned; filled when logprobs are asked for */
    int token_count, token_cap;
    int token_ready, token_sent; /* streams: up to where their text was released; sent with it */
    int generated;
    bool stopped;             /* a stop string was completed */
    enum infer_finish finish;
};

struct api_writer;
struct api_route;
struct api_vectors;
struct api_job {
    enum api_dialect dialect;
    const struct api_writer *writer; /* what becomes of the answer */
    const struct api_model *model; /* borrowed */
    char *id;                      /* of the response */
    int64_t created;
    struct infer_params params;
    struct stop_set stops;
    struct grammar *grammar;       /* what the answer must look like, or NULL; params borrows it */
    bool stream, include_usage, echo, text_only;
    struct api_tools tools;        /* chat: calls and thoughts */
    bool functions;                /* asked for in their older names: the answer has the older shape */
    struct vocab_ids *prompts;     /* [prompt_count] */
    struct buf *echo_text;         /* [prompt_count]; empty without echo */
    int prompt_count, n;
    struct api_choice *choices;    /* [prompt_count * n] */
    struct buf head;               /* "id":... up to "system_fingerprint":"...", the part all objects share */
    const char *object;            /* of a stream's chunks or of the whole response */
    /* of the dialects that are rewritten: translate.h */
    const struct api_route *route; /* whose request this is */
    json_t *ask;                   /* the client's own body, for what its answer repeats; or NULL */
    json_t *origins;               /* where in the client's body each message came from; or NULL */
    json_t *conversation;          /* the messages so far, to be stored with the answer; or NULL */
    struct api_store *store;       /* borrowed; NULL: nothing is kept */
    uint64_t space;
    struct api_measure measured;
    bool keep_ids;
    struct {
        bool asked, rolling;
        int keep;                  /* 0: all */
        int cut_tokens, dropped_messages;
    } window;                      /* window.h */
    const char *adapter_name;      /* of the LoRA adapter that answers, borrowed; NULL: the model as it is */
    const struct model_adapter *adapter;
    int adapter_slot;              /* whose user this job is, while adapter is set */
    struct api_vectors *vectors;   /* texts that become vectors (vectors.h), or NULL */
    struct buf ready;              /* no choices: the whole answer, known when the request was read */
    struct { int sequence, opened; bool open; } blocks; /* of a stream: blocks.h */
    int drafts_accepted, drafts_rejected; /* guesses that were checked */
    enum infer_finish failed;      /* INFER_RUNNING, or why the job as a whole failed */
    bool error_sent;
};

/* The model's id, and the adapter's behind a colon, as a JSON string. */
void api_put_model(const struct api_job *j, struct buf *out);
/* Refuses with a sentence; always returns false, so that `return api_refuse(...)` reads well. code may be "". */
bool api_refuse(struct api_error *error, int status, const char *param, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* The same from a lower floor's error: its sentence, and the status its code stands for. */
bool api_refuse_err(struct api_error *error, const char *param, const struct err *e);

/* adapter.c: `lora`, or what follows the colon of `model`. */
bool api_adapter_read(struct api_job *j, const json_t *body, struct api_error *error);
/* functions.c: the older names of tools in a chat body become today's. */
bool api_functions_read(struct api_job *j, json_t *body, struct api_error *error);
void api_adapter_let_go(struct api_job *j);
/* fields.c: every key of the body is known, none is one we do not do. */
bool api_fields_check(const json_t *body, enum api_dialect dialect, const struct api_model *m,
                      struct api_error *error);
/* sampling.c: fills params, stops, n, stream and their kin. */
bool api_sampling_read(struct api_job *j, const json_t *body, const struct api_request *r, struct api_error *error);
/* structured.c: the grammar of the answer, if a field asks for one; after sampling was read. */
bool api_structured_read(struct api_job *j, const json_t *body, struct api_error *error);
/* chat.c and completion.c: fill prompts. */
bool api_chat_read(struct api_job *j, const json_t *body, struct api_error *error);
bool api_completion_read(struct api_job *j, const json_t *body, struct api_error *error);
/* text -> ids with BOS where the vocabulary asks for one and the text has none. */
bool api_prompt_encode(struct api_job *j, const char *text, size_t n, const char *param, struct vocab_ids *out,
                       struct api_error *error);

/* logprobs.c: the "logprobs" value for tokens [first, end) of a choice; `null` when not asked for. */
void api_logprobs_write(const struct api_job *j, const struct api_choice *c, int first, int end, struct buf *out);
/* The list of token objects alone, as the chat form has it. */
void api_logprobs_list(const struct api_job *j, const struct api_choice *c, int first, int end, struct buf *out);
#endif
