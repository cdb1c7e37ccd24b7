/* Object arrays as the original saves them: a .npy header, then a pickle of (name, vector) pairs.
 * The closed machine of pickle/pickle.h reads them in one pass. Vectors and names stay where they
 * lie in the file; only their places are kept. docs/FORMATS.md, Corpora. */
#ifndef MS_NPY_PICKLED_H
#define MS_NPY_PICKLED_H
#include "npy/header.h"
#include "npy/view.h"

/* View a whole file whose header (has_objects) is parsed. On success *out owns two tables of 8
 * bytes a row. */
int ms_npy_pickle_view(const ms_npy_head *head, const unsigned char *bytes, size_t n_bytes,
                       const char *path, ms_npy_view *out, msim_error *err);

/* The place of a name, packed: bytes from the start of the file, and the name's length. */
#define MS_NPY_NAME_BITS 17 /* of the length: the machine takes texts of at most 65,536 bytes */
static inline uint64_t ms_npy_name_pack(uint64_t at, uint64_t n) {
    return at << MS_NPY_NAME_BITS | n;
}
static inline uint64_t ms_npy_name_at(uint64_t packed) { return packed >> MS_NPY_NAME_BITS; }
static inline size_t ms_npy_name_bytes(uint64_t packed) {
    return packed & (((uint64_t)1 << MS_NPY_NAME_BITS) - 1);
}

#endif
