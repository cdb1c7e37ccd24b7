/* The pickled state dict of a .pth, in either container: an ordered dict of tensors, each a view of
 * a storage that lies elsewhere in the container. Nothing in the pickle is called; records stand
 * for the objects that PyTorch would make. docs/FORMATS.md, Checkpoints. */
#ifndef MS_CHECKPOINT_TORCH_STATE_H
#define MS_CHECKPOINT_TORCH_STATE_H
#include "pickle/pickle.h"
#include "checkpoint/stored.h"

typedef struct {
    const char *key; /* borrowed from the pickle, not terminated */
    uint32_t key_bytes;
    const char *kind; /* "FloatStorage": static */
    int dtype;        /* msim_dtype, or -1: a kind that no weight has */
    size_t item_bytes;
    int64_t n;                 /* elements */
    size_t n_bytes;            /* n * item_bytes, checked */
    const unsigned char *data; /* NULL; set by the container's reader: [n_bytes] */
} ms_torch_storage;

typedef struct {
    ms_torch_storage *storages; /* owned */
    size_t n_storages, storages_cap;
    struct ms_torch_view {
        uint32_t storage;
        int rank;
        int64_t offset, n;
        int64_t shape[MS_STORED_MAX_RANK], stride[MS_STORED_MAX_RANK];
    } * views; /* owned: tensors as they were built */
    size_t n_views, views_cap;
    struct ms_torch_item {
        uint32_t dict, key_bytes;
        const char *key; /* borrowed from the pickle, not terminated; NULL: not a text */
        ms_pickle_value value;
    } * items; /* owned: of all dicts, in order */
    size_t n_items, items_cap;
    uint32_t top;   /* the state dict's number */
    bool is_legacy; /* persistent ids have a sixth part */
} ms_torch_state;

/* Read the pickle at the start of bytes. Returns its length. Free the state also after a
 * failure. */
int64_t ms_torch_state_read(const unsigned char *bytes, size_t n_bytes, const char *where,
                            bool is_legacy, ms_torch_state *out, msim_error *err);
void ms_torch_state_free(ms_torch_state *st);
/* Turn the top dict's items into s->tensors, once every storage they use has its data. */
int ms_torch_state_tensors(const ms_torch_state *st, ms_stored *s, msim_error *err);

#endif
