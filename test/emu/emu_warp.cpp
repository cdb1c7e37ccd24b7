/* Operations of a warp by their definitions (PTX manual: shfl.sync, vote.sync, ldmatrix, 'Matrix
 * fragments for mma.m16n8k16' and '.m16n8k32'), and the approximate functions. With g = lane / 4, t
 * = lane % 4, and the lower index in the lower bits, register r, element e of a lane is
 *
 *   A of m16n8k16  row g + 8 (r % 2)   column 2 t + e + 8 (r / 2)      A of m16n8k32  same row,
 *                                                                                     column 4 t +
 *                                                                                     e + 16 (r /
 *                                                                                     2)
 *   B of m16n8k16  k = 2 t + e + 8 r   n = g                           B of m16n8k32  k = 4 t + e +
 *                                                                                     16 r, n = g
 *   C, D           row g + 8 (r / 2)   column 2 t + r % 2
 *
 * Order and rounding of a real f32 sum are not specified. EMU_MMA=f32: in order, from the
 * accumulator on, in f32; EMU_MMA=f64: in reverse, the accumulator last, in double, rounded once.
 * Results must be right under both. */
#include <cstdlib>

#include "emu.h"

namespace emu {

namespace {

enum Kind { SHUFFLE, BALLOT, LDMATRIX, MMA_BF16, MMA_S8 };

bool sums_in_f64() {
    static const char *mode = getenv("EMU_MMA");
    static const bool yes = mode && !strcmp(mode, "f64");
    if (mode && *mode && !yes && strcmp(mode, "f32"))
        fail({"EMU_MMA", 0}, "expected f32 or f64, got %s", mode);
    return yes;
}

struct Shuffled {
    uint64_t bits, result;
    int kind, by, width;
};

void do_shuffle(Warp *w) {
    for (int l = 0; l < LANES; l++) {
        Shuffled *s = (Shuffled *)w->operands[l];
        int base = l & ~(s->width - 1), end = base + s->width, from = l;
        switch (s->kind) {
        case EMU_SHUFFLE_INDEX: from = base + (int)((unsigned)s->by % (unsigned)s->width); break;
        case EMU_SHUFFLE_XOR: from = (l ^ s->by) < end ? l ^ s->by : l; break;
        case EMU_SHUFFLE_DOWN: from = l + s->by < end ? l + s->by : l; break;
        default: from = l - s->by >= base ? l - s->by : l;
        }
        s->result = ((Shuffled *)w->operands[from])->bits;
    }
}

struct Vote {
    int yes;
    uint32_t result;
};

void do_ballot(Warp *w) {
    uint32_t all = 0;
    for (int l = 0; l < LANES; l++) all |= (uint32_t)(((Vote *)w->operands[l])->yes != 0) << l;
    for (int l = 0; l < LANES; l++) ((Vote *)w->operands[l])->result = all;
}

struct Matrices {
    uint32_t *r;
    int n, trans;
    const void *row;
};

uint64_t n_conflicts;

void do_ldmatrix(Warp *w) {
    const Matrices *first = (Matrices *)w->operands[0];
    Lane *me = now;
    for (int m = 0; m < first->n; m++) {
        uint16_t e[8][8];
        unsigned banks = 0;
        for (int i = 0; i < 8; i++) {
            const void *row = ((Matrices *)w->operands[8 * m + i])->row;
            now = &lanes[(me->index & ~31u) + (unsigned)(8 * m + i)];
            if ((uintptr_t)row % 16)
                fail(w->at, "ldmatrix: row %d of matrix %d is not a multiple of 16", i, m);
            check_shared(row, 16, "ldmatrix", w->at);
            check_landed(row, 16, w->at);
            race_shared(row, 16, false, false, w->at);
            memcpy(e[i], row, 16);
            unsigned bank = 1u << ((uintptr_t)row / 16 % 8);
            if (banks & bank) n_conflicts++;
            banks |= bank;
        }
        now = me;
        for (int l = 0; l < LANES; l++) {
            int g = l / 4, t = l % 4;
            uint32_t low = first->trans ? e[2 * t][g] : e[g][2 * t],
                     high = first->trans ? e[2 * t + 1][g] : e[g][2 * t + 1];
            ((Matrices *)w->operands[l])->r[m] = low | high << 16;
        }
    }
}

struct Product {
    void *d;
    const uint32_t *a;
    uint32_t b[2];
};

void sum_f32(float (&d)[16][8], const float (&a)[16][16], const float (&b)[16][8]) {
    for (int i = 0; i < 16; i++) {
        float sum[8];
        for (int j = 0; j < 8; j++) sum[j] = d[i][j];
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) sum[j] += a[i][k] * b[k][j];
        for (int j = 0; j < 8; j++) d[i][j] = sum[j];
    }
}

void sum_f64(float (&d)[16][8], const float (&a)[16][16], const float (&b)[16][8]) {
    for (int i = 0; i < 16; i++) {
        double sum[8] = {0};
        for (int k = 15; k >= 0; k--)
            for (int j = 0; j < 8; j++) sum[j] += (double)a[i][k] * (double)b[k][j];
        for (int j = 0; j < 8; j++) d[i][j] = (float)(sum[j] + (double)d[i][j]);
    }
}

void do_mma_bf16(Warp *w) {
    float a[16][16], b[16][8], d[16][8];
    for (int l = 0; l < LANES; l++) {
        const Product *p = (Product *)w->operands[l];
        int g = l / 4, t = l % 4;
        for (int r = 0; r < 4; r++) {
            a[g + 8 * (r % 2)][2 * t + 8 * (r / 2)] = low_f32(p->a[r]);
            a[g + 8 * (r % 2)][2 * t + 1 + 8 * (r / 2)] = high_f32(p->a[r]);
            d[g + 8 * (r / 2)][2 * t + r % 2] = ((float *)p->d)[r];
        }
        for (int r = 0; r < 2; r++) {
            b[2 * t + 8 * r][g] = low_f32(p->b[r]);
            b[2 * t + 1 + 8 * r][g] = high_f32(p->b[r]);
        }
    }
    if (sums_in_f64())
        sum_f64(d, a, b);
    else
        sum_f32(d, a, b);
    for (int l = 0; l < LANES; l++) {
        float *out = (float *)((Product *)w->operands[l])->d;
        for (int r = 0; r < 4; r++) out[r] = d[l / 4 + 8 * (r / 2)][2 * (l % 4) + r % 2];
    }
}

void do_mma_s8(Warp *w) {
    int32_t a[16][32], b[32][8];
    for (int l = 0; l < LANES; l++) {
        const Product *p = (Product *)w->operands[l];
        int g = l / 4, t = l % 4;
        for (int e = 0; e < 4; e++) {
            for (int r = 0; r < 4; r++)
                a[g + 8 * (r % 2)][4 * t + e + 16 * (r / 2)] = (int8_t)(p->a[r] >> (8 * e));
            for (int r = 0; r < 2; r++) b[4 * t + e + 16 * r][g] = (int8_t)(p->b[r] >> (8 * e));
        }
    }
    for (int i = 0; i < 16; i++) {
        int32_t sum[8] = {0}; /* at most 32 * 2^14 */
        for (int k = 0; k < 32; k++)
            for (int j = 0; j < 8; j++) sum[j] += a[i][k] * b[k][j];
        for (int j = 0; j < 8; j++) {
            int l = i % 8 * 4 + j / 2, r = i / 8 * 2 + j % 2;
            int32_t *out = (int32_t *)((Product *)w->operands[l])->d + r;
            *out = (int32_t)((uint32_t)*out + (uint32_t)sum[j]);
        }
    }
}

} // namespace

uint64_t bank_conflicts() { return n_conflicts; }

} // namespace emu

using namespace emu;

extern "C" uint64_t emu_shuffle(int kind, uint64_t bits, int by, int width, const char *file,
                                int line) {
    Place at = {file, line};
    if (width < 1 || width > LANES || (width & (width - 1)))
        fail(at, "shuffle: expected a width of 1, 2, 4, .. 32, got %d", width);
    Shuffled s = {bits, 0, kind, by & 31, width};
    with_warp(SHUFFLE, &s, at, do_shuffle);
    return s.result;
}

extern "C" uint32_t emu_ballot(int yes, const char *file, int line) {
    Vote v = {yes, 0};
    with_warp(BALLOT, &v, {file, line}, do_ballot);
    return v.result;
}

extern "C" void emu_ldmatrix(uint32_t *r, int n, int trans, const void *row, const char *file,
                             int line) {
    Matrices m = {r, n, trans, row};
    with_warp(LDMATRIX, &m, {file, line}, do_ldmatrix);
}

extern "C" void emu_mma_bf16(float *d, const uint32_t *a, uint32_t b0, uint32_t b1,
                             const char *file, int line) {
    Product p = {d, a, {b0, b1}};
    with_warp(MMA_BF16, &p, {file, line}, do_mma_bf16);
}

extern "C" void emu_mma_s8(int32_t *d, const uint32_t *a, uint32_t b0, uint32_t b1,
                           const char *file, int line) {
    Product p = {d, a, {b0, b1}};
    with_warp(MMA_S8, &p, {file, line}, do_mma_s8);
}

/* ex2.approx.ftz.f32: denormal numbers in and out are zeros. The error allowed is used in the
 * second mode. */
extern "C" float emu_exp2(float x) {
    if (fabsf(x) < 0x1p-126f) x = 0.0f;
    float y = exp2f(x);
    if (sums_in_f64() && y > 0x1p-100f && y < 0x1p100f && x != 0.0f)
        y = __uint_as_float(__float_as_uint(y) + (__float_as_uint(x) % 5) - 2);
    return y < 0x1p-126f ? 0.0f : y;
}

extern "C" float emu_f32_of_f16(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits >> 15) << 31, exponent = bits >> 10 & 31,
             fraction = bits & 1023;
    if (exponent == 31)
        return __uint_as_float(sign | 0x7f800000u | (fraction ? (fraction << 13) | 0x400000u : 0));
    if (exponent) return __uint_as_float(sign | (exponent + 112) << 23 | fraction << 13);
    float y = (float)fraction * 0x1p-24f;
    return sign ? -y : y;
}
