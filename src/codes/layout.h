/* How codes lie in memory: a borrowed view of the codes of some rows, which an opened .msim file
 * hands to a backend. docs/SEARCH.md, Scans of codes, defines every number; docs/FORMATS.md, Codes,
 * the file.
 *
 * Rows lie in tiles of 16, so that a lane of a vector register is a row and no kernel adds across
 * lanes. A tile is, from left to right:
 *   int8   [dim / 4, rounded up][16 rows][4] u8: code + 128;  f32 a[16], rho[16], t[16], y[16]
 *   bf16   [dim / 2, rounded up][16 rows][2] bf16;            f32 rho[16], t[16]
 * In both codecs a row has 4 bytes in each group of [16 rows][4 bytes], and the constants come
 * after all groups.
 *
 * Components past dim are codes of 0. Rows past n_rows, zero rows and rows with NaN or infinity
 * have rho = -infinity. Rows without a certificate have rho = +infinity, so they are always
 * scored. */
#ifndef MS_CODES_LAYOUT_H
#define MS_CODES_LAYOUT_H
#include "base/status.h"

enum {
    MS_CODES_TILE = 16,      /* rows */
    MS_CODES_INT8_GROUP = 4, /* components of a group */
    MS_CODES_BF16_GROUP = 2,
    MS_CODES_ROW_BYTES = 4, /* of one row in a group */
    MS_CODES_GROUP_BYTES = MS_CODES_TILE * MS_CODES_ROW_BYTES,
    MS_CODES_CONSTANT_BYTES = MS_CODES_TILE * 4 /* one f32 of each row */
};

/* Offsets, in bytes, of each kind of constant from the start of a tile's constants; and the bytes
 * of all constants of a tile. */
enum {
    MS_CODES_INT8_A = 0 * MS_CODES_CONSTANT_BYTES,
    MS_CODES_INT8_RHO = 1 * MS_CODES_CONSTANT_BYTES,
    MS_CODES_INT8_T = 2 * MS_CODES_CONSTANT_BYTES,
    MS_CODES_INT8_Y = 3 * MS_CODES_CONSTANT_BYTES,
    MS_CODES_INT8_CONSTANTS = 4 * MS_CODES_CONSTANT_BYTES,

    MS_CODES_BF16_RHO = 0 * MS_CODES_CONSTANT_BYTES,
    MS_CODES_BF16_T = 1 * MS_CODES_CONSTANT_BYTES,
    MS_CODES_BF16_CONSTANTS = 2 * MS_CODES_CONSTANT_BYTES
};

typedef struct ms_codes {
    const float *centre;              /* [dim] */
    const unsigned char *int8, *bf16; /* tiles, 64-byte aligned; NULL: the file lacks that codec */
    const int64_t *zeros, *nonfinite; /* rows of zeros; rows with NaN or infinity; both ascending */
    size_t n_zeros, n_nonfinite;
    int64_t n_rows, dim;
} ms_codes;

/* ms_codes_int8 and ms_codes_bf16: bytes of a tile's groups, after which its constants begin.
 * ms_codes_int8_tile and ms_codes_bf16_tile: bytes of the whole tile. */
static inline size_t ms_codes_int8(size_t dim) {
    return (dim + MS_CODES_INT8_GROUP - 1) / MS_CODES_INT8_GROUP * MS_CODES_GROUP_BYTES;
}
static inline size_t ms_codes_int8_tile(size_t dim) {
    return ms_codes_int8(dim) + MS_CODES_INT8_CONSTANTS;
}
static inline size_t ms_codes_bf16(size_t dim) {
    return (dim + MS_CODES_BF16_GROUP - 1) / MS_CODES_BF16_GROUP * MS_CODES_GROUP_BYTES;
}
static inline size_t ms_codes_bf16_tile(size_t dim) {
    return ms_codes_bf16(dim) + MS_CODES_BF16_CONSTANTS;
}

#endif
