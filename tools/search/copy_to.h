/* Copies of the matches' MIDI files, named as the original names them: DIR/<query
 * stem>/<score>_<transpose>_<name>.mid; what shares notes (--find) as
 * same_<rank>_<transpose>_<name>.mid. Sources are found by row name below the roots; nothing is
 * written outside DIR, whatever names and links there are, and nothing is replaced unless asked
 * for. Every file appears whole, under its name, or not at all. One thread. docs/SEARCH.md, Copies
 * of the matches. */
#ifndef MS_TOOLS_SEARCH_COPY_TO_H
#define MS_TOOLS_SEARCH_COPY_TO_H
#include "common/cli.h"
#include "print/results.h"

typedef struct ms_copy_to ms_copy_to;

typedef struct {
    const char *folder;        /* DIR, made when there is something to copy */
    const ms_cli_texts *roots; /* folders with the corpus's files */
    bool is_forced;            /* replace files */
    bool omits_original;       /* leave the query out */
} ms_copy_to_request;

/* Lists the roots. Errors: a root that is no folder; a signal. The request's texts are borrowed. */
int ms_copy_to_open(const ms_copy_to_request *request, ms_copy_to **out, msim_error *err);

typedef struct {
    const char *label; /* what the query is called: [n_label] */
    size_t n_label;
    msim_walk *walk;             /* of its file, or NULL */
    int64_t input;               /* the number of its file in the walk */
    const unsigned char *stream; /* its bytes, when it came from standard input, or NULL */
    size_t stream_bytes;
    bool is_row;           /* a row of the corpus, whose file is found by its name */
    const ms_asked *asked; /* the pieces that share its notes (--find), or NULL */
} ms_copy_to_query;

/* Copy the query and its matches; names come from `out`. What could not be copied is said and
 * counted. */
void ms_copy_to_add(ms_copy_to *copier, const ms_copy_to_query *query, ms_results_out *out,
                    const msim_match *matches, int64_t n);
/* Says how much was copied; returns how many files were there but could not be copied (missing
 * sources are none). */
int64_t ms_copy_to_finish(ms_copy_to *copier);
void ms_copy_to_close(ms_copy_to *copier);

#endif
