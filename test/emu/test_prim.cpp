/* Every primitive by its definition. */
#include <cstdarg>
#include <csetjmp>
#include <cstdint>
#include <cstdio>
extern "C" {
#include <cmocka.h>
}
#include "kernels/prim.cuh"

static __global__ void k_sum(float *out, const float *x, int n) {
    SHARED_VAR(float, part, 4);
    float sum = 0.0f;
    for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[i];
    for (int d = 16; d; d /= 2) sum += shuffle_xor(sum, d);
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = sum;
    sync_block();
    if (threadIdx.x == 0) out[blockIdx.x] = part[0] + part[1] + part[2] + part[3];
}

static void test_sum(void **) {
    float *x, *out, host[100], got[3];
    for (int i = 0; i < 100; i++) host[i] = (float)i;
    assert_int_equal(cudaMalloc((void **)&x, sizeof host), cudaSuccess);
    assert_int_equal(cudaMalloc((void **)&out, sizeof got), cudaSuccess);
    assert_int_equal(cudaMemcpy(x, host, sizeof host, cudaMemcpyHostToDevice), cudaSuccess);
    assert_int_equal(launch(k_sum, dim3(3), dim3(128), 0, nullptr, out, x, 100), cudaSuccess);
    assert_int_equal(cudaMemcpy(got, out, sizeof got, cudaMemcpyDeviceToHost), cudaSuccess);
    for (int i = 0; i < 3; i++) assert_true(got[i] == 4950.0f);
    cudaFree(x);
    cudaFree(out);
}

int main() {
    const CMUnitTest tests[] = {cmocka_unit_test(test_sum)};
    return cmocka_run_group_tests(tests, nullptr, nullptr);
}
