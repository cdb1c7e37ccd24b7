/* How similar is each FILE to QUERY?
 *   similar MODEL.safetensors QUERY.mid FILE.mid...
 *   cc similar.c $(pkg-config --cflags --libs midisim) -o similar */
#include <midisim.h>
#include <stdio.h>
#include <stdlib.h>

/* Read a MIDI file, tokenise and embed it: vector[dim], of length 1. Returns 0 or minus a
 * status. */
static int embed_file(msim_tokenizer *tok, msim_context *ctx, const char *path, float *vector,
                      size_t dim, msim_error *e) {
    static unsigned char bytes[1 << 20];
    static int32_t ids[3072];
    int64_t starts[2] = {0, 0};

    FILE *f = fopen(path, "rb");
    size_t n_bytes = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (f) fclose(f);
    int64_t n = msim_tokenizer_encode_at(tok, bytes, n_bytes, 0, 3072, ids, 3072, e);
    if (n < 0) return (int)n;
    starts[1] = n;
    int rc = msim_context_embed(ctx, ids, starts, 1, NULL, vector, e);
    if (rc >= 0) msim_l2_normalize(vector, 1, dim);
    return rc;
}

int main(int argc, char **argv) {
    msim_error e = {0};
    msim_options options = msim_options_default();
    msim_model *model = NULL;
    msim_context *ctx = NULL;
    msim_tokenizer *tok = NULL;
    msim_model_info info = {.size = sizeof info};
    float *query = NULL, *other = NULL;
    int status = 1;

    if (argc < 4) {
        fprintf(stderr, "usage: similar MODEL QUERY.mid FILE.mid...\n");
        return 2;
    }
    if (msim_model_open(argv[1], &options, &model, &e) < 0 || msim_model_get_info(model, &info) < 0)
        goto out;
    if (msim_context_open(model, &options, &ctx, &e) < 0 ||
        msim_tokenizer_open(model, &tok, &e) < 0)
        goto out;
    size_t dim = (size_t)info.dim;
    query = malloc(dim * sizeof *query);
    other = malloc(dim * sizeof *other);
    if (!query || !other || embed_file(tok, ctx, argv[2], query, dim, &e) < 0) goto out;
    for (int i = 3; i < argc; i++) {
        if (embed_file(tok, ctx, argv[i], other, dim, &e) < 0) goto out;
        double cosine = 0;
        for (size_t d = 0; d < dim; d++) cosine += (double)query[d] * other[d];
        printf("%6.2f %%  %s\n", 100 * cosine, argv[i]);
    }
    status = 0;
out:
    if (status) fprintf(stderr, "similar: %s\n", e.text);
    free(query);
    free(other);
    msim_tokenizer_close(tok);
    msim_context_close(ctx);
    msim_model_close(model);
    return status;
}
