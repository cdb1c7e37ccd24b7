/* Everything that a tool says: messages and the progress line on stderr, data on stdout, and the
 * signals that end it. Messages of all threads pass one lock, so lines are never mixed. State is
 * the process's own: a tool has one stderr. Contract: tools/common/cli.h. */
#define _GNU_SOURCE
#include "console.h"
#include "base/clock.h"
#include "base/text/utf8.h"
#include "cli.h"
#include "common/texts/progress.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static const char *tool_name = "midisim";
static bool is_quiet, is_muted, is_forwarded;
static char kept[512]; /* first error of a muted process */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int stdout_errno; /* first failure to write standard output */
static volatile sig_atomic_t stop_signal;

/* Times are in seconds. */
static struct {
    bool is_active;  /* a run is under way: from its first progress to its end */
    bool is_hidden;  /* until the next progress */
    bool is_shown;   /* on the terminal, now */
    bool has_ticker; /* see tick */
    ms_progress last;
    int64_t before;
    double began, drawn, logged;
    double logged_share; /* < 0: nothing was logged, or the share is not known */
} bar;

void ms_console_set(const char *name, bool quiet) {
    tool_name = name;
    is_quiet = quiet;
}

void ms_console_mute(void) { is_muted = true; }
const char *ms_console_kept(void) { return kept; }
void ms_console_forwarded(void) { is_forwarded = true; }

double ms_cli_now(void) { return ms_clock_now(); }

bool ms_cli_is_terminal(int fd) { return !is_forwarded && isatty(fd); }

bool ms_cli_color(int fd) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return ms_cli_is_terminal(fd) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

int ms_cli_columns(int fd) {
    struct winsize size;
    if (!ms_cli_is_terminal(fd)) return 0;
    if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
    return 80;
}

char *ms_cli_count(char *buf, int64_t n) {
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)(n < 0 ? -n : n)), at = 0;
    if (n < 0) buf[at++] = '-';
    for (int i = 0; i < len; i++) {
        buf[at++] = digits[i];
        if ((len - 1 - i) % 3 == 0 && i + 1 < len) buf[at++] = ',';
    }
    buf[at] = 0;
    return buf;
}

/* ---- Messages ---- */

static void erase_bar(void) {
    if (!bar.is_shown) return;
    fputs("\r\033[K", stderr);
    bar.is_shown = false;
}

static void say(const char *kind, const char *color, const char *format, va_list args) {
    char text[4600];
    vsnprintf(text, sizeof text, format, args);
    text[ms_utf8_make_safe(text, strlen(text), false)] = 0;
    bool colored = *kind && ms_cli_color(STDERR_FILENO);
    pthread_mutex_lock(&lock);
    if (is_muted) {
        if (!*kind && !*kept) snprintf(kept, sizeof kept, "%.*s", (int)sizeof kept - 1, text);
        pthread_mutex_unlock(&lock);
        return;
    }
    erase_bar();
    fprintf(stderr, "%s: %s%s%s%s\n", tool_name, colored ? color : "", kind,
            colored ? "\033[0m" : "", text);
    fflush(stderr);
    pthread_mutex_unlock(&lock);
}

void ms_cli_error(const char *format, ...) {
    va_list args;
    va_start(args, format);
    say("", "", format, args);
    va_end(args);
}

void ms_cli_warning(const char *format, ...) {
    va_list args;
    va_start(args, format);
    say("warning: ", "\033[33m", format, args);
    va_end(args);
}

void ms_cli_note(const char *format, ...) {
    va_list args;
    if (is_quiet || is_muted) return;
    va_start(args, format);
    say("", "", format, args);
    va_end(args);
}

int ms_cli_usage(const char *format, ...) {
    va_list args;
    char text[4096];
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ms_cli_error("%s (see %s --help)", text, tool_name);
    return -MSIM_E_ARG;
}

int ms_cli_as_failure(int rc) {
    return rc == -MSIM_E_ARG || rc == -MSIM_E_UNSUPPORTED ? -MSIM_E_IO : rc;
}

/* ---- Progress ---- */

#define SHOWN_AFTER 0.5 /* seconds: what is shorter needs no bar */
#define DRAWN_EVERY 0.1
#define LOGGED_EVERY 60.0
#define LOGGED_SHARE 0.05

static void draw_bar(double now) {
    char line[300];
    int columns = ms_cli_columns(STDERR_FILENO);
    if (now - bar.began < SHOWN_AFTER || now - bar.drawn < DRAWN_EVERY) return;
    ms_progress_text(&bar.last, columns, line, sizeof line);
    if (columns > 1 && strlen(line) >= (size_t)columns) line[columns - 1] = 0;
    bool colored = ms_cli_color(STDERR_FILENO);
    fprintf(stderr, "\r%s%s%s\033[K", colored ? "\033[36m" : "", line, colored ? "\033[0m" : "");
    fflush(stderr);
    bar.is_shown = true;
    bar.drawn = now;
}

/* Without a terminal: a line after a minute, then one every minute or every 5 %, whichever is
 * later, so that a log shows life. */
static void log_progress(double now) {
    char line[300];
    double share = ms_progress_share(&bar.last);
    if (now - bar.logged < LOGGED_EVERY) return;
    if (share >= 0 && bar.logged_share >= 0 && share - bar.logged_share < LOGGED_SHARE) return;
    ms_progress_text(&bar.last, 0, line, sizeof line);
    fprintf(stderr, "%s: %s\n", tool_name, line);
    fflush(stderr);
    bar.logged = now;
    bar.logged_share = share;
}

/* The lock is held. */
static void show_progress(void) {
    double now = ms_cli_now();
    if (!bar.is_active || bar.is_hidden) return;
    bar.last.seconds = now - bar.began;
    if (ms_cli_is_terminal(STDERR_FILENO))
        draw_bar(now);
    else
        log_progress(now);
}

/* A batch may take seconds: meanwhile this thread shows the time that passes. */
static void *tick(void *unused) {
    const struct timespec pause = {.tv_nsec = 200000000};
    for (;;) {
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&lock);
        show_progress();
        pthread_mutex_unlock(&lock);
    }
    return unused;
}

/* Signals are for the other threads. Without the ticker progress is shown all the same, only less
 * often. */
static void start_ticker(void) {
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    if (bar.has_ticker || pthread_sigmask(SIG_SETMASK, &all, &before) != 0) return;
    bar.has_ticker = pthread_create(&thread, NULL, tick, NULL) == 0;
    if (bar.has_ticker) pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void take_progress(const ms_progress *p) {
    if (is_quiet || is_muted) return;
    pthread_mutex_lock(&lock);
    if (!bar.is_active) {
        bar.began = bar.logged = ms_cli_now();
        bar.drawn = 0;
        bar.logged_share = -1;
        bar.before = p->before;
        bar.is_active = true;
        start_ticker();
    }
    bar.is_hidden = false;
    bar.last = *p;
    bar.last.before = bar.before;
    show_progress();
    pthread_mutex_unlock(&lock);
}

void ms_cli_progress(const char *unit, int64_t done, int64_t all) {
    take_progress(&(ms_progress){.unit = unit, .done = done, .all = all, .tokens_all = -1});
}

void ms_cli_progress_tokens(const char *unit, int64_t done, int64_t all, int64_t tokens,
                            int64_t tokens_all) {
    take_progress(&(ms_progress){.unit = unit,
                                 .done = done,
                                 .all = all,
                                 .before = all < 0 ? 0 : done,
                                 .tokens = tokens,
                                 .tokens_all = tokens_all});
}

void ms_cli_progress_hide(void) {
    pthread_mutex_lock(&lock);
    erase_bar();
    fflush(stderr);
    bar.is_hidden = true;
    pthread_mutex_unlock(&lock);
}

void ms_cli_progress_end(void) {
    pthread_mutex_lock(&lock);
    erase_bar();
    fflush(stderr);
    bar.is_active = false;
    pthread_mutex_unlock(&lock);
}

/* ---- Standard output ---- */

static int put(const void *bytes, size_t n) {
    errno = 0;
    if (fwrite(bytes, 1, n, stdout) == n) return 0;
    stdout_errno = errno ? errno : EIO;
    return -1;
}

int ms_cli_write(const void *bytes, size_t n) {
    if (stdout_errno) return -1;
    if (!ms_cli_is_terminal(STDOUT_FILENO)) return put(bytes, n);
    char *safe = malloc(n ? n : 1);
    if (!safe) return ms_cli_output_failed(ENOMEM);
    memcpy(safe, bytes, n);
    int rc = put(safe, ms_utf8_make_safe(safe, n, true));
    free(safe);
    return rc;
}

int ms_cli_flush(void) {
    errno = 0;
    if (stdout_errno) return -1;
    return fflush(stdout) == 0 ? 0 : ms_cli_output_failed(errno ? errno : EIO);
}

int ms_cli_output_failed(int errno_value) {
    if (!stdout_errno) stdout_errno = errno_value;
    return -1;
}

int ms_cli_print(const char *format, ...) {
    char text[4600];
    va_list args;
    if (stdout_errno) return -1;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof text) return ms_cli_write(text, (size_t)n);
    char *longer = n < 0 ? NULL : malloc((size_t)n + 1);
    if (!longer) return ms_cli_output_failed(ENOMEM);
    va_start(args, format);
    vsnprintf(longer, (size_t)n + 1, format, args);
    va_end(args);
    int rc = ms_cli_write(longer, (size_t)n);
    free(longer);
    return rc;
}

int ms_cli_style(enum ms_cli_styles style) {
    static const char *const codes[] = {"\033[0m", "\033[1m", "\033[2m"};
    if (stdout_errno) return -1;
    return ms_cli_color(STDOUT_FILENO) ? put(codes[style], strlen(codes[style])) : 0;
}

int ms_cli_finish(int rc) {
    int status = rc >= 0 ? 0 : rc == -MSIM_E_ARG || rc == -MSIM_E_UNSUPPORTED ? 2 : 1;
    ms_cli_progress_end();
    errno = 0;
    bool was_bad = ferror(stdout) != 0;
    if (fclose(stdout) != 0 || was_bad)
        if (!stdout_errno) stdout_errno = errno ? errno : EIO;
    if (stdout_errno && stdout_errno != EPIPE) {
        ms_cli_error("write error: standard output: %s", strerror(stdout_errno));
        status = 1;
    }
    if (stop_signal) return 128 + (int)stop_signal;
    return status;
}

/* ---- Signals ---- */

static void on_signal(int number) {
    if (stop_signal) _exit(128 + number);
    stop_signal = number;
}

/* A mapped file was cut short by another program. Whatever was under way cannot go on: no lock may
 * be taken and nothing printed through stdio. */
static void on_lost_page(int number) {
    static const char text[] = ": a file that is in use was cut short by another program; its "
                               "results are lost\n";
    (void)number;
    msim_remove_temporary_files();
    if (write(STDERR_FILENO, tool_name, strlen(tool_name)) >= 0)
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(1);
}

/* On a stack of its own, for the main thread's may be what is exhausted. */
static void catch_lost_pages(void) {
    static char stack[16384];
    const stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = on_lost_page, .sa_flags = SA_ONSTACK};
    sigemptyset(&action.sa_mask);
    if (sigaltstack(&own, NULL) == 0) sigaction(SIGBUS, &action, NULL);
}

void ms_cli_catch_signals(void) {
    /* No SA_RESTART: a read that waits for standard input must end too. */
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    catch_lost_pages();
}

int ms_cli_stopped(void) { return (int)stop_signal; }
int ms_cli_should_stop(void *user) {
    (void)user;
    return ms_cli_stopped();
}
void ms_console_stop(int number) { stop_signal = number; }
