/* Rows and their names in a file, opened as one view for search. Reads the .npy forms of docs/FORMATS.md. */
#ifndef MS_CORPUS_H
#define MS_CORPUS_H
#include "core/rows.h"
#include "core/status.h"

/* msim_corpus is defined in corpus.c; its public functions live there too. */

/* Views of the corpus's rows, in row order: *n_views of them, borrowed until the corpus is closed. */
const ms_rows *ms_corpus_views(const msim_corpus *corpus, size_t *n_views);

#endif
