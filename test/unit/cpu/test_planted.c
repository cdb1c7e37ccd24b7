/* Proof that the goldens can fail: the reference kernels compiled with one wrong choice at a time.
 * Each must break the f32 bound on the seeded model; with the right choices the same code must keep
 * it. */
#include "support/goldens.h"

static int tanh_gelu, half_split, rotary_dims = 32;
static float ln_eps = 1e-5f;

static float planted_gelu(float u) {
    if (tanh_gelu) return 0.5f * u * (1.0f + tanhf(0.79788456f * (u + 0.044715f * u * u * u)));
    return 0.5f * u * (1.0f + erff(u * 0.70710678f));
}

#define REF_GELU(u) planted_gelu(u)
#define REF_LN_EPS ln_eps
#define REF_ROTARY_DIMS rotary_dims
#define REF_PAIR_FIRST(j) (half_split ? (j) : 2 * (j))
#define REF_PAIR_SECOND(j) (half_split ? (j) + rotary_dims / 2 : 2 * (j) + 1)
#define ms_encoder_ref planted_kernels
extern const ms_cpu_kernels planted_kernels;
#include "cpu/kernels/ref/encoder_ref.c"
#undef ms_encoder_ref

/* Goldens of A and B at depth 8 that agree, of 2. */
static int agreeing(void) {
    int n = 0;
    float out[2 * GOLDEN_DIM];
    ms_weights *w = seeded_open(512, 8, 8);
    rig r = rig_open(&planted_kernels, w, MSIM_PRECISION_F32, 2, 32);
    rig_goldens(&r, 0, 0, out);
    for (int i = 0; i < 2; i++) n += golden_agrees(&goldens[i], out + i * GOLDEN_DIM);
    rig_close(&r);
    seeded_close(w);
    return n;
}

static void right_choices_pass(void **state) {
    (void)state;
    assert_int_equal(agreeing(), 2);
}

static void tanh_gelu_fails(void **state) {
    (void)state;
    tanh_gelu = 1;
    int n = agreeing();
    tanh_gelu = 0;
    assert_int_equal(n, 0);
}

static void half_split_rotary_fails(void **state) {
    (void)state;
    half_split = 1;
    int n = agreeing();
    half_split = 0;
    assert_int_equal(n, 0);
}

static void all_dims_rotated_fails(void **state) {
    (void)state;
    rotary_dims = 64;
    int n = agreeing();
    rotary_dims = 32;
    assert_int_equal(n, 0);
}

static void small_eps_fails(void **state) {
    (void)state;
    ln_eps = 1e-6f;
    int n = agreeing();
    ln_eps = 1e-5f;
    assert_int_equal(n, 0);
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(right_choices_pass),      cmocka_unit_test(tanh_gelu_fails),
        cmocka_unit_test(half_split_rotary_fails), cmocka_unit_test(all_dims_rotated_fails),
        cmocka_unit_test(small_eps_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
