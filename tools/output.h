/* The corpus that midisim-embed writes: what is checked about it before any work, what an existing one must be to stand
 * for this run, and the writing itself (corpus, then its description beside it). One thread. */
#ifndef MS_TOOLS_OUTPUT_H
#define MS_TOOLS_OUTPUT_H
#include "embedder.h"
#include "files.h"
#include "sidecar.h"

typedef struct {
    const char *path;         /* of the corpus */
    const char *name_field, *vector_field; /* NULL: the usual ones */
    int dtype;                /* msim_dtype */
} ms_output;

/* Before any work: the folder is there and can be written, the path is a file or nothing. *exists: there is one. */
int ms_output_check(const ms_output *output, bool *exists, msim_error *err);
/* An existing corpus: 1 when it is complete, was made with the same settings from the same names, and can be read;
 * < 0 with the difference otherwise. */
int ms_output_verify(const ms_output *output, const ms_sidecar *wanted, const ms_files_list *files, msim_error *err);
/* Write sorted rows and the description. */
int ms_output_write(const ms_output *output, const ms_rows_made *rows, const ms_sidecar *sidecar, msim_error *err);

#endif
