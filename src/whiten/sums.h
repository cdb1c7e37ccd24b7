/* Sums of unit rows and of their products, from which mean and covariance follow. Rows are added in
 * order; every sum has one fixed order, whatever the threads and the level. Memory: the matrix, and
 * a round of rows. */
#ifndef MS_WHITEN_SUMS_H
#define MS_WHITEN_SUMS_H
#include "whiten/whitening.h"

typedef struct ms_whiten_sums ms_whiten_sums;

/* Read row i, counted through all rows, into out [dim]; any thread. */
typedef int (*ms_whiten_read)(void *user, int64_t i, float *out, msim_error *err);

int ms_whiten_sums_open(int64_t dim, const ms_whiten_kernels *kernels, ms_pool *pool,
                        ms_whiten_sums **out, msim_error *err);
void ms_whiten_sums_close(ms_whiten_sums *s);
/* Add the next rows, `first` to first + n - 1, n at most MS_WHITEN_ROUND. Rows of zeros, and those
 * with NaN or infinity, are left out; so is a row whose content was added before. All calls but the
 * last add MS_WHITEN_ROUND rows. */
enum { MS_WHITEN_ROUND = 1024 };
int ms_whiten_sums_add(ms_whiten_sums *s, int64_t first, int64_t n, ms_whiten_read read, void *user,
                       msim_error *err);
/* Mean and covariance of what was added. On failure there is nothing to close. */
int ms_whiten_sums_finish(const ms_whiten_sums *s, ms_whiten_stats *out, msim_error *err);

#endif
