/* Contract: tools/common/fits/fit.h. */
#include "common/fits/fit.h"
#include "common/watch.h"
#include <string.h>

int ms_cli_fit(const msim_corpus *corpus, const msim_whitening_options *options,
               msim_whitening **out, msim_error *err) {
    msim_whitening_options o = *options;
    msim_error why;
    o.progress = ms_cli_count_progress;
    o.user = "rows of the fit";
    int rc = msim_whitening_fit(corpus, &o, out, &why);
    ms_cli_progress_end();
    if (rc >= 0) return rc;
    return ms_fail(err, -rc, "%.420s%s", why.text, rc == -MSIM_E_EMPTY ? ": --prior-fit FILE" : "");
}

int ms_cli_compare_rows(const msim_whitening *own, const msim_corpus *queries, msim_error *err) {
    msim_whitening_info a = {.size = sizeof a}, b = {.size = sizeof b};
    const msim_whitening *asked;
    int rc = msim_corpus_whitening(queries, &asked, err);
    if (rc < 0) return rc;
    if (!asked) return MS_CLI_ROWS_RAW;
    bool is_alike = own && msim_whitening_get_info(own, &a) >= 0 &&
                    msim_whitening_get_info(asked, &b) >= 0 && strcmp(a.hash, b.hash) == 0;
    return is_alike ? MS_CLI_ROWS_ALIKE : MS_CLI_ROWS_OTHER;
}
