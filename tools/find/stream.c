/* midisim-find --stream: notes from standard input, matched as they come. Contract:
 * tools/find/find.h; docs/NOTES.md has the lines. */
#define _GNU_SOURCE
#include "common/notes/asked.h"
#include "find.h"
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A signal ends the wait for input; one that comes between the look at it and the wait does so
 * after WAIT_MS. */
enum { LINE_BYTES = 256, MAX_CHORD = 32, MAX_SHOWN = 10, WAIT_MS = 250 };
static const char blanks[] = " \t\r";
static const char expected[] = "expected ONSET PITCH [DURATION [CHANNEL]]";

typedef struct {
    const ms_find_settings *s;
    msim_notes_stream *stream; /* borrowed */
    ms_find_out *out;          /* borrowed */
    char line[LINE_BYTES + 1];
    size_t n_line;
    int64_t n_lines, n_refused, n_heard, n_new;
    bool is_long; /* the line in hand has more bytes than any may have */
    bool is_significant;
} listening;

/* ---- Lines ---- */

/* A plain number from 0 to `most`. */
static bool read_number(const char *text, double most, double *out) {
    char *end;
    if (!text || text[strspn(text, "0123456789.")] || !strpbrk(text, "0123456789")) return false;
    *out = strtod(text, &end);
    return !*end && *out <= most;
}

/* A comment begins with # at the beginning or behind a blank: F#4 is a note. */
static void cut_comment(char *line) {
    for (char *c = strchr(line, '#'); c; c = strchr(c + 1, '#'))
        if (c == line || strchr(blanks, c[-1])) {
            *c = 0;
            return;
        }
}

/* The notes of a line into out [MAX_CHORD]. Returns how many, 0 for a line without any, or < 0. */
static int64_t read_line(char *line, msim_note *out, msim_error *err) {
    char *rest = NULL, *words[5];
    double onset, duration = 0, channel = 1;
    int n_words = 0;
    cut_comment(line);
    for (char *word = strtok_r(line, blanks, &rest); word && n_words < 5;
         word = strtok_r(NULL, blanks, &rest))
        words[n_words++] = word;
    if (n_words == 0) return 0;
    if (n_words == 1 || n_words > 4)
        return ms_fail(err, MSIM_E_ARG, "%s, got %d word%s", expected, n_words,
                       ms_cli_plural((int64_t)n_words));
    if (!read_number(words[0], MSIM_NOTE_MAX_MS / 1000.0, &onset))
        return ms_fail(err, MSIM_E_ARG, "expected an onset in seconds, got '%s'", words[0]);
    if (n_words > 2 && !read_number(words[2], MSIM_NOTE_MAX_MS / 1000.0, &duration))
        return ms_fail(err, MSIM_E_ARG, "expected a duration in seconds, got '%s'", words[2]);
    if (n_words > 3 &&
        (!read_number(words[3], 16, &channel) || channel < 1 || channel != floor(channel)))
        return ms_fail(err, MSIM_E_ARG, "expected a channel from 1 to 16, got '%s'", words[3]);
    if (strpbrk(words[1], ",|"))
        return ms_fail(err, MSIM_E_ARG, "expected one note or chord, got '%s'", words[1]);
    const int64_t n = msim_notes_parse(words[1], out, MAX_CHORD, err);
    if (n < 0) return n;
    if (n > MAX_CHORD)
        return ms_fail(err, MSIM_E_ARG, "expected a chord of at most %d notes, got %lld", MAX_CHORD,
                       (long long)n);
    for (int64_t i = 0; i < n; i++) {
        out[i].start_ms = (uint32_t)lround(onset * 1000);
        if (n_words > 2) out[i].duration_ms = (uint32_t)lround(duration * 1000);
        out[i].voice = (uint16_t)(channel - 1);
    }
    return channel == 10 ? 0 : n; /* drums, as in files */
}

static void refuse(listening *l, const msim_error *err) {
    if (l->n_refused++ < MAX_SHOWN) ms_cli_error("line %lld: %s", (long long)l->n_lines, err->text);
}

/* ---- Answers ---- */

static int give_answer(listening *l) {
    char label[32];
    ms_asked q = {.label = label};
    const msim_note *notes;
    const msim_note_match *matches;
    snprintf(label, sizeof label, "%lld", (long long)l->n_heard);
    l->n_new = 0;
    l->out->n_heard = l->n_heard;
    q.n_matches = msim_notes_stream_answer(l->stream, &matches, &q.err);
    if (q.n_matches < 0) {
        ms_cli_error("%s", q.err.text);
        return (int)q.n_matches;
    }
    q.matches = (msim_note_match *)(uintptr_t)matches; /* printed, not freed */
    q.n_notes = msim_notes_stream_notes(l->stream, &notes);
    l->is_significant = q.n_matches > 0 && matches[0].is_significant;
    int rc = ms_find_print(l->out, &q);
    return rc < 0 ? rc : ms_cli_flush() < 0 ? -MSIM_E_STOPPED : 0;
}

static int take_line(listening *l) {
    msim_note notes[MAX_CHORD];
    msim_error err = {0};
    l->line[l->n_line] = 0;
    l->n_lines++;
    int64_t n = l->is_long
                    ? ms_fail(&err, MSIM_E_ARG, "%s, got more than %d bytes", expected, LINE_BYTES)
                : memchr(l->line, 0, l->n_line)
                    ? ms_fail(&err, MSIM_E_ARG, "%s, got a NUL byte", expected)
                    : read_line(l->line, notes, &err);
    l->n_line = 0;
    l->is_long = false;
    if (n > 0 && msim_notes_stream_push(l->stream, notes, (size_t)n, &err) < 0) n = -MSIM_E_ARG;
    if (n < 0) {
        refuse(l, &err);
        return 0;
    }
    l->n_heard += n;
    l->n_new += n;
    return l->n_new >= l->s->every ? give_answer(l) : 0;
}

/* ---- Input ---- */

static int take_bytes(listening *l, const char *bytes, size_t n) {
    int rc = 0;
    for (size_t i = 0; i < n && rc >= 0 && !ms_cli_stopped(); i++)
        if (bytes[i] == '\n')
            rc = take_line(l);
        else if (l->n_line < LINE_BYTES)
            l->line[l->n_line++] = bytes[i];
        else
            l->is_long = true;
    return rc;
}

/* Read until the end of input or a signal. */
static int listen(listening *l) {
    char bytes[4096];
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    int rc = 0;
    while (rc >= 0 && !ms_cli_stopped()) {
        const int is_ready = poll(&input, 1, WAIT_MS);
        if (is_ready == 0 || (is_ready < 0 && errno == EINTR)) continue;
        const ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
        if (n == 0) return l->n_line || l->is_long ? take_line(l) : 0;
        if (n < 0 && errno != EINTR && errno != EAGAIN) {
            ms_cli_error("cannot read: standard input: %s", strerror(errno));
            return -MSIM_E_IO;
        }
        if (n > 0) rc = take_bytes(l, bytes, (size_t)n);
    }
    return rc < 0 ? rc : -MSIM_E_STOPPED;
}

int ms_find_stream(const ms_find_settings *s, const msim_finder_options *options,
                   ms_find_out *out) {
    listening l = {.s = s, .out = out};
    msim_error err;
    int rc = msim_notes_stream_open(out->notes, options, s->window, &l.stream, &err);
    if (rc < 0)
        ms_cli_error("%s", err.text);
    else
        rc = listen(&l);
    if (rc >= 0 && l.n_new) rc = give_answer(&l);
    msim_notes_stream_close(l.stream);
    if (l.n_refused > MAX_SHOWN) ms_cli_error("%lld lines refused in all", (long long)l.n_refused);
    if (rc >= 0 && l.n_heard == 0) ms_cli_error("no notes: standard input");
    if (rc < 0) return rc;
    return l.n_refused || !l.is_significant ? -MSIM_E_EMPTY : 0;
}
