/* Precision int8: packs weights. cpu/encoder/int8.h says what is computed. No state; the caller
 * gives all memory. */
#include "cpu/encoder/int8.h"
#include <math.h>

/* What of a column becomes code 127: its largest magnitude, or what keeps each four within
 * MS_INT8_FOUR. Aiming at 256 leaves half a step for the rounding of each of the four. NaN and
 * infinity stay. */
static float column_reach(const float *w, size_t k, int most) {
    float largest = 0.0f, four = 0.0f;
    for (size_t l = 0; l < k; l++)
        if (fabsf(w[l]) > largest || isnan(w[l])) largest = fabsf(w[l]);
    for (size_t first = 0; most < 255 && first < k; first += 2 * MS_INT8_GROUP)
        for (size_t half = first; half < first + MS_INT8_GROUP; half += 2) {
            float above = 0.0f, below = 0.0f;
            for (size_t l = 0; l < 4; l++) {
                float x = w[half + l % 2 + l / 2 * MS_INT8_GROUP];
                above += fmaxf(x, 0.0f);
                below -= fminf(x, 0.0f);
            }
            four = fmaxf(four, fmaxf(above, below));
        }
    four *= 127.0f / (float)(MS_INT8_FOUR - 2);
    return four > largest ? four : largest;
}

void ms_int8_pack(int8_t *panels, float *scale, float *sums, const float *w, size_t n, size_t k,
                  size_t chunk, int most) {
    for (size_t j = 0; j < (n + MS_INT8_COLS - 1) / MS_INT8_COLS * MS_INT8_COLS; j++) {
        int8_t *out = panels + j / MS_INT8_COLS * MS_INT8_COLS * k +
                      j % MS_INT8_COLS * MS_INT8_GROUP;
        float reach = j < n ? column_reach(w + j * k, k, most) : 0.0f;
        float inverse = reach > MS_INT8_LEAST && reach < INFINITY ? 127.0f / reach : 0.0f;
        for (size_t first = 0; first < k; first += chunk) {
            int32_t sum = 0;
            for (size_t l = first; l < k && l < first + chunk; l++) {
                int code = inverse > 0.0f
                               ? (int)lrintf(fminf(fmaxf(w[j * k + l] * inverse, -127.0f), 127.0f))
                               : 0;
                out[l / MS_INT8_GROUP * MS_INT8_GROUP * MS_INT8_COLS + l % MS_INT8_GROUP] =
                    (int8_t)code;
                sum += code;
            }
            if (j < n) sums[first / chunk * n + j] = reach / 127.0f * (float)sum;
        }
        if (j < n) scale[j] = reach / 127.0f;
    }
}
