/* A sample of unit rows, and the directions in which it varies most. */
#ifndef MS_SEARCH_JOIN_BASIS_H
#define MS_SEARCH_JOIN_BASIS_H
#include "search/join/kernels.h"
#include "search/slices.h"

enum {
    MS_BASIS_ROWS = 2048,   /* of the sample, a multiple of 16 */
    MS_BASIS_COLUMNS = 256, /* most of a basis */
    MS_BASIS_DIM = 1024 /* most components of rows that get a basis, which takes dim^2 numbers */
};

typedef struct {
    const ms_join_kernels *kernels;
    size_t dim, n_columns; /* 0 columns: there is no basis */
    float *mean;           /* owned: [dim] of the sample */
    float *rows;           /* owned: [MS_BASIS_ROWS][dim]: unit rows less the mean */
    float *basis;          /* owned: [dim][n_columns], orthonormal columns in f32 */
    float *mapped;         /* owned: [MS_BASIS_ROWS][n_columns]: the sample behind it */
} ms_basis;

/* Sample the rows of a and b, which may be a. has_columns 0: only mean and rows are found. On
 * failure *s is empty. */
int ms_basis_open(ms_basis *s, const ms_join_kernels *kernels, const ms_slices *a,
                  const ms_slices *b, int has_columns, msim_error *err);
void ms_basis_close(ms_basis *s);
/* The first n columns make no vector longer than by this factor. */
double ms_basis_stretch(const ms_basis *s, size_t n);

#endif
