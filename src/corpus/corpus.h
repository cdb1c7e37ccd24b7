/* Rows and their names, in one file or several, opened for search. All formats of docs/FORMATS.md,
 * Corpora, are read. */
#ifndef MS_CORPUS_CORPUS_H
#define MS_CORPUS_CORPUS_H
#include "base/rows.h"
#include "base/status.h"
#include "codes/codes.h"

/* msim_corpus is defined in corpus.c; its public functions live there too. */

/* Views of the corpus's rows, one per file, in row order: *n_views of them, borrowed until the
 * corpus is closed. */
const ms_rows *ms_corpus_views(const msim_corpus *corpus, size_t *n_views);
/* Read the name of a row into *name, NUL-terminated, and return its bytes. *name grows as needed
 * (ms_grow); free it with ms_free. */
int64_t ms_corpus_read_name(const msim_corpus *corpus, int64_t row, char **name, size_t *cap,
                            msim_error *err);
/* The part that holds a row of the corpus. */
int64_t ms_corpus_part_of(const msim_corpus *corpus, int64_t row);
/* Where its rows lie in their pieces (corpus/spans/spans.h), owned by the corpus; NULL for a corpus
 * in memory, whose rows are whole pieces. */
struct ms_spans *ms_corpus_spans(const msim_corpus *corpus);
/* And in which bars, in the same way. */
struct ms_span_bars *ms_corpus_bars(const msim_corpus *corpus);
/* What its descriptions say about a whitening (corpus/fits/whiten.h), in the same way. */
struct ms_whitened *ms_corpus_whitened(const msim_corpus *corpus);
/* Size and time of the file of a part when it was mapped. 0 <= part < parts. */
ms_codes_stamp ms_corpus_stamp(const msim_corpus *corpus, int64_t part);
/* Attach codes to a part. The corpus owns them from now on, and closes those that the part had. */
void ms_corpus_set_codes(msim_corpus *corpus, int64_t part, const ms_codes_file *file);

#endif
