/* A fit of a whitening with its progress, and whether rows that were whitened elsewhere fit a
 * corpus. docs/WHITENING.md. */
#ifndef MS_TOOLS_COMMON_FIT_H
#define MS_TOOLS_COMMON_FIT_H
#include "common/cli.h"

/* msim_whitening_fit with its progress shown. Where rows are too few, the message names the option
 * that helps. */
int ms_cli_fit(const msim_corpus *corpus, const msim_whitening_options *options,
               msim_whitening **out, msim_error *err);

/* How the rows of queries were whitened, beside those of a corpus. */
enum ms_cli_rows {
    MS_CLI_ROWS_RAW,   /* not at all */
    MS_CLI_ROWS_ALIKE, /* with the map of the corpus */
    MS_CLI_ROWS_OTHER  /* with another map, or those of the corpus are not whitened */
};
/* own: the whitening of the corpus, or NULL. Returns one of ms_cli_rows, or < 0. */
int ms_cli_compare_rows(const msim_whitening *own, const msim_corpus *queries, msim_error *err);

#endif
