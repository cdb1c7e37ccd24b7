/* One file, one vector. include/midisim.h, Simple calls. */
#include "query/embedder.h"
#include "query/read.h"

int msim_embed_midi(const msim_model *model, const msim_options *options, const void *midi,
                    size_t n_bytes, int transpose, float *out, msim_error *err) {
    ms_query_embedder e;
    int rc = ms_query_embedder_open(model, options, &e, err);
    if (rc < 0) return rc;
    rc = ms_query_embed_at(&e, midi, n_bytes, transpose, e.max_tokens, out, err);
    ms_query_embedder_close(&e);
    return rc;
}

int msim_embed_file(const msim_model *model, const msim_options *options, const char *path,
                    int transpose, float *out, msim_error *err) {
    ms_files_buffer bytes = {0};
    msim_error why = {0};
    int rc = ms_query_read(path, &bytes, err);
    if (rc >= 0) {
        rc = msim_embed_midi(model, options, bytes.data, bytes.n_bytes, transpose, out, &why);
        if (rc < 0) ms_fail(err, -rc, "%.200s: %s", path, why.text);
    }
    ms_files_buffer_free(&bytes);
    return rc;
}
