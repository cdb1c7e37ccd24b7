/* This family's tensors in a checkpoint: see weights.h and docs/MODEL.md. The sizes come from the
 * token table, the first to_q and the number of layers; then every tensor must have the shape that
 * follows. The file stays mapped until the weights are closed. */
#include "base/hash/digest.h"
#include "model/weights.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { MIN_DIM = 16, MAX_DIM = 8192, MAX_HEADS = 128, MAX_VOCAB = 1 << 20 };

typedef struct {
    ms_weights *w;
    ms_stored *s;
    size_t n_taken;
    msim_error *err;
} weights_loader;

static ms_stored_tensor *find(const weights_loader *l, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static ms_stored_tensor *find(const weights_loader *l, const char *format, ...) {
    char name[128];
    va_list ap;
    va_start(ap, format);
    vsnprintf(name, sizeof name, format, ap);
    va_end(ap);
    ms_stored_tensor *t = ms_stored_find(l->s, name);
    if (!t) ms_fail(l->err, MSIM_E_FORMAT, "not this model: %s has no tensor %s", l->s->path, name);
    return t;
}

static int wrong_shape(const weights_loader *l, const ms_stored_tensor *t, const char *expected) {
    char got[200];
    return ms_fail(l->err, MSIM_E_FORMAT,
                   "not this model: %s, tensor %s: expected shape %s, got %s", l->s->path, t->name,
                   expected, ms_shape_text(t->shape, t->rank, got, sizeof got));
}

/* Load t, whose shape must be rows x cols (cols 0: rows alone), into *out. */
static int take(weights_loader *l, ms_stored_tensor *t, int64_t rows, int64_t cols,
                ms_tensor *out) {
    if (!t) return -MSIM_E_FORMAT;
    int64_t shape[2] = {rows, cols};
    int rank = cols ? 2 : 1;
    if (t->rank != rank || t->shape[0] != rows || (cols && t->shape[1] != cols)) {
        char expected[80];
        return wrong_shape(l, t, ms_shape_text(shape, rank, expected, sizeof expected));
    }
    int rc = ms_stored_load(l->s, t, l->err);
    if (rc < 0) return rc;
    if (t->dtype != MSIM_DTYPE_F32 && t->dtype != MSIM_DTYPE_F64) l->w->all_f32 = 0;
    l->n_taken++;
    *out = t->value;
    return MSIM_OK;
}

/* Wrappers put a prefix before every name: torch.compile "_orig_mod.", DataParallel "module.",
 * Lightning "model.". A prefix that all names share is taken off. */
static int strip_prefix(weights_loader *l) {
    static const char first[] = "token_emb.emb.weight";
    const char *prefix = NULL;
    size_t n = 0;
    if (ms_stored_find(l->s, first)) return MSIM_OK;
    for (size_t i = 0; i < l->s->n_tensors && !prefix; i++) {
        const char *name = l->s->tensors[i].name;
        size_t length = strlen(name);
        if (length <= sizeof first || strcmp(name + length - (sizeof first - 1), first) != 0)
            continue;
        n = length - (sizeof first - 1);
        if (name[n - 1] == '.') prefix = name;
    }
    if (!prefix) return MSIM_OK;
    for (size_t i = 0; i < l->s->n_tensors; i++)
        if (strncmp(l->s->tensors[i].name, prefix, n) != 0)
            return ms_fail(
                l->err, MSIM_E_FORMAT,
                "not this model: %.200s has no tensor %s but %.100s, and %.80s beside it",
                l->s->path, first, prefix, l->s->tensors[i].name);
    for (size_t i = 0; i < l->s->n_tensors; i++) l->s->tensors[i].name += n;
    return MSIM_OK;
}

static int read_sizes(weights_loader *l) {
    ms_weights *w = l->w;
    ms_stored_tensor *emb = find(l, "token_emb.emb.weight");
    if (!emb) return -MSIM_E_FORMAT;
    if (emb->rank != 2 || emb->shape[0] < 1 || emb->shape[0] > MAX_VOCAB ||
        emb->shape[1] < MIN_DIM || emb->shape[1] > MAX_DIM || emb->shape[1] % 16 != 0)
        return wrong_shape(l, emb,
                           "vocabulary x width, the width a multiple of 16 from 16 to 8192");
    w->vocab = emb->shape[0];
    w->dim = emb->shape[1];
    w->ff = 4 * w->dim;
    ms_stored_tensor *q = find(l, "attn_layers.layers.0.1.to_q.weight");
    if (!q) return -MSIM_E_FORMAT;
    if (q->rank != 2 || q->shape[0] < MS_HEAD_DIM || q->shape[0] > MAX_HEADS * MS_HEAD_DIM ||
        q->shape[0] % MS_HEAD_DIM != 0 || q->shape[1] != w->dim) {
        char expected[80];
        snprintf(expected, sizeof expected, "heads of %d (1 to %d) x %lld", MS_HEAD_DIM, MAX_HEADS,
                 (long long)w->dim);
        return wrong_shape(l, q, expected);
    }
    w->inner = q->shape[0];
    w->heads = w->inner / MS_HEAD_DIM;
    char name[64];
    do {
        w->depth++;
        snprintf(name, sizeof name, "attn_layers.layers.%lld.1.to_q.weight",
                 (long long)(2 * w->depth));
    } while (ms_stored_find(l->s, name) && w->depth <= MS_MAX_DEPTH);
    if (w->depth > MS_MAX_DEPTH)
        return ms_fail(l->err, MSIM_E_UNSUPPORTED, "unsupported model: %s has more than %d blocks",
                       l->s->path, MS_MAX_DEPTH);
    return MSIM_OK;
}

static int take_block(weights_loader *l, int i) {
    ms_weights *w = l->w;
    ms_block_weights *b = &w->block[i];
    const struct {
        const char *name;
        int layer;
        int64_t rows, cols;
        ms_tensor *out;
    } parts[] = {
        {"0.0.gamma", 2 * i, w->dim, 0, &b->attn_gamma},
        {"1.to_q.weight", 2 * i, w->inner, w->dim, &b->wq},
        {"1.to_k.weight", 2 * i, w->inner, w->dim, &b->wk},
        {"1.to_v.weight", 2 * i, w->inner, w->dim, &b->wv},
        {"1.to_out.weight", 2 * i, w->dim, w->inner, &b->wo},
        {"0.0.gamma", 2 * i + 1, w->dim, 0, &b->ff_gamma},
        {"1.ff.0.0.weight", 2 * i + 1, w->ff, w->dim, &b->w1},
        {"1.ff.0.0.bias", 2 * i + 1, w->ff, 0, &b->b1},
        {"1.ff.2.weight", 2 * i + 1, w->dim, w->ff, &b->w2},
        {"1.ff.2.bias", 2 * i + 1, w->dim, 0, &b->b2},
    };
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
        int rc = take(l, find(l, "attn_layers.layers.%d.%s", parts[k].layer, parts[k].name),
                      parts[k].rows, parts[k].cols, parts[k].out);
        if (rc < 0) return rc;
    }
    return MSIM_OK;
}

/* Parts of no block; to_logits is not used, but when it is there it must be sound, and conversion
 * keeps it. */
static int take_rest(weights_loader *l) {
    ms_weights *w = l->w;
    ms_tensor unused;
    int rc = take(l, find(l, "token_emb.emb.weight"), w->vocab, w->dim, &w->token_emb);
    if (rc >= 0) rc = take(l, find(l, "attn_layers.final_norm.gamma"), w->dim, 0, &w->final_gamma);
    ms_stored_tensor *logits = ms_stored_find(l->s, "to_logits.weight");
    if (rc >= 0 && logits) rc = take(l, logits, w->vocab, w->dim, &unused);
    if (rc < 0) return rc;
    rc = take(l, find(l, "attn_layers.rotary_pos_emb.inv_freq"), MS_ROTARY_PAIRS, 0, &w->inv_freq);
    if (rc < 0 || w->inv_freq.f32) return rc;
    float *copy = ms_arena_get(&l->s->arena, MS_ROTARY_PAIRS, sizeof *copy, "inv_freq", l->err);
    if (!copy) return -MSIM_E_MEMORY;
    for (int i = 0; i < MS_ROTARY_PAIRS; i++) copy[i] = ms_tensor_get(w->inv_freq, i);
    w->inv_freq = (ms_tensor){.f32 = copy, .n = MS_ROTARY_PAIRS};
    return MSIM_OK;
}

/* Everything expected was taken once; when there is more, name the first that nothing asked for. */
static int refuse_unexpected(const weights_loader *l) {
    if (l->n_taken == l->s->n_tensors) return MSIM_OK;
    for (size_t i = 0; i < l->s->n_tensors; i++) {
        const ms_stored_tensor *t = &l->s->tensors[i];
        if (!t->value.f32 && !t->value.bf16)
            return ms_fail(l->err, MSIM_E_FORMAT,
                           "not this model: %s: expected %zu tensors, got also %.120s", l->s->path,
                           l->n_taken, t->name);
    }
    return MSIM_OK;
}

static void name_family(ms_weights *w) {
    static const struct {
        int64_t vocab, dim, depth, heads;
        const char *name;
    } known[] = {{386, 512, 8, 8, "midisim-small"},
                 {386, 512, 16, 8, "midisim-large"},
                 {720, 128, 24, 4, "midisimx-tiny"},
                 {720, 768, 16, 12, "midisimx-base"}};
    const char *name = w->vocab == 720 ? "midisimx-custom" : "midisim-custom";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (w->vocab == known[i].vocab && w->dim == known[i].dim && w->depth == known[i].depth &&
            w->heads == known[i].heads)
            name = known[i].name;
    snprintf(w->family, sizeof w->family, "%s", name);
}

static int load(weights_loader *l) {
    int rc = strip_prefix(l);
    if (rc >= 0) rc = read_sizes(l);
    if (rc < 0) return rc;
    for (int i = 0; i < l->w->depth; i++) {
        rc = take_block(l, i);
        if (rc < 0) return rc;
    }
    rc = take_rest(l);
    if (rc >= 0) rc = refuse_unexpected(l);
    if (rc < 0) return rc;
    name_family(l->w);
    if (l->s->source_sha256[0]) {
        memcpy(l->w->sha256, l->s->source_sha256, sizeof l->w->sha256);
        return MSIM_OK;
    }
    return ms_digest_hex_of(MS_DIGEST_SHA256, l->s->map.data, l->s->map.n_bytes, l->w->sha256,
                            l->err);
}

int ms_weights_open(const char *path, ms_weights *out, msim_error *err) {
    ms_stored *s = ms_alloc(1, sizeof *s, "checkpoint", err);
    ms_weights *w = s ? ms_alloc(1, sizeof *w, "weights", err) : NULL;
    int rc = w ? ms_stored_open(path, s, err) : -MSIM_E_MEMORY;
    if (rc < 0) {
        ms_free(s);
        ms_free(w);
        return rc;
    }
    w->all_f32 = 1;
    w->stored = s;
    weights_loader l = {.w = w, .s = s, .err = err};
    rc = load(&l);
    if (rc >= 0)
        *out = *w;
    else
        ms_weights_close(w);
    ms_free(w);
    return rc;
}

void ms_weights_close(ms_weights *w) {
    if (w->stored) ms_stored_close(w->stored);
    ms_free(w->stored);
    w->stored = NULL;
}
