/* Calls of a job's callbacks, and the flag that other threads look at: pipeline/watch.h. */
#define _GNU_SOURCE
#include "pipeline/watch.h"
#include "base/status.h"
#include <stdarg.h>
#include <stdio.h>

void ms_watch_begin(ms_watch *w) {
    w->owner = pthread_self();
    w->last = (msim_job_progress){.size = sizeof w->last, .all = -1, .tokens_all = -1};
}

static bool ask(ms_watch *w) {
    if (!w->is_stopped && w->progress && w->progress(w->user, &w->last) != 0) w->is_stopped = true;
    return w->is_stopped;
}

void ms_watch_tokens(ms_watch *w, int64_t tokens, int64_t tokens_all) {
    if (!w) return;
    w->last.tokens = tokens;
    w->last.tokens_all = tokens_all;
}

bool ms_watch_step(ms_watch *w, int step, int64_t done, int64_t all) {
    if (!w) return false;
    if (step != w->last.step) ms_watch_tokens(w, 0, -1);
    w->last.step = step;
    w->last.done = done;
    w->last.all = all;
    return ask(w);
}

void ms_watch_end_step(ms_watch *w) { (void)ms_watch_step(w, MSIM_STEP_NONE, 0, -1); }

bool ms_watch_is_stopped(ms_watch *w) {
    if (!w) return false;
    return pthread_equal(w->owner, pthread_self()) ? ask(w) : w->is_stopped;
}

int ms_watch_stop(msim_error *err, const char *what) {
    return ms_fail(err, MSIM_E_STOPPED, "stopped %s", what);
}

void ms_watch_say(ms_watch *w, int level, const char *format, ...) {
    char text[4600];
    va_list args;
    if (!w || !w->message) return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    w->message(w->user, level, text);
}

char *ms_watch_count(char *buf, int64_t n) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)n), at = 0;
    for (int i = 0; i < len; i++) {
        buf[at++] = digits[i];
        if (digits[i] != '-' && (len - 1 - i) % 3 == 0 && i + 1 < len) buf[at++] = ',';
    }
    buf[at] = 0;
    return buf;
}
