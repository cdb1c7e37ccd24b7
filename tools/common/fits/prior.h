/* The fit of a whitening that a corpus's own rows are added to: the one that was named, or the one
 * that comes with the model. docs/WHITENING.md. */
#ifndef MS_TOOLS_COMMON_PRIOR_H
#define MS_TOOLS_COMMON_PRIOR_H
#include "common/cli.h"

/* Option rows that several tools have. */
#define MS_CLI_ROW_PRIOR_FIT(settings)                                                          \
    {                                                                                           \
        .name = "prior-fit", .kind = MS_CLI_TEXT, .value = "FILE|none",                         \
        .offset = offsetof(settings, prior_fit),                                                \
        .help = "with --whiten: a fit from other music, to which the rows of CORPUS are added " \
                "(default: default.whiten beside the model, if it is there)"                    \
    }
#define MS_CLI_ROW_PRIOR_ROWS(settings)                                                  \
    {                                                                                    \
        .name = "prior-rows", .kind = MS_CLI_INT, .value = "N", .max = INT64_C(1) << 40, \
        .offset = offsetof(settings, prior_rows),                                        \
        .help = "with --whiten: how many rows that other fit counts as, at most "        \
                "(default " MS_CLI_TEXT_OF(2000) ")"                                     \
    }

/* given: a file, "none", or NULL for the one that comes with the model. model_sha256: of the model
 * that made the rows, "" when it is not known. *out is NULL when there is none. A default fit of
 * another model or width is not used; a named one is refused. */
int ms_cli_prior_open(const char *given, const char *model_sha256, int64_t dim,
                      msim_whitening **out, msim_error *err);

#endif
