/* The safetensors container: eight bytes with the length of the header, a JSON header, then the
 * tensors without gaps. This is the writer; the reader is ms_safetensors_read (stored.h). It knows
 * no model. docs/FORMATS.md, Checkpoints. */
#ifndef MS_CHECKPOINT_SAFETENSORS_H
#define MS_CHECKPOINT_SAFETENSORS_H
#include "checkpoint/stored.h"

typedef struct {
    const char *key, *value; /* borrowed */
} ms_metadata;

/* One tensor to write: its values in t->value, stored as dtype MSIM_DTYPE_F32 or MSIM_DTYPE_BF16
 * (nearest even). */
typedef struct {
    const ms_stored_tensor *tensor; /* borrowed */
    int dtype;
} ms_safetensor;

/* Write to a temporary name beside `path`, sync, and rename; a failure leaves nothing behind and
 * `path` as it was. */
int ms_safetensors_write(const char *path, const ms_safetensor *tensors, size_t n_tensors,
                         const ms_metadata *metadata, size_t n_metadata, msim_error *err);

#endif
