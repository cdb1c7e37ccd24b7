/* CORPUS.npy.json: what a corpus was made with, beside it. midisim-embed writes it, midisim-search
 * reads model hash, pooling, weights and max_tokens from it. One JSON object; keys in
 * docs/FORMATS.md. Values only, nothing owned. */
#ifndef MS_PIPELINE_DISK_DESCRIPTION_H
#define MS_PIPELINE_DISK_DESCRIPTION_H
#include "base/span.h"

enum { MS_DESCRIPTION_CLASSES = 8 }; /* a family has fewer (model/family.h) */

typedef struct {
    char tool[24], version[24];
    char model_sha256[65], family[24]; /* of the model: its checkpoint's hash, and its kind */
    int64_t dim, depth, heads, vocab;
    bool is_weighted; /* pooling: weighted, else mean */
    int n_classes;    /* of token ids, as many weights; 0: not known, and the mean */
    float pool_weights[MS_DESCRIPTION_CLASSES]; /* all 1 for the mean */
    char precision[8];                          /* "bf16", "f32" */
    char level[16];                             /* ISA level on the CPU ("avx2"); "cuda" on a GPU */
    char device[8];                             /* "cpu", "cuda" */
    int64_t max_tokens;                         /* 0: no limit */
    int64_t window_tokens, window_step; /* of the windows of a piece; 0: one row is one piece */
    bool is_normalized;
    char dtype[8];           /* "f32", "f16" */
    char names[8];           /* "path", "stem" */
    int64_t transpose;       /* semitones */
    char levels[64];         /* "avx2 avx512": all, when rows were made at several; else empty */
    int64_t shard, n_shards; /* of --shard; 0: all files */
    int64_t rows, files;     /* rows in the corpus; input files they came from */
    int64_t unread;          /* files that could not be read, or changed meanwhile: the same command
                            * tries them again */
    bool is_complete;        /* false: the run was stopped, some files are missing */
} ms_description;

/* Where a row came from. All of them stand in the description as one text, "sources": 32 bytes a
 * row in order of rows, as here, in base64. With them a corpus is brought up to date without
 * embedding all of it again. */
typedef struct {
    int64_t mtime_ns;         /* of the file; 0: not known */
    uint32_t bytes;           /* of the file; MS_SOURCE_UNKNOWN: none, or not known */
    uint32_t flags;           /* MS_SOURCE_CUT: longer than the token limit */
    unsigned char sha256[16]; /* first half of the SHA-256 of its contents, after gzip; of token
                                * ids: docs/FORMATS.md */
} ms_source;
#define MS_SOURCE_UNKNOWN UINT32_MAX
#define MS_SOURCE_CUT 1u

/* CORPUS.npy -> CORPUS.npy.json; false when it does not fit. */
bool ms_description_path(const char *corpus, char *path, size_t cap);
/* 1: read; 0: there is none; < 0: it is there but cannot be used (err). */
int ms_description_read(const char *corpus, ms_description *out, msim_error *err);
/* The sources of its rows: 1, with *out [rows] to be freed with ms_free; 0: there are none. */
int ms_description_read_sources(const char *corpus, int64_t rows, ms_source **out, msim_error *err);
/* The description's text as it stands, without sources: ms_free it; NULL with err when there is
 * none. */
char *ms_description_read_text(const char *corpus, size_t *n, msim_error *err);
/* Written beside the corpus through a temporary file and a rename. */
int ms_description_write(const char *corpus, const ms_description *description, msim_error *err);
/* What is written for each of description->rows rows. */
typedef struct {
    void *user;
    void (*source)(void *user, int64_t row, ms_source *out); /* NULL: no sources */
    /* NULL: no spans, every row is a whole piece. Called for one row after the other. */
    int (*span)(void *user, int64_t row, ms_stored_span *out, msim_error *err);
} ms_description_rows;

/* As above to a path of its own, with what `rows` (may be NULL) has for each row. */
int ms_description_write_to(const char *path, const ms_description *description,
                            const ms_description_rows *rows, msim_error *err);
/* The description as JSON on one line, without sources (ms_free it; NULL: out of memory), and back:
 * 1, or < 0. */
char *ms_description_print(const ms_description *description, msim_error *err);
int ms_description_parse(const char *text, size_t n, const char *path, ms_description *out,
                         msim_error *err);
/* Note that rows were made at another level too. */
void ms_description_add_level(ms_description *description, const char *level);
/* Note all levels of another description. */
void ms_description_add_levels(ms_description *description, const ms_description *from);
/* True when a level is the description's, or one of its levels. */
bool ms_description_has_level(const ms_description *description, const char *level);
/* Model and device fields from an open model. */
void ms_description_set_model(ms_description *description, const msim_model_info *info);
/* True when a setting that changes vectors or names differs (not rows, files, completeness, tool,
 * version); `what` then says which: "pooling: expected mean, got weighted". */
bool ms_description_differs(const ms_description *expected, const ms_description *got, char *what,
                            size_t cap);
/* The same without level and device. */
bool ms_description_differs_beyond_level(const ms_description *expected, const ms_description *got,
                                         char *what, size_t cap);

#endif
