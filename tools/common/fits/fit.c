/* Contract: tools/common/fits/fit.h. */
#include "common/fits/fit.h"
#include "common/watch.h"

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
