/* A fit of a whitening with its progress. docs/WHITENING.md. */
#ifndef MS_TOOLS_COMMON_FIT_H
#define MS_TOOLS_COMMON_FIT_H
#include "common/cli.h"

/* msim_whitening_fit with its progress shown. Where rows are too few, the message names the option
 * that helps. */
int ms_cli_fit(const msim_corpus *corpus, const msim_whitening_options *options,
               msim_whitening **out, msim_error *err);

#endif
