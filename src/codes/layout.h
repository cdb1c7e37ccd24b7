/* A borrowed view of the small copy of some rows: what an opened .msim file hands to a backend.
 * docs/SEARCH.md, Compressed copies, defines every number; docs/FORMATS.md the file.
 *
 * Rows lie in tiles of 16, so that a lane of a vector register is a row and no kernel adds across
 * lanes:
 *   int8   [dim / 4, rounded up][16 rows][4] u8: code + 128;  f32 a[16], rho[16], t[16], y[16]
 *   bf16   [dim / 2, rounded up][16 rows][2] bf16;            f32 rho[16], t[16]
 * Components past dim are codes of 0. Rows past n_rows, zero rows and rows with NaN or infinity
 * have rho = -infinity; rows without a certificate have rho = +infinity and are always
 * evaluated. */
#ifndef MS_CODES_LAYOUT_H
#define MS_CODES_LAYOUT_H
#include "base/status.h"

enum { MS_CODES_TILE = 16, MS_CODES_INT8_GROUP = 4, MS_CODES_BF16_GROUP = 2 };

typedef struct ms_codes {
    const float *centre;              /* [dim] */
    const unsigned char *int8, *bf16; /* tiles, 64-byte aligned; NULL: the file lacks that form */
    const int64_t *zeros, *nonfinite; /* rows of zeros, rows with NaN or infinity: ascending */
    size_t n_zeros, n_nonfinite;
    int64_t n_rows, dim;
} ms_codes;

static inline size_t ms_codes_int8(size_t dim) {
    return (dim + MS_CODES_INT8_GROUP - 1) / MS_CODES_INT8_GROUP * MS_CODES_INT8_GROUP *
           MS_CODES_TILE;
}
static inline size_t ms_codes_int8_tile(size_t dim) {
    return ms_codes_int8(dim) + 4 * MS_CODES_TILE * sizeof(float);
}
static inline size_t ms_codes_bf16(size_t dim) {
    return (dim + MS_CODES_BF16_GROUP - 1) / MS_CODES_BF16_GROUP * MS_CODES_BF16_GROUP *
           MS_CODES_TILE * sizeof(uint16_t);
}
static inline size_t ms_codes_bf16_tile(size_t dim) {
    return ms_codes_bf16(dim) + 2 * MS_CODES_TILE * sizeof(float);
}

#endif
