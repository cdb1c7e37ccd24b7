/* How similar is each FILE to QUERY?
 *   similar MODEL.safetensors QUERY.mid FILE.mid...
 *   cc similar.c $(pkg-config --cflags --libs midisim) -o similar */
#include <midisim.h>
#include <stdio.h>
#include <stdlib.h>

static double cosine(const float *a, const float *b, size_t dim) {
    double sum = 0;
    for (size_t i = 0; i < dim; i++) sum += (double)a[i] * b[i];
    return sum;
}

int main(int argc, char **argv) {
    msim_error e = {0};
    msim_model *model = NULL;
    msim_model_info info = {.size = sizeof info};
    int rc = 0;

    if (argc < 4) {
        fprintf(stderr, "usage: similar MODEL QUERY.mid FILE.mid...\n");
        return 2;
    }
    rc = msim_model_open(argv[1], NULL, &model, &e);
    if (rc >= 0) rc = msim_model_get_info(model, &info);
    size_t dim = (size_t)info.dim;
    float *query = malloc((dim + 1) * sizeof *query), *other = malloc((dim + 1) * sizeof *other);
    if (!query || !other) return 1;
    if (rc >= 0) rc = msim_embed_file(model, NULL, argv[2], 0, query, &e);
    if (rc >= 0) msim_l2_normalize(query, 1, dim);
    for (int i = 3; i < argc && rc >= 0; i++) {
        rc = msim_embed_file(model, NULL, argv[i], 0, other, &e);
        if (rc < 0) break;
        msim_l2_normalize(other, 1, dim);
        printf("%6.2f %%  %s\n", 100 * cosine(query, other, dim), argv[i]);
    }
    if (rc < 0) fprintf(stderr, "similar: %s\n", e.text);
    free(query);
    free(other);
    msim_model_close(model);
    return rc < 0;
}
