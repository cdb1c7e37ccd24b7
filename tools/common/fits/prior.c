/* Contract: tools/common/fits/prior.h. */
#include "common/fits/prior.h"
#include <stdio.h>
#include <string.h>

_Static_assert(MSIM_WHITENING_PRIOR_ROWS == 2000, "as the help says");

/* Why a fit does not serve these rows; NULL: it does. */
static const char *mismatch(const msim_whitening *w, const char *model_sha256, int64_t dim) {
    msim_whitening_info i = {.size = sizeof i};
    if (msim_whitening_get_info(w, &i) < 0 || i.dim != dim) return "rows of another width";
    if (*model_sha256 && *i.model_sha256 && strcmp(i.model_sha256, model_sha256) != 0)
        return "rows of another model";
    return NULL;
}

int ms_cli_prior_open(const char *given, const char *model_sha256, int64_t dim,
                      msim_whitening **out, msim_error *err) {
    char found[4352];
    const char *path = given;
    msim_whitening *w;
    msim_error why;
    *out = NULL;
    if (given && strcmp(given, "none") == 0) return 0;
    if (!given && msim_default_whitening(found, sizeof found, &why) < 0) return 0;
    if (!given) path = found;
    int rc = msim_whitening_open(path, &w, &why);
    if (rc < 0)
        return ms_fail(err, -rc, "%.400s%s", why.text,
                       given ? "" : " (--prior-fit none goes on without)");
    const char *bad = mismatch(w, model_sha256, dim);
    if (!bad) {
        *out = w;
        return 0;
    }
    msim_whitening_close(w);
    if (given) return ms_fail(err, MSIM_E_ARG, "--prior-fit: %.300s: a fit of %s", given, bad);
    ms_cli_note("%s not used: a fit of %s", path, bad);
    return 0;
}
