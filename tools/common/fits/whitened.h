/* The whitened rows of a corpus, kept in files beside its parts or in a folder, and written when
 * they are not there or are of other rows. docs/WHITENING.md, --whiten. */
#ifndef MS_TOOLS_COMMON_WHITENED_H
#define MS_TOOLS_COMMON_WHITENED_H
#include "common/cli.h"

#define MS_CLI_ROW_WHITEN(settings)                                                             \
    {                                                                                           \
        .name = "whiten", .kind = MS_CLI_FLAG, .offset = offsetof(settings, is_whitened),       \
        .help = "search whitened rows, which rank better: a linear map, fitted on the corpus, " \
                "takes away what all pieces share. The rows are written to CORPUS.whitened on " \
                "first use (with --cache DIR into that folder), 4 bytes for each number"        \
    }

typedef struct {
    const char *cache;     /* a folder for the files; NULL: beside the parts */
    const char *prior_fit; /* as for ms_cli_prior_open */
    int64_t prior_rows;
    const char *model_sha256;  /* of the model that made the rows, or "" */
    int threads, isa;          /* of the fit */
    bool may_write;            /* else files that do not fit are an error */
    bool ignores_descriptions; /* go on when the parts' descriptions cannot be used */
} ms_cli_whitened;

/* Open the whitened rows of `raw` as a corpus: the same rows in the same order. */
int ms_cli_whitened_open(const msim_corpus *raw, const ms_cli_whitened *request, msim_corpus **out,
                         msim_error *err);

/* FOLDER/<hash of the absolute path>-<base name>ENDING: files of one name in different places stay
 * apart. To be freed with ms_free; NULL (err) on failure. */
char *ms_cli_cached_path(const char *folder, const char *file, const char *ending, msim_error *err);

#endif
