/* tools -- what a chat request asks of calls and thoughts, beside its messages; kept in the job. */
#ifndef API_TOOLS_H
#define API_TOOLS_H
#include "api/calls.h"
#include "base/err.h"
#include "infer/params.h"
#include "text/grammar.h"
#include "text/vocab.h"

enum { API_TOOLS_MAX = 128, API_TOOL_NAME_MAX = 64 };
enum api_call_choice { API_CALL_NEVER, API_CALL_MAY, API_CALL_MUST };

struct api_tools {
    const struct calls_form *form; /* of the model; NULL outside chat */
    struct calls_form *own;        /* when nobody derived it before */
    json_t *list;                  /* as the template is shown them; NULL: none */
    json_t *allowed;               /* those that may be called now */
    enum api_call_choice choice;
    bool many;                     /* several in one answer */
    bool thinks;                   /* the answer may hold a thought */
    bool in_thought;               /* the prompt has begun it */
    bool limited;                  /* `thought` is in force */
    struct infer_thought thought;
    struct vocab_ids close;        /* thought.close */
    int32_t *shown;                /* [shown_count] control tokens that are tags of the form: text to reply.c */
    int shown_count;
};

struct api_job;
struct api_error;

/* tools.c: `tools`, `tool_choice`, `parallel_tool_calls`; before the messages are read. */
bool api_tools_read(struct api_job *j, const json_t *body, struct api_error *error);
/* reasoning.c: the fields that say how much to think; variables for the template go into `context`. */
bool api_reasoning_read(struct api_job *j, const json_t *body, json_t *context, struct api_error *error);
/* answer.c, after the prompt was made: where the answer begins, and the grammar that holds its calls. */
bool api_answer_begin(struct api_job *j, const struct buf *prompt, struct api_error *error);
void api_tools_release(struct api_tools *t);
bool api_tools_shows(const struct api_tools *t, int32_t id);

/* calls_grammar.c */
struct calls_wish {
    const struct calls_form *form;
    const struct vocab *vocab;
    const json_t *tools;           /* may be called; NULL or empty: none */
    enum api_call_choice choice;
    bool many, thinks, in_thought;
    struct grammar *content;       /* what an answer that is no call must look like; taken; NULL: any text */
};
/* NULL with a sentence; *tool is the tool at fault, or -1. */
struct grammar *calls_grammar(const struct calls_wish *w, int *tool, struct err *e);
/* A tag or other text of the form as the model spells it: control tokens as grammar_control writes them. */
void calls_spell(const struct vocab *v, const char *text, struct buf *out);
#endif
