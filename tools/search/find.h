/* Rows of a corpus by name: names are asked for first, then one pass over all names of the corpus
 * finds their rows. So memory grows with what is asked for and found, not with the corpus. And
 * underneath, a table of texts. One thread. */
#ifndef MS_TOOLS_SEARCH_FIND_H
#define MS_TOOLS_SEARCH_FIND_H
#include "common/cli.h"

/* ---- Texts, each once, numbered in the order in which they came ---- */

typedef struct {
    size_t at, n; /* bytes[at .. at + n) */
    uint64_t hash;
} ms_search_text;

typedef struct {
    char *bytes; /* owned */
    size_t n_bytes, bytes_cap;
    ms_search_text *items; /* owned: [n] */
    size_t n, cap;
    size_t *slots; /* owned: [n_slots], a power of two; 0: free, else number + 1 */
    size_t n_slots;
    uint64_t seed; /* of this run: input made to collide would have to guess it */
} ms_search_texts;

/* Number of the text, which is added when it is not there yet. *is_new may be NULL. */
size_t ms_search_texts_add(ms_search_texts *texts, const char *text, size_t n, bool *is_new);
/* Number of the text, or -1. */
int64_t ms_search_texts_find(const ms_search_texts *texts, const char *text, size_t n);
void ms_search_texts_free(ms_search_texts *texts);

/* ---- Rows ---- */

typedef struct {
    int64_t row, next; /* next hit of the same name, or -1 */
} ms_search_named;

typedef struct {
    ms_search_texts wanted;
    int64_t *first, *last; /* owned: [wanted.n], hits of each name, or -1 */
    ms_search_named *hits; /* owned: [n] */
    size_t n, cap;
} ms_search_names;

void ms_search_names_want(ms_search_names *names, const char *name, size_t n);
/* Find the rows of all wanted names. False after a signal. */
bool ms_search_names_scan(ms_search_names *names, const msim_corpus *corpus);
/* First hit of a name (its lowest row), or -1. */
int64_t ms_search_names_first(const ms_search_names *names, const char *name, size_t n);
/* Rows whose name is nearly this one (letter case, folders and extension aside): "'a.mid',
 * 'b/a.mid'" into text, or nothing. */
void ms_search_names_suggest(const msim_corpus *corpus, const char *name, size_t n, char *text,
                             size_t cap);
void ms_search_names_free(ms_search_names *names);

#endif
