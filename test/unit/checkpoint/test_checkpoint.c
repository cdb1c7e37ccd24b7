/* Checkpoints that must be read: every container, type and layout gives the same weights;
 * conversion keeps them; packed batches. The files come from test/data/checkpoints/make.py.
 * docs/FORMATS.md, Checkpoints. */
#define _GNU_SOURCE
#include "base/hash/digest.h"
#include "base/map.h"
#include "base/mem.h"
#include "model/batch.h"
#include "model/weights.h"
#include "checkpoint/safetensors.h"
#include "support/files.h"
#include "support/test.h"
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#define DATA "test/data/checkpoints/"

static ms_weights open_or_fail(const char *path) {
    ms_weights w;
    msim_error err;
    if (ms_weights_open(path, &w, &err) < 0) fail_msg("%s", err.text);
    return w;
}

/* ---- Containers ------------------------------------------------------------------------------ */

static void check_fixture(const char *path, const char *container) {
    static const struct {
        const char *name;
        int dtype, rank;
        int64_t shape[2], stride[2];
        float values[6];
    } expected[] = {
        {"w", MSIM_DTYPE_F32, 2, {2, 3}, {3, 1}, {0, 1, 2, 3, 4, 5}},
        {"wt", MSIM_DTYPE_F32, 2, {3, 2}, {1, 3}, {0, 3, 1, 4, 2, 5}},
        {"v", MSIM_DTYPE_F32, 1, {3, 0}, {1, 0}, {1, 2, 3}},
        {"h", MSIM_DTYPE_F16, 1, {2, 0}, {1, 0}, {1.5f, -2}},
        {"b", MSIM_DTYPE_BF16, 1, {2, 0}, {1, 0}, {0.25f, -3}},
        {"s", MSIM_DTYPE_F32, 0, {0, 0}, {0, 0}, {7}},
    };
    ms_stored s;
    msim_error err;
    if (ms_stored_open(path, &s, &err) < 0) fail_msg("%s", err.text);
    assert_string_equal(s.container, container);
    assert_int_equal(s.n_tensors, 6);
    for (size_t i = 0; i < 6; i++) {
        ms_stored_tensor *t = &s.tensors[i];
        assert_string_equal(t->name, expected[i].name);
        assert_int_equal(t->dtype, expected[i].dtype);
        assert_int_equal(t->rank, expected[i].rank);
        assert_memory_equal(t->shape, expected[i].shape, (size_t)t->rank * sizeof *t->shape);
        assert_memory_equal(t->stride, expected[i].stride, (size_t)t->rank * sizeof *t->stride);
        if (ms_stored_load(&s, t, &err) < 0) fail_msg("%s", err.text);
        for (int64_t k = 0; k < t->n; k++)
            assert_float_equal(ms_tensor_get(t->value, k), expected[i].values[k], 0);
    }
    assert_ptr_equal(ms_stored_find(&s, "h"), &s.tensors[3]);
    assert_null(ms_stored_find(&s, "x"));
    ms_stored_close(&s);
}

static void reads_both_containers(void **state) {
    (void)state;
    check_fixture(DATA "fixture-zip.pth", "pth-zip");
    check_fixture(DATA "fixture-legacy.pth", "pth-legacy");
}

/* ---- Weights --------------------------------------------------------------------------------- */

/* The generator of docs/FORMATS.md, "Seeded weights". */
static float seeded(const char *name, int64_t i, float scale) {
    uint64_t seed = 0xcbf29ce484222325u;
    for (const char *p = name; *p; p++) seed = (seed ^ (unsigned char)*p) * 0x100000001b3u;
    uint64_t z = seed + (uint64_t)(i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (float)((int32_t)(z >> 40) - 8388608) / 8388608.0f * scale;
}

static void seeded_weights(void **state) {
    (void)state;
    ms_weights w = open_or_fail(DATA "tiny.safetensors");
    assert_int_equal(w.dim, 32);
    assert_int_equal(w.heads, 2);
    assert_int_equal(w.inner, 128);
    assert_int_equal(w.ff, 128);
    assert_int_equal(w.depth, 2);
    assert_int_equal(w.vocab, 386);
    assert_int_equal(w.all_f32, 1);
    assert_string_equal(w.family, "midisim-custom");
    /* Three known values, then every element of one tensor of each kind. */
    assert_true(w.token_emb.f32[0] == 0.1238906979560852f &&
                w.token_emb.f32[2] == 0.05390280485153198f);
    assert_true(w.block[0].wq.f32[1] == 0.02888256311416626f);
    assert_true(w.block[0].b1.f32[2] == -0.11305497586727142f);
    for (int64_t i = 0; i < w.block[1].w2.n; i++)
        assert_true(w.block[1].w2.f32[i] ==
                    seeded("attn_layers.layers.3.1.ff.2.weight", i, 1.0f / 32));
    for (int64_t i = 0; i < w.final_gamma.n; i++)
        assert_true(w.final_gamma.f32[i] == seeded("attn_layers.final_norm.gamma", i, 0.25f));
    assert_int_equal(ms_f32_bits(w.inv_freq.f32[1]), 0x3f0ff59a);
    ms_weights_close(&w);
}

static float as_is(float x) { return x; }
static float to_f16(float x) { return ms_f32_of_f16(ms_f16_of_f32(x)); }
static float to_bf16(float x) { return ms_round_bf16(x); }

static void same_tensor(ms_tensor got, ms_tensor expected, float (*rounded)(float)) {
    assert_int_equal(got.n, expected.n);
    for (int64_t i = 0; i < got.n; i++)
        if (ms_f32_bits(rounded(ms_tensor_get(expected, i))) != ms_f32_bits(ms_tensor_get(got, i)))
            fail_msg("element %lld: %.9g, expected %.9g", (long long)i,
                     (double)ms_tensor_get(got, i), (double)rounded(ms_tensor_get(expected, i)));
}

/* Bits of all tensors of got equal those of expected after `rounded` (matrices and biases) and
 * `kept` (the rest). */
static void same_weights(const ms_weights *got, const ms_weights *expected, float (*rounded)(float),
                         float (*kept)(float)) {
    assert_int_equal(got->depth, expected->depth);
    assert_int_equal(got->inner, expected->inner);
    same_tensor(got->token_emb, expected->token_emb, kept);
    same_tensor(got->inv_freq, expected->inv_freq, kept);
    same_tensor(got->final_gamma, expected->final_gamma, kept);
    for (int i = 0; i < got->depth; i++) {
        const ms_block_weights *a = &got->block[i], *b = &expected->block[i];
        same_tensor(a->attn_gamma, b->attn_gamma, kept);
        same_tensor(a->ff_gamma, b->ff_gamma, kept);
        same_tensor(a->wq, b->wq, rounded);
        same_tensor(a->wk, b->wk, rounded);
        same_tensor(a->wv, b->wv, rounded);
        same_tensor(a->wo, b->wo, rounded);
        same_tensor(a->w1, b->w1, rounded);
        same_tensor(a->b1, b->b1, rounded);
        same_tensor(a->w2, b->w2, rounded);
        same_tensor(a->b2, b->b2, rounded);
    }
}

/* One model in every container, type and layout. */
static void same_model_everywhere(void **state) {
    (void)state;
    static const struct {
        const char *path;
        float (*rounded)(float);
        int all_f32;
    } files[] = {{DATA "tiny-zip.pth", as_is, 1},
                 {DATA "tiny-legacy.pth", as_is, 1},
                 {DATA "tiny-f16.pth", to_f16, 0},
                 {DATA "tiny-bf16.pth", to_bf16, 0}};
    ms_weights tiny = open_or_fail(DATA "tiny.safetensors");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        ms_weights w = open_or_fail(files[i].path);
        same_weights(&w, &tiny, files[i].rounded, files[i].rounded);
        assert_int_equal(w.all_f32, files[i].all_f32);
        assert_non_null(w.inv_freq.f32);
        ms_weights_close(&w);
    }
    ms_weights_close(&tiny);
}

static void f64_is_rounded(void **state) {
    (void)state;
    ms_weights w = open_or_fail(DATA "mini-f64.pth");
    assert_int_equal(w.all_f32, 1);
    assert_int_equal(w.dim, 16);
    for (int64_t i = 0; i < w.token_emb.n; i++)
        assert_true(w.token_emb.f32[i] ==
                    (float)((double)seeded("token_emb.emb.weight", i, 0.5f) + 1e-12));
    ms_weights_close(&w);
}

static void info(void **state) {
    (void)state;
    msim_checkpoint_info i = {.size = sizeof i};
    msim_error err;
    assert_int_equal(msim_checkpoint_get_info(DATA "wide.pth", &i, &err), MSIM_OK);
    assert_int_equal(i.dim, 128);
    assert_int_equal(i.heads, 4); /* inner width 256, wider than the model */
    assert_int_equal(i.depth, 2);
    assert_int_equal(i.tensors, 23);
    assert_int_equal(i.parameters,
                     386 * 128 + 128 + 2 * (4 * 256 * 128 + 2 * 4 * 128 * 128 + 7 * 128));
    assert_string_equal(i.container, "pth-zip");
    char hash[65];
    ms_map map;
    assert_int_equal(ms_map_open(DATA "wide.pth", MS_MAP_NORMAL, &map, &err), MSIM_OK);
    assert_int_equal(ms_digest_hex_of(MS_DIGEST_SHA256, map.data, map.n_bytes, hash, &err),
                     MSIM_OK);
    ms_map_close(&map);
    assert_string_equal(i.sha256, hash);
    assert_int_equal(msim_checkpoint_get_info(DATA "tiny-f16.pth", &i, &err), MSIM_OK);
    assert_int_equal(i.tensors, 24); /* with to_logits */
    assert_int_equal(i.all_f32, 0);
}

/* Shapes of a model, zero but for the gammas, written as safetensors. */
typedef struct {
    ms_stored_tensor tensors[10 * 16 + 4];
    ms_safetensor list[10 * 16 + 4];
    char names[10 * 16 + 4][64];
    size_t n;
} model_file;

static void add(model_file *m, const float *zeros, int64_t rows, int64_t cols, const char *format,
                int layer) {
    ms_stored_tensor *t = &m->tensors[m->n];
    snprintf(m->names[m->n], sizeof m->names[0], format, layer);
    *t = (ms_stored_tensor){.name = m->names[m->n],
                            .rank = cols ? 2 : 1,
                            .shape = {rows, cols},
                            .n = rows * (cols ? cols : 1)};
    t->value = (ms_tensor){.f32 = zeros, .n = t->n};
    m->list[m->n] = (ms_safetensor){.tensor = t, .dtype = MSIM_DTYPE_BF16};
    m->n++;
}

static void write_model(model_file *m, const char *path, int64_t dim, int64_t heads, int depth,
                        int64_t vocab) {
    static float zeros[3072 * 768];
    int64_t inner = heads * 64, ff = 4 * dim;
    m->n = 0;
    add(m, zeros, vocab, dim, "token_emb.emb.weight", 0);
    for (int i = 0; i < depth; i++) {
        add(m, zeros, dim, 0, "attn_layers.layers.%d.0.0.gamma", 2 * i);
        add(m, zeros, inner, dim, "attn_layers.layers.%d.1.to_q.weight", 2 * i);
        add(m, zeros, inner, dim, "attn_layers.layers.%d.1.to_k.weight", 2 * i);
        add(m, zeros, inner, dim, "attn_layers.layers.%d.1.to_v.weight", 2 * i);
        add(m, zeros, dim, inner, "attn_layers.layers.%d.1.to_out.weight", 2 * i);
        add(m, zeros, dim, 0, "attn_layers.layers.%d.0.0.gamma", 2 * i + 1);
        add(m, zeros, ff, dim, "attn_layers.layers.%d.1.ff.0.0.weight", 2 * i + 1);
        add(m, zeros, ff, 0, "attn_layers.layers.%d.1.ff.0.0.bias", 2 * i + 1);
        add(m, zeros, dim, ff, "attn_layers.layers.%d.1.ff.2.weight", 2 * i + 1);
        add(m, zeros, dim, 0, "attn_layers.layers.%d.1.ff.2.bias", 2 * i + 1);
    }
    add(m, zeros, 16, 0, "attn_layers.rotary_pos_emb.inv_freq", 0);
    add(m, zeros, dim, 0, "attn_layers.final_norm.gamma", 0);
    msim_error err;
    if (ms_safetensors_write(path, m->list, m->n, NULL, 0, &err) < 0) fail_msg("%s", err.text);
}

static void sizes_are_read_off(void **state) {
    (void)state;
    static const struct {
        int64_t dim, heads, vocab;
        int depth;
        const char *family;
    } sizes[] = {{768, 12, 386, 1, "midisim-custom"}, {128, 4, 1, 3, "midisim-custom"},
                 {16, 1, 1000, 1, "midisim-custom"},  {512, 8, 386, 8, "midisim-small"},
                 {512, 8, 386, 16, "midisim-large"},  {512, 8, 385, 8, "midisim-custom"}};
    static model_file m;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        write_model(&m, in_folder("m.safetensors"), sizes[i].dim, sizes[i].heads, sizes[i].depth,
                    sizes[i].vocab);
        ms_weights w = open_or_fail(in_folder("m.safetensors"));
        assert_int_equal(w.dim, sizes[i].dim);
        assert_int_equal(w.heads, sizes[i].heads);
        assert_int_equal(w.inner, 64 * sizes[i].heads);
        assert_int_equal(w.depth, sizes[i].depth);
        assert_int_equal(w.vocab, sizes[i].vocab);
        assert_string_equal(w.family, sizes[i].family);
        assert_int_equal(w.all_f32, 0);
        assert_non_null(w.block[w.depth - 1].w2.bf16); /* in place */
        assert_non_null(w.inv_freq.f32);
        ms_weights_close(&w);
    }
    unlink(in_folder("m.safetensors"));
}

/* ---- Conversion ------------------------------------------------------------------------------ */

static void converts(void **state) {
    (void)state;
    static const char *const sources[] = {DATA "tiny.safetensors", DATA "tiny-zip.pth",
                                          DATA "tiny-legacy.pth"};
    msim_error err;
    char f32_path[100], bf16_path[100];
    snprintf(f32_path, sizeof f32_path, "%s/f32.safetensors", folder);
    snprintf(bf16_path, sizeof bf16_path, "%s/bf16.safetensors", folder);
    for (size_t i = 0; i < 3; i++) {
        ms_weights source = open_or_fail(sources[i]);
        assert_int_equal(msim_checkpoint_convert(sources[i], f32_path, MSIM_DTYPE_F32, &err),
                         MSIM_OK);
        assert_int_equal(msim_checkpoint_convert(f32_path, bf16_path, MSIM_DTYPE_BF16, &err),
                         MSIM_OK);
        ms_weights a = open_or_fail(f32_path), b = open_or_fail(bf16_path);
        same_weights(&a, &source, as_is, as_is);
        same_weights(&b, &source, to_bf16, as_is);
        assert_int_equal(a.all_f32, 1);
        assert_int_equal(b.all_f32, 0);
        assert_non_null(b.block[0].w1.bf16);
        assert_non_null(b.token_emb.f32);
        assert_string_equal(a.sha256, source.sha256); /* the first source's, through both
                                                       * conversions */
        assert_string_equal(b.sha256, source.sha256);
        /* In the source's order, data on 64 bytes, used in place. */
        const ms_stored *x = a.stored, *y = source.stored;
        for (size_t k = 0; k < x->n_tensors; k++)
            assert_string_equal(x->tensors[k].name, y->tensors[k].name);
        assert_int_equal((uintptr_t)x->tensors[0].base % 64, 0);
        assert_ptr_equal(x->tensors[0].value.f32, x->tensors[0].base);
        ms_weights_close(&a);
        ms_weights_close(&b);
        ms_weights_close(&source);
    }
    /* bf16 to f32 is exact; a file may be converted onto itself. */
    assert_int_equal(msim_checkpoint_convert(bf16_path, bf16_path, MSIM_DTYPE_F32, &err), MSIM_OK);
    ms_weights source = open_or_fail(sources[0]), b = open_or_fail(bf16_path);
    same_weights(&b, &source, to_bf16, as_is);
    ms_weights_close(&source);
    ms_weights_close(&b);
    assert_int_equal(files_in_folder(), 2); /* no temporary file */
    unlink(f32_path);
    unlink(bf16_path);
}

static void keeps_logits(void **state) {
    (void)state;
    msim_error err;
    msim_checkpoint_info i = {.size = sizeof i};
    assert_int_equal(msim_checkpoint_convert(DATA "tiny-f16.pth", in_folder("l.safetensors"),
                                             MSIM_DTYPE_F32, &err),
                     MSIM_OK);
    assert_int_equal(msim_checkpoint_get_info(in_folder("l.safetensors"), &i, &err), MSIM_OK);
    assert_int_equal(i.tensors, 24);
    unlink(in_folder("l.safetensors"));
}

static void failed_writes_leave_nothing(void **state) {
    (void)state;
    msim_error err;
    assert_int_equal(
        msim_checkpoint_convert(DATA "tiny.safetensors", in_folder("x"), MSIM_DTYPE_F16, &err),
        -MSIM_E_ARG);
    assert_int_equal(
        msim_checkpoint_convert(DATA "tiny.safetensors", "/nowhere/at/all", MSIM_DTYPE_F32, &err),
        -MSIM_E_IO);
    assert_int_equal(msim_checkpoint_convert(DATA "none.pth", in_folder("x"), MSIM_DTYPE_F32, &err),
                     -MSIM_E_IO);
    assert_int_equal(msim_checkpoint_convert(DATA "tiny.safetensors", folder, MSIM_DTYPE_F32, &err),
                     -MSIM_E_IO);
    unlink(in_folder("x"));
    /* A file system that is full after 100,000 bytes. */
    struct rlimit old, small;
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){.rlim_cur = 100000, .rlim_max = old.rlim_max};
    void (*before)(int) = signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    int rc = msim_checkpoint_convert(DATA "tiny.safetensors", in_folder("x"), MSIM_DTYPE_F32, &err);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, before);
    assert_int_equal(rc, -MSIM_E_IO);
    assert_non_null(strstr(err.text, "cannot write"));
    assert_int_equal(files_in_folder(), 0);
}

/* Every allocation may fail; nothing leaks (the sanitizers see to that) and nothing is left on
 * disk. */
static void survives_no_memory(void **state) {
    (void)state;
    static const char *const paths[] = {DATA "tiny.safetensors", DATA "tiny-zip.pth",
                                        DATA "tiny-bf16.pth"};
    for (size_t i = 0; i < 3; i++) {
        int fails = 0, rc = -1;
        for (int64_t at = 1; rc < 0; at++) {
            msim_error err = {0};
            assert_true(at < 1000);
            ms_mem_fail_at(at);
            rc = msim_checkpoint_convert(paths[i], in_folder("x"), MSIM_DTYPE_BF16, &err);
            ms_mem_fail_at(0);
            assert_true(rc == MSIM_OK ||
                        (rc == -MSIM_E_MEMORY && err.code == MSIM_E_MEMORY && err.text[0]));
            fails += rc < 0;
            assert_int_equal(files_in_folder(), rc >= 0);
        }
        assert_true(fails > 5);
        unlink(in_folder("x"));
    }
}

/* ---- Batches --------------------------------------------------------------------------------- */

static void batches(void **state) {
    (void)state;
    static const int32_t ids[] = {0, 5, 385, 1, 2};
    static const int64_t starts[] = {0, 2, 2, 5}, late[] = {1, 2}, falling[] = {0, 3, 2};
    ms_batch b;
    msim_error err;
    assert_int_equal(ms_batch_init(&b, ids, starts, 3, 386, &err), MSIM_OK);
    assert_int_equal(b.n_seq, 3);
    assert_int_equal(b.n_tokens, 5);
    assert_int_equal(b.longest, 3);
    assert_int_equal(ms_batch_init(&b, NULL, NULL, 0, 386, &err), MSIM_OK);
    assert_int_equal(b.n_tokens, 0);
    assert_int_equal(ms_batch_init(&b, ids, starts, 3, 385, &err), -MSIM_E_ARG);
    assert_string_equal(err.text, "batch, token 2: expected an id in 0..384, got 385");
    assert_int_equal(
        ms_batch_init(&b, (const int32_t[]){-1}, (const int64_t[]){0, 1}, 1, 386, &err),
        -MSIM_E_ARG);
    assert_int_equal(ms_batch_init(&b, ids, late, 1, 386, &err), -MSIM_E_ARG);
    assert_int_equal(ms_batch_init(&b, ids, falling, 2, 386, &err), -MSIM_E_ARG);
    assert_int_equal(ms_batch_init(&b, NULL, starts, 3, 386, &err), -MSIM_E_ARG);
    assert_int_equal(ms_batch_init(&b, ids, NULL, 3, 386, &err), -MSIM_E_ARG);
    assert_int_equal(ms_batch_init(&b, ids, starts, SIZE_MAX, 386, &err), -MSIM_E_ARG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_both_containers),
        cmocka_unit_test(seeded_weights),
        cmocka_unit_test(same_model_everywhere),
        cmocka_unit_test(f64_is_rounded),
        cmocka_unit_test(info),
        cmocka_unit_test(sizes_are_read_off),
        cmocka_unit_test(converts),
        cmocka_unit_test(keeps_logits),
        cmocka_unit_test(failed_writes_leave_nothing),
        cmocka_unit_test(survives_no_memory),
        cmocka_unit_test(batches),
    };
    return cmocka_run_group_tests(tests, folder_open, folder_close);
}
