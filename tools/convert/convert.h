/* Between the files of midisim-convert: its settings, and the jobs that main chooses among. Each
 * job says what goes wrong and returns a status for ms_cli_finish. One thread. */
#ifndef MS_TOOLS_CONVERT_CONVERT_H
#define MS_TOOLS_CONVERT_CONVERT_H
#include "common/cli.h"
#include "pipeline/disk/description.h"

/* Behind the output's name: where the description that stood beside it waits while the output takes
 * its place. A format, for the process. */
#define MS_CONVERT_ASIDE ".json.part-%ld"

typedef struct {
    ms_cli_common common;
    int dtype;                             /* msim_dtype, or -1: not given */
    int format;                            /* msim_format, or -1: not given */
    const char *out;                       /* -o, or NULL */
    const char *names_file;                /* names of rows that have none, or NULL */
    const char *name_field, *vector_field; /* NULL: the usual ones */
    const char *whiten_fit, *prior_fit;    /* NULL: not given */
    int64_t prior_rows;
    ms_cli_texts altered; /* corpora of altered copies */
    double nuisance_weight;
    bool is_whitened, is_fit_only; /* --whiten, --fit-only */
    bool is_info, is_verify, is_json, is_merge, is_forced, keeps_nonfinite;
} ms_convert_settings;

/* Write the corpus that `inputs` are together as `out`; with is_merge in bytewise order of name. */
int ms_convert_corpus(const ms_convert_settings *s, const ms_cli_texts *inputs, const char *out);
/* Write the whitened rows of the corpus, or with --fit-only the fit alone, as `out`. */
int ms_convert_whiten(const ms_convert_settings *s, const ms_cli_texts *inputs, const char *out);
/* --info and --verify of every file. */
int ms_convert_describe(const ms_convert_settings *s, const ms_cli_texts *files);
/* What a path looks like: a corpus (a folder, .npy by its first bytes, .fvecs and .fbin by their
 * names), or else a checkpoint. What cannot be opened is left to the library's own error. */
bool ms_convert_is_corpus(const char *path);
/* The description beside one file of a corpus: 1: read, 0: none, < 0: it cannot be used, or has
 * other rows than the file (err). */
int ms_convert_description(const msim_corpus *corpus, int64_t part, ms_description *description,
                           msim_error *err);

#endif
