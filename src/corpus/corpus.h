/* Rows and their names in one file or several, opened for search. Reads the codecs of
 * docs/FORMATS.md, Corpora. */
#ifndef MS_CORPUS_CORPUS_H
#define MS_CORPUS_CORPUS_H
#include "base/rows.h"
#include "base/status.h"
#include "codes/codes.h"

/* msim_corpus is defined in corpus.c; its public functions live there too. */

/* Views of the corpus's rows, in row order, one a file: *n_views of them, borrowed until the corpus
 * is closed. */
const ms_rows *ms_corpus_views(const msim_corpus *corpus, size_t *n_views);
/* The name of a row into *name, which grows where it must (ms_grow; ms_free it), NUL-terminated.
 * Returns its bytes. */
int64_t ms_corpus_read_name(const msim_corpus *corpus, int64_t row, char **name, size_t *cap,
                            msim_error *err);
/* What the file of a part was when it was mapped. 0 <= part < parts. */
ms_codes_stamp ms_corpus_stamp(const msim_corpus *corpus, int64_t part);
/* Attach codes to a part. The corpus owns them from now on, and closes those that the part had. */
void ms_corpus_set_codes(msim_corpus *corpus, int64_t part, const ms_codes_file *file);

#endif
