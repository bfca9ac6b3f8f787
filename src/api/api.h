/* api -- dialects as pure functions: request bytes -> job; tokens -> response bytes. No sockets, no threads.
 *
 * A job is one HTTP request: one or more prompts, each with n choices, numbered prompt * n + i. Whoever runs it
 * (engine/, lib/) creates one sequence for each choice with seed params.seed + choice, feeds every token back
 * through api_choice_token, and sends what is appended to `out`. One thread at a time per job.
 *
 * docs/api.md lists every field and what becomes of it. */
#ifndef API_API_H
#define API_API_H
#include "base/buf.h"
#include "base/err.h"
#include "base/json.h"
#include "infer/params.h"
#include "model/adapter.h"
#include "model/model.h"
#include "text/template.h"
#include "text/vocab.h"

#include <pthread.h>

enum { API_PROMPTS_MAX = 128, API_CHOICES_MAX = 128, API_STOPS_MAX = 16, API_STOP_BYTES_MAX = 1024 };

/* What becomes of texts that are to be vectors. */
struct api_pooling {
    enum model_pooling how;       /* unless a request says otherwise */
    int dim;                      /* of a vector */
    int labels;                   /* scores of a classification head; 0: the model has none */
    bool encoder;                 /* sees texts whole and generates nothing */
    bool segments;                /* tells the second of two texts from the first */
    bool matryoshka;              /* the operator says that its vectors may be cut */
};

/* LoRA adapters by name. Any thread: requests are read by one while others end, and adapters come and go meanwhile.
 * A job holds its adapter from api_job_parse to api_job_free. */
enum { API_ADAPTERS_MAX = MODEL_ADAPTERS_MAX, API_ADAPTER_NAME_MAX = 64 };
struct api_adapters {
    pthread_mutex_t lock;
    struct {
        char name[API_ADAPTER_NAME_MAX];
        struct model_adapter *adapter; /* NULL: free */
        int users;                     /* jobs */
    } slots[API_ADAPTERS_MAX];
};
void api_adapters_init(struct api_adapters *a);
void api_adapters_release(struct api_adapters *a); /* no job is left; the adapters are freed */
/* Takes the adapter over; ERR_LIMIT: all slots are taken, ERR_INVALID: the name cannot be, ERR_BUSY: it is taken. */
enum err_code api_adapters_put(struct api_adapters *a, const char *name, struct model_adapter *adapter, struct err *e);
/* Out of the list and freed; ERR_NOT_FOUND, or ERR_BUSY while a job has it. */
enum err_code api_adapters_drop(struct api_adapters *a, const char *name, struct err *e);
json_t *api_adapters_names(struct api_adapters *a); /* a new array */

/* What the dialects need to know of the model that serves them; borrowed for the life of each job. */
struct api_model {
    const char *id;               /* as shown to clients */
    const struct vocab *vocab;
    const struct template *chat;  /* NULL: the file has no chat template, chat requests are 400 */
    const struct calls_form *form; /* how it writes calls and thoughts (api_form_new); NULL: found each time */
    int ctx;                      /* positions a sequence may have */
    struct api_pooling pooling;
    struct api_adapters *adapters; /* NULL: none */
    int top_k_default;            /* and other defaults the file or configuration gives; 0 = ours */
    const json_t *defaults;       /* fields a body has unless it says otherwise; NULL: none */
    const char *fingerprint;      /* system_fingerprint of responses; NULL: the id */
    struct grammar_trie *trie;    /* prepared when the first job with a grammar is read; NULL: there is none */
};

/* From the chat template, which the model must have; some ten renderings. Free with calls_form_free. */
struct calls_form;
struct calls_form *api_form_new(const struct api_model *m);
void calls_form_free(struct calls_form *f);

struct api_store; /* store.h: the conversations /v1/responses may go on with */

struct api_request {
    const char *method;           /* NULL: "POST" */
    const char *path;             /* "/v1/chat/completions" */
    const char *body;             /* JSON; nothing for GET and DELETE */
    size_t body_len;
    const char *response_id;      /* from the request record, so that a resumed response has the same bytes */
    int64_t created;              /* Unix seconds, likewise */
    uint64_t seed;                /* used when the client gave none */
    struct api_store *store;      /* NULL: nothing is kept */
    uint64_t space;               /* the tenant's name space in it */
    bool text_only;               /* the response is the answers' bare text as it comes, nothing round it (lib/) */
};

struct api_job; /* opaque; owned by the caller once parsed */

/* An error a client sees: HTTP status and the OpenAI error object's fields. */
struct api_error {
    int status;                   /* 400, 404, 413 ... */
    char type[40];                /* "invalid_request_error" */
    char param[80];               /* the field at fault, or "" */
    char code[60];                /* or "" */
    char message[ERR_TEXT_MAX];
};

/* NULL and *error filled when refused. Fields that cannot change tokens are accepted (CONTRACTS.md, Fields);
 * whatever else is unknown or unsupported is 400 naming it. A prompt longer than the context is 400 with both
 * numbers. */
struct api_job *api_job_parse(const struct api_model *m, const struct api_request *r, struct api_error *error);
void api_job_free(struct api_job *j);
void api_error_json(const struct api_error *e, struct buf *out); /* {"error":{...}} */

int api_job_choices(const struct api_job *j);                   /* prompts x n; 0: answered by begin and end alone */
const struct vocab_ids *api_job_prompt(const struct api_job *j, int choice); /* borrowed */
const struct infer_params *api_job_params(const struct api_job *j);          /* choice i samples with seed + i */
const struct model_adapter *api_job_adapter(const struct api_job *j);         /* NULL: the model as it is */
bool api_job_stream(const struct api_job *j);
/* 200; 5xx once a choice finished with INFER_FAILED or INFER_CANCELLED: the body (or the last event of a stream,
 * whose head is long gone) is then an error object, so that nobody takes half an answer for a whole one. */
int api_job_status(const struct api_job *j);
const char *api_job_content_type(const struct api_job *j);      /* "application/json" or "text/event-stream" */

struct api_usage {
    int prompt_tokens, cached_tokens, completion_tokens;
};

/* What the runner knows of the run, for dialects that report it; told before begin and before end, or never. */
struct api_measure {
    int cached_tokens;
    int64_t queue_ns, prefill_ns, decode_ns, total_ns;
};
void api_job_measured(struct api_job *j, const struct api_measure *m);
/* Guesses of a choice's tokens that were checked, for the usage; told before its finish, or never. */
void api_job_guessed(struct api_job *j, int accepted, int rejected);

/* Response bytes. For a stream each call appends whole events; otherwise everything is appended by api_job_end. */
void api_job_begin(struct api_job *j, struct buf *out);
/* true: a stop string was completed: end the sequence with INFER_STOP (its text is cut before the string). */
bool api_choice_token(struct api_job *j, int choice, const struct infer_token *t, struct buf *out);
void api_choice_finish(struct api_job *j, int choice, enum infer_finish why, struct buf *out);
void api_job_end(struct api_job *j, const struct api_usage *u, struct buf *out);

/* Jobs whose answer is vectors: each choice is a text that is pooled, not gone on with. Each gets its vector before
 * api_choice_finish. */
bool api_job_pools(const struct api_job *j);
/* second: where the second of two texts begins, or 0. */
enum model_pooling api_choice_pooling(const struct api_job *j, int choice, int *second);
void api_choice_vector(struct api_job *j, int choice, const float *v, int n);
#endif
