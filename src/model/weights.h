/* This family's exact tensor list, found in a checkpoint by name and checked: sizes are read off
 * the tensors, anything missing, unexpected, misshapen or not finite is refused, saying expected
 * and got. docs/MODEL.md, docs/FORMATS.md. */
#ifndef MS_MODEL_WEIGHTS_H
#define MS_MODEL_WEIGHTS_H
#include "base/bf16.h"
#include "base/status.h"
#include "model/constants.h"

enum { MS_MAX_DEPTH = 64 };

/* One tensor, row-major and dense: either f32 or bf16, the other pointer NULL. */
typedef struct {
    const float *f32;    /* borrowed from the open weights */
    const ms_bf16 *bf16; /* likewise */
    int64_t n;           /* elements */
} ms_tensor;

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
    char sha256[65]; /* of the checkpoint these weights came from */
    void *storage;   /* owned: the open file or converted copies; ms_weights_close frees
                                 * it */
} ms_weights;

/* Open a .pth (either container) or .safetensors checkpoint; the form is told by its first
 * bytes. */
int ms_weights_open(const char *path, ms_weights *out, msim_error *err);
void ms_weights_close(ms_weights *w);

/* Element i of a tensor as f32 (exact). */
static inline float ms_tensor_get(ms_tensor t, int64_t i) {
    return t.f32 ? t.f32[i] : ms_f32_of_bf16(t.bf16[i]);
}

#endif
