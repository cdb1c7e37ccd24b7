/* What all models of this family have in common and no checkpoint says. These are plain constants,
 * so C and CUDA sources read the same ones. docs/MODEL.md. */
#ifndef MS_MODEL_CONSTANTS_H
#define MS_MODEL_CONSTANTS_H

enum {
    MS_HEAD_DIM = 64,    /* width of a head of attention */
    MS_ROTARY_DIMS = 32, /* of which the first are rotated, in pairs (2j, 2j + 1) */
    MS_ROTARY_PAIRS = MS_ROTARY_DIMS / 2
};

#define MS_NORM_EPS 1e-5f     /* added to the variance in LayerNorm */
#define MS_SCORE_SCALE 0.125f /* of attention: 1 / sqrt(MS_HEAD_DIM), exact */

#endif
