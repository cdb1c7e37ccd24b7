/* Fitting a whitening on the rows of a corpus (whiten/whitening.h), and finding the one that a
 * whitened corpus has in its descriptions. */
#ifndef MS_CORPUS_WHITEN_H
#define MS_CORPUS_WHITEN_H
#include "corpus/corpus.h"
#include "whiten/sums.h"
#include "whiten/whitening.h"

/* What a fit runs with; the rest is in the caller's options, which are checked. */
typedef struct {
    const msim_whitening_options *options;
    const ms_whiten_kernels *kernels;
    ms_pool *pool;
} ms_fit_setup;

/* msim_whitening_fit. */
int ms_corpus_fit(const msim_corpus *corpus, const ms_fit_setup *setup, msim_whitening **out,
                  msim_error *err);

/* Add the nuisance to the statistics of a fit on `corpus`: of each row of `altered` that has the
 * name of a row of `corpus`, the difference to the first such row, both at length 1. Rows of zeros,
 * and those with NaN or infinity, are left out. -MSIM_E_EMPTY when nothing is left. */
int ms_corpus_add_altered(const msim_corpus *corpus, const msim_corpus *altered,
                          ms_whiten_stats *stats, msim_error *err);

/* What is known of a corpus's whitening; read when first asked for. */
typedef struct ms_whitened ms_whitened;
int ms_whitened_open(ms_whitened **out, msim_error *err);
void ms_whitened_close(ms_whitened *whitened);

#endif
