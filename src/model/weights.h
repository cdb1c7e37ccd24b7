/* The tensors of this family, found in a checkpoint by name and checked. Sizes are read off the
 * tensors. A tensor that is missing, unexpected, of another shape or not finite is refused, with a
 * message that says what was expected and what is there. docs/MODEL.md, docs/FORMATS.md. */
#ifndef MS_MODEL_WEIGHTS_H
#define MS_MODEL_WEIGHTS_H
#include "base/status.h"
#include "checkpoint/stored.h"
#include "model/constants.h"

enum { MS_MAX_DEPTH = 64 };

typedef struct {
    ms_tensor attn_gamma; /* [dim]             offset from one */
    ms_tensor wq, wk, wv; /* [inner, dim]      inner = heads * 64 */
    ms_tensor wo;         /* [dim, inner] */
    ms_tensor ff_gamma;   /* [dim] */
    ms_tensor w1, b1;     /* [4 dim, dim], [4 dim] */
    ms_tensor w2, b2;     /* [dim, 4 dim], [dim] */
} ms_block_weights;

typedef struct {
    int64_t dim, depth, heads, inner, ff, vocab;
    int all_f32;           /* 1: every tensor is f32, so that f32 precision may be asked for */
    ms_tensor token_emb;   /* [vocab, dim] */
    ms_tensor inv_freq;    /* [16] */
    ms_tensor final_gamma; /* [dim] */
    ms_block_weights block[MS_MAX_DEPTH];
    char family[24];
    char sha256[65];   /* of the checkpoint these weights came from */
    ms_stored *stored; /* owned: the open file; every tensor of it is loaded */
} ms_weights;

/* Open a checkpoint: a .pth in either container, or .safetensors. Its first bytes tell the
 * container. */
int ms_weights_open(const char *path, ms_weights *out, msim_error *err);
void ms_weights_close(ms_weights *w);

#endif
