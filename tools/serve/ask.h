/* One request to search, as it was read from its path, its options and its body. */
#ifndef MS_TOOLS_SERVE_ASK_H
#define MS_TOOLS_SERVE_ASK_H
#include "base/status.h"
#include <stdbool.h>
#include <stdint.h>

enum ms_ask_kind { MS_ASK_MIDI, MS_ASK_PHRASE, MS_ASK_PIECE, MS_ASK_SHOW };
enum ms_ask_mode { MS_ASK_BOTH, MS_ASK_FIND, MS_ASK_LIKENESS };
enum ms_ask_keys { MS_ASK_ALL, MS_ASK_LIKELY, MS_ASK_OWN };
enum {
    MS_ASK_MAX_K = 100,
    MS_ASK_MAX_NOTES = 200000,
    MS_ASK_NAME_CHARS = 80,
    MS_ASK_ID_BYTES = 64
};

/* A piece of the corpus ('r', by a row) or of the note index ('n'). kind 0: none. */
typedef struct {
    char kind;
    int64_t number;
} ms_ask_piece;

typedef struct {
    int kind, mode, keys;
    int64_t k;
    char name[4 * MS_ASK_NAME_CHARS + 1]; /* what the query is called */
    char id[MS_ASK_ID_BYTES + 1];         /* of the search; "": none was given */
    unsigned char *bytes;                 /* owned: a MIDI file, or a phrase with its NUL */
    size_t n_bytes;
    ms_ask_piece piece;
} ms_ask;

/* Set the option `key` to `value`. -MSIM_E_ARG says what is wrong with it. */
int ms_ask_option(ms_ask *ask, const char *key, const char *value, msim_error *err);
/* The body of a request, which is taken from *bytes when it is MIDI. -MSIM_E_ARG says what is wrong
 * with it; -MSIM_E_UNSUPPORTED: of a type that is not read. */
int ms_ask_body(ms_ask *ask, const char *type, unsigned char **bytes, size_t n, msim_error *err);
/* "r12", "n3". */
bool ms_ask_read_piece(const char *text, ms_ask_piece *out);
bool ms_ask_is_id(const char *text);
void ms_ask_free(ms_ask *ask);

#endif
