/* CORPUS.npy.json: what a corpus was made with, beside it. midisim-embed writes it, midisim-search reads model hash,
 * pooling, weights and max_tokens from it. One JSON object; keys in docs/FORMATS.md. Values only, nothing owned. */
#ifndef MS_TOOLS_SIDECAR_H
#define MS_TOOLS_SIDECAR_H
#include "cli.h"

typedef struct {
    char tool[24], version[24];
    char model_sha256[65], family[24]; /* of the model: its checkpoint's hash, and its kind */
    int64_t dim, depth, heads, vocab;
    bool is_weighted;      /* pooling: weighted, else mean */
    float pool_weights[3]; /* start-time, duration, pitch; all 1 for the mean */
    char precision[8];     /* "bf16", "f32" */
    char level[16];        /* ISA level on the CPU ("avx2"); "cuda" on a GPU */
    char device[8];        /* "cpu", "cuda" */
    int64_t max_tokens;    /* 0: no limit */
    bool is_normalized;
    char dtype[8];         /* "f32", "f16" */
    char names[8];         /* "path", "stem" */
    int64_t transpose;     /* semitones */
    int64_t rows, files;   /* rows in the corpus; input files they came from */
    bool is_complete;      /* false: the run was stopped, some files are missing */
} ms_sidecar;

/* CORPUS.npy -> CORPUS.npy.json; false when it does not fit. */
bool ms_sidecar_path(const char *corpus, char *path, size_t cap);
/* 1: read; 0: there is none; < 0: it is there but cannot be used (err). */
int ms_sidecar_read(const char *corpus, ms_sidecar *out, msim_error *err);
/* Written beside the corpus through a temporary file and a rename. */
int ms_sidecar_write(const char *corpus, const ms_sidecar *sidecar, msim_error *err);
/* Model and device fields from an open model. */
void ms_sidecar_set_model(ms_sidecar *sidecar, const msim_info *info);
/* True when a setting that changes vectors or names differs (not rows, files, completeness, tool, version); `what` then
 * says which: "pooling: expected mean, got weighted". */
bool ms_sidecar_differs(const ms_sidecar *expected, const ms_sidecar *got, char *what, size_t cap);

#endif
