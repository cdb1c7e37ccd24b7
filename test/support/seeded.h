/* The seeded model: weights any language can reproduce bit by bit from their names (docs/MODEL.md,
 * goldens), as an open ms_weights. FNV-1a of the tensor's name seeds SplitMix64; 24 bits make u in
 * [-1, 1); the value is u * scale. */
#ifndef TEST_SUPPORT_SEEDED_H
#define TEST_SUPPORT_SEEDED_H
#include "support/levels.h"
#include "model/weights.h"

static inline float *seeded_tensor(const char *key, size_t n, float scale) {
    uint64_t seed = 0xcbf29ce484222325u;
    for (const char *c = key; *c; c++) seed = (seed ^ (unsigned char)*c) * 0x100000001b3u;
    float *values = test_alloc(n, sizeof *values);
    for (size_t i = 0; i < n; i++) values[i] = uniform(&seed) * scale;
    return values;
}

static inline ms_tensor seeded(const char *key, int64_t n, float scale) {
    return (ms_tensor){.f32 = seeded_tensor(key, (size_t)n, scale), .n = n};
}

static inline ms_tensor seeded_layer(int64_t layer, const char *rest, int64_t n, float scale) {
    char key[100];
    snprintf(key, sizeof key, "attn_layers.layers.%d.%s", (int)layer, rest);
    return seeded(key, n, scale);
}

/* Free with seeded_close. */
static inline ms_weights *seeded_open(int64_t dim, int64_t heads, int64_t depth) {
    static const uint32_t freq[16] = {0x3f800000, 0x3f0ff59a, 0x3ea1e89b, 0x3e361887,
                                      0x3dcccccd, 0x3d6655c2, 0x3d0186e3, 0x3c91ad39,
                                      0x3c23d70a, 0x3bb8449c, 0x3b4f3e38, 0x3ae91528,
                                      0x3a83126f, 0x3a136a16, 0x39a5cb60, 0x393a7753};
    ms_weights *w = test_alloc(1, sizeof *w);
    int64_t inner = heads * 64, ff = 4 * dim;
    *w = (ms_weights){.dim = dim,
                      .depth = depth,
                      .heads = heads,
                      .inner = inner,
                      .ff = ff,
                      .vocab = 386,
                      .all_f32 = 1};
    w->token_emb = seeded("token_emb.emb.weight", 386 * dim, 0.5f);
    w->final_gamma = seeded("attn_layers.final_norm.gamma", dim, 0.25f);
    float *inv_freq = test_alloc(16, sizeof *inv_freq);
    memcpy(inv_freq, freq, sizeof freq);
    w->inv_freq = (ms_tensor){.f32 = inv_freq, .n = 16};
    for (int64_t i = 0; i < depth; i++) {
        ms_block_weights *b = &w->block[i];
        b->attn_gamma = seeded_layer(2 * i, "0.0.gamma", dim, 0.25f);
        b->wq = seeded_layer(2 * i, "1.to_q.weight", inner * dim, 0.125f);
        b->wk = seeded_layer(2 * i, "1.to_k.weight", inner * dim, 0.125f);
        b->wv = seeded_layer(2 * i, "1.to_v.weight", inner * dim, 0.0625f);
        b->wo = seeded_layer(2 * i, "1.to_out.weight", dim * inner, 0.0625f);
        b->ff_gamma = seeded_layer(2 * i + 1, "0.0.gamma", dim, 0.25f);
        b->w1 = seeded_layer(2 * i + 1, "1.ff.0.0.weight", ff * dim, 0.0625f);
        b->b1 = seeded_layer(2 * i + 1, "1.ff.0.0.bias", ff, 0.125f);
        b->w2 = seeded_layer(2 * i + 1, "1.ff.2.weight", dim * ff, 0.03125f);
        b->b2 = seeded_layer(2 * i + 1, "1.ff.2.bias", dim, 0.125f);
    }
    return w;
}

static inline void seeded_close(ms_weights *w) {
    if (!w) return;
    ms_free((void *)w->token_emb.f32);
    ms_free((void *)w->final_gamma.f32);
    ms_free((void *)w->inv_freq.f32);
    for (int64_t i = 0; i < w->depth; i++) {
        const ms_block_weights *b = &w->block[i];
        const ms_tensor all[] = {b->attn_gamma, b->wq, b->wk, b->wv, b->wo,
                                 b->ff_gamma,   b->w1, b->b1, b->w2, b->b2};
        for (size_t j = 0; j < sizeof all / sizeof *all; j++) ms_free((void *)all[j].f32);
    }
    ms_free(w);
}

/* Sequences of the goldens: token 0 is 0, token i is (step * i + first) mod 384. */
static inline void seeded_ids(int32_t *ids, int n, int step, int first) {
    for (int i = 0; i < n; i++) ids[i] = i == 0 ? 0 : (step * i + first) % 384;
}
#endif
