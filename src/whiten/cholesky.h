/* Cholesky's factor of a symmetric positive matrix, and its inverse. Lower triangles, row by row.
 * Plain double in one fixed order, without fused operations. */
#ifndef MS_WHITEN_CHOLESKY_H
#define MS_WHITEN_CHOLESKY_H
#include <stdbool.h>
#include <stddef.h>

/* a = L L^T; L replaces a. False when a is not positive. */
bool ms_cholesky_factor(double *a, size_t dim);
/* out = the inverse of L. out [dim (dim + 1) / 2] is not l. */
void ms_cholesky_invert(double *out, const double *l, size_t dim);

#endif
