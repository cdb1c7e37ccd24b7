/* A checkpoint file as a list of named tensors, whatever its container. It knows no model. The file
 * stays mapped while the list is open. Dense aligned f32 and bf16 tensors are used where they lie;
 * all others are copied to f32. The list does not change once it is loaded. docs/FORMATS.md,
 * Checkpoints. */
#ifndef MS_CHECKPOINT_STORED_H
#define MS_CHECKPOINT_STORED_H
#include "base/map.h"
#include "base/mem.h"
#include "checkpoint/tensor.h"

enum { MS_STORED_MAX_RANK = 8, MS_STORED_MAX_TENSORS = 4096 };

typedef struct {
    const char *name; /* borrowed from the set's arena */
    int dtype;        /* msim_dtype */
    int rank;
    int64_t shape[MS_STORED_MAX_RANK];
    int64_t stride[MS_STORED_MAX_RANK]; /* elements */
    int64_t n;                          /* elements: the product of the shape */
    const unsigned char *base; /* mapped: element 0, at any alignment; all of the tensor lies inside
                                * the file */
    ms_tensor value;           /* set by ms_stored_load */
} ms_stored_tensor;

typedef struct {
    const char *path;          /* borrowed from the arena */
    const char *container;     /* "safetensors", "pth-zip" or "pth-legacy" */
    ms_stored_tensor *tensors; /* in the arena: in the file's order */
    size_t n_tensors;
    char source_sha256[65]; /* as the file's metadata give it; empty when they do not */
    ms_map map;             /* owned */
    ms_arena arena;         /* owned: names, tensors, converted copies */
    size_t copy_bytes;      /* taken by converted copies so far */
} ms_stored;

/* Open a file; its first bytes tell the container. Names, sizes and spans are checked. The tensors
 * are not read yet, except those of a zip archive, for their CRC. */
int ms_stored_open(const char *path, ms_stored *out, msim_error *err);
void ms_stored_close(ms_stored *s);
/* The tensor of that name, or NULL. */
ms_stored_tensor *ms_stored_find(const ms_stored *s, const char *name);
/* Set t->value: the tensor in place if possible, else an f32 copy gathered by strides. NaN and
 * infinity are refused. */
int ms_stored_load(ms_stored *s, ms_stored_tensor *t, msim_error *err);

/* The readers of the containers. They set tensors, n_tensors, container and source_sha256 of a list
 * whose map is open. */
int ms_torch_read(ms_stored *s, msim_error *err);
int ms_safetensors_read(ms_stored *s, msim_error *err);
/* True when the first bytes are those of a .pth. */
bool ms_torch_is(const ms_map *map);

#endif
