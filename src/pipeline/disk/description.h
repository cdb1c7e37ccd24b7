/* CORPUS.npy.json, the description beside a corpus: the model and the settings that made it.
 * midisim-embed writes the description; midisim-search reads model hash, pooling, weights and
 * max_tokens from it. It is one JSON object; docs/FORMATS.md has its keys. Structs here hold values
 * only and own nothing. */
#ifndef MS_PIPELINE_DISK_DESCRIPTION_H
#define MS_PIPELINE_DISK_DESCRIPTION_H
#include "base/bars.h"
#include "base/span.h"

enum { MS_DESCRIPTION_CLASSES = 8 }; /* a family has fewer (model/family.h) */

typedef struct {
    char tool[24], version[24];
    char model_sha256[65], family[24]; /* of the model: its checkpoint's hash, and its kind */
    int64_t dim, depth, heads, vocab;
    /* Of midisimx: how files became tokens. The file says it of that family alone. */
    bool has_tokens;
    int token_order;  /* msim_token_order */
    bool is_unclean;  /* all instruments but drums */
    bool is_weighted; /* pooling: weighted, else mean */
    int n_classes;    /* classes of token ids, with a weight each; 0: not known */
    float pool_weights[MS_DESCRIPTION_CLASSES]; /* all 1 for the mean */
    char precision[8];                          /* "bf16", "f32" */
    char level[16];                             /* ISA level on the CPU ("avx2"); "cuda" on a GPU */
    char device[8];                             /* "cpu", "cuda" */
    int64_t max_tokens;                         /* 0: no limit */
    int64_t window_tokens, window_step;         /* of the windows of a piece; 0: there are none */
    bool is_pooled; /* a row is the mean of a piece's windows, not one window */
    bool is_normalized;
    char dtype[8];     /* "f32", "f16" */
    char names[8];     /* "path", "stem" */
    int64_t transpose; /* semitones */
    char levels[64];   /* all levels when rows were made at several ("avx2 avx512"); else empty */
    int64_t shard, n_shards; /* of --shard; n_shards 0: all files */
    int64_t rows, files;     /* rows in the corpus; input files they came from */
    /* Files that could not be read or changed during the run: the same command tries them again. */
    int64_t unread;
    /* Named inputs that are damaged or without notes: trying them again gives no row either. */
    int64_t failed;
    /* Of the rows, as msim_corpus_fingerprint gives it; empty: not known. */
    char fingerprint[MSIM_FINGERPRINT_CHARS + 1];
    bool is_complete;   /* false: the run was stopped, some files are missing */
    char whitening[65]; /* hash of the map that the rows are whitened with; empty: they are not */
} ms_description;

/* True when rows are windows: a piece has several, each with a span. */
static inline bool ms_description_has_spans(const ms_description *d) {
    return d->window_tokens > 0 && !d->is_pooled;
}

/* Where a row came from. The description holds the sources of all rows as one text, "sources": 32
 * bytes per row, laid out as here, in order of rows, in base64. They let a job update a corpus
 * without embedding all of it again. */
typedef struct {
    int64_t mtime_ns;         /* of the file; 0: not known */
    uint32_t bytes;           /* of the file; MS_SOURCE_UNKNOWN: none, or not known */
    uint32_t flags;           /* MS_SOURCE_CUT: longer than the token limit */
    unsigned char sha256[16]; /* first half of the SHA-256 of its contents, after gzip; of token
                                * ids: docs/FORMATS.md */
} ms_source;
#define MS_SOURCE_UNKNOWN UINT32_MAX
#define MS_SOURCE_CUT 1u

/* CORPUS.npy -> CORPUS.npy.json. Returns false when that path does not fit into cap bytes. */
bool ms_description_path(const char *corpus, char *path, size_t cap);
/* Returns 1 when it was read, 0 when there is none, < 0 (err) when it cannot be used. One that
 * knows the whitening of the rows alone (msim_corpus_whitening), and no model, counts as none. */
int ms_description_read(const char *corpus, ms_description *out, msim_error *err);
/* The key of a whitened corpus; "" when it has none, or no description. */
int ms_description_read_key(const char *corpus, char *key, size_t cap, msim_error *err);
/* Read the sources of the rows. Returns 1, and *out [rows] is to be freed with ms_free; 0 when
 * there are none. */
int ms_description_read_sources(const char *corpus, int64_t rows, ms_source **out, msim_error *err);
/* The text of the description as it is in the file, without sources; to be freed with ms_free.
 * NULL, and err says why, when there is none. */
char *ms_description_read_text(const char *corpus, size_t *n, msim_error *err);
/* Write the description beside the corpus, through a temporary file and a rename. */
int ms_description_write(const char *corpus, const ms_description *description, msim_error *err);
/* What is written for each of description->rows rows. */
typedef struct {
    void *user;
    void (*source)(void *user, int64_t row, ms_source *out); /* NULL: no sources */
    /* NULL: no spans, every row is a whole piece. Called once for each row, in order. */
    int (*span)(void *user, int64_t row, ms_stored_span *out, msim_error *err);
    /* NULL: no bars. Called as span is. */
    int (*bars)(void *user, int64_t row, ms_stored_bars *out, msim_error *err);
    const msim_whitening *whitening; /* borrowed; NULL: the rows are not whitened */
    const char *key;                 /* that msim_corpus_write_whitened got, or NULL */
} ms_description_rows;

/* Write the description to `path`, with what `rows` (may be NULL) gives. With dim 0 the model is
 * not known, and the settings are left out. */
int ms_description_write_to(const char *path, const ms_description *description,
                            const ms_description_rows *rows, msim_error *err);
/* The description as JSON on one line, without sources; to be freed with ms_free, NULL when out of
 * memory. ms_description_parse reads such a text: 1, or < 0. */
char *ms_description_print(const ms_description *description, msim_error *err);
int ms_description_parse(const char *text, size_t n, const char *path, ms_description *out,
                         msim_error *err);
/* Note that rows were made at another level too. */
void ms_description_add_level(ms_description *description, const char *level);
/* Note all levels of another description. */
void ms_description_add_levels(ms_description *description, const ms_description *from);
/* True when rows of the corpus were made at this level. */
bool ms_description_has_level(const ms_description *description, const char *level);
/* Set the fingerprint from the rows of a corpus file that is complete. */
int ms_description_take_fingerprint(ms_description *description, const char *corpus,
                                    msim_error *err);
/* Returns -MSIM_E_ARG when the rows of a part have another fingerprint (msim_corpus_fingerprint)
 * than the description says. Descriptions of older versions have none: then only the number of rows
 * is compared. */
int ms_description_check(const ms_description *description, const msim_corpus *corpus, int64_t part,
                         msim_error *err);
/* Model and device fields from an open model. */
void ms_description_set_model(ms_description *description, const msim_model_info *info);
/* True when a setting that changes vectors or names differs; `what` then says which, such as
 * "pooling: expected mean, got weighted". Rows, files, completeness, tool and version are not
 * compared. */
bool ms_description_differs(const ms_description *expected, const ms_description *got, char *what,
                            size_t cap);
/* The same without level and device. */
bool ms_description_differs_beyond_level(const ms_description *expected, const ms_description *got,
                                         char *what, size_t cap);

#endif
