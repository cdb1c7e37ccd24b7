/* Contract: tools/common/watch.h. */
#include "watch.h"
#include "cli.h"
#include <string.h>

static void show(const msim_job_progress *p) {
    switch (p->step) {
    case MSIM_STEP_LIST: ms_cli_progress("files listed", p->done, p->all); break;
    case MSIM_STEP_JOURNAL:
        ms_cli_progress("MB of the journal", p->done >> 20, p->all >> 20);
        break;
    case MSIM_STEP_EMBED:
        ms_cli_progress_tokens(p->all < 0 ? "lines" : "files", p->done, p->all, p->tokens,
                               p->tokens_all);
        break;
    case MSIM_STEP_WRITE: ms_cli_progress("rows written", p->done, p->all); break;
    default: break;
    }
}

int ms_cli_job_progress(void *user, const msim_job_progress *p) {
    static int step;
    (void)user;
    if (p->step != step) ms_cli_progress_end();
    step = p->step;
    show(p);
    return ms_cli_stopped() != 0;
}

int ms_cli_count_progress(void *user, int64_t done, int64_t all) {
    ms_cli_progress(user, done, all);
    return ms_cli_stopped();
}

int ms_cli_unit_progress(void *user, const char *unit, int64_t done, int64_t all) {
    static const char *last;
    (void)user;
    if (last && strcmp(last, unit) != 0) ms_cli_progress_end();
    last = unit;
    ms_cli_progress(unit, done, all);
    return ms_cli_stopped() != 0;
}

void ms_cli_job_message(void *user, int level, const char *text) {
    (void)user;
    if (level == MSIM_MESSAGE_ERROR)
        ms_cli_error("%s", text);
    else if (level == MSIM_MESSAGE_WARNING)
        ms_cli_warning("%s", text);
    else
        ms_cli_note("%s", text);
}

msim_walk_options ms_cli_walk_options(void) {
    msim_walk_options o = msim_walk_options_default();
    o.progress = ms_cli_job_progress;
    o.message = ms_cli_job_message;
    return o;
}
