/* The names that matter for a search: --like, --exclude, --exclude-from and, for --exclude-self,
 * the names that a query itself may have in the corpus. */
#ifndef MS_TOOLS_SEARCH_NAMES_H
#define MS_TOOLS_SEARCH_NAMES_H
#include "corpus.h"

typedef struct {
    const ms_search_settings *set; /* borrowed */
    const msim_corpus *corpus;     /* borrowed */
    msim_name_set *names;          /* owned */
    msim_name_set *left_out;       /* owned: the names of --exclude and --exclude-from */
    int64_t *excluded;             /* owned: [n_excluded], rows that are no results */
    size_t n_excluded, excluded_cap;
} ms_search_names;

int ms_search_names_open(const ms_search_corpus *corpus, ms_search_names *out, msim_error *err);
void ms_search_names_close(ms_search_names *n);
/* A query that --exclude-self is to find: a file, or a vector of this name. */
int ms_search_names_want_file(ms_search_names *n, const msim_walk_item *file, msim_error *err);
int ms_search_names_want(ms_search_names *n, const char *name, size_t n_name, msim_error *err);
/* Look up all names in one pass over the corpus's names, and collect the excluded rows. */
int ms_search_names_scan(ms_search_names *n, msim_error *err);
/* The rows of a name, rising. Returns how many there are. */
int64_t ms_search_names_rows(const ms_search_names *n, const char *name, size_t n_name,
                             const int64_t **rows);
/* Is this one of the names of --exclude and --exclude-from? */
bool ms_search_names_is_excluded(const ms_search_names *n, const char *name, size_t n_name);
/* Is this a name that a file may have in the corpus? Standard input has none. */
bool ms_search_names_is_of_file(const msim_walk_item *file, const char *name, size_t n_name);
/* Leave the rows of its own names out of a query's matches (--exclude-self). */
int ms_search_names_leave_file(const ms_search_names *n, const msim_walk_item *file,
                               msim_searcher *s, int64_t query, msim_error *err);
int ms_search_names_leave(const ms_search_names *n, const char *name, size_t n_name,
                          msim_searcher *s, int64_t query, msim_error *err);

/* `midisim-search --generate-rows PREFIX CORPUS...`, for the completions of shells: prints the
 * names that begin with PREFIX, one per line, at most 200. Names with control bytes are left out.
 * Errors are silent: nothing may be written over a line that is being typed. Returns a
 * status. */
int ms_search_complete_rows(int argc, char **argv);

#endif
