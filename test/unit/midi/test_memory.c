/* Memory of the tokeniser for large files: how much it takes at most for a byte of a file, and that
 * an empty file makes it give back what a large one took. Measured as the memory that a process of
 * its own had at most, so not under a sanitizer. */
#define _GNU_SOURCE
#include "midi/tokens.h"
#include "support/test.h"
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { FILE_BYTES = 24 << 20, MOST_TOKENS = 3072, EVENT_BYTES = 3 };

static uint8_t file[FILE_BYTES];

/* What event i of a track is: its delta time, pitch and velocity. */
typedef void (*event_maker)(unsigned i, uint8_t event[EVENT_BYTES]);

/* Every note ends before the next begins. */
static void put_note(unsigned i, uint8_t event[EVENT_BYTES]) {
    event[0] = 1;
    event[1] = (uint8_t)(30 + i / 2 % 70);
    event[2] = i % 2 ? 0 : 80;
}

/* No note ends. */
static void put_start(unsigned i, uint8_t event[EVENT_BYTES]) {
    event[0] = i % 64 == 0;
    event[1] = (uint8_t)(30 + i % 70);
    event[2] = 80;
}

/* No note ends, and no two begin together. */
static void put_single_start(unsigned i, uint8_t event[EVENT_BYTES]) {
    put_start(i, event);
    event[0] = 1;
}

/* One chord, its pitches in the worst order for sorting. */
static void put_chord(unsigned i, uint8_t event[EVENT_BYTES]) {
    event[0] = 0;
    event[1] = (uint8_t)(i % 128);
    event[2] = 80;
}

/* A file of FILE_BYTES with as many events as fit; all but the first of a track have running
 * status. */
static void make_file(size_t n_tracks, event_maker make) {
    static const uint8_t head[] = {'M', 'T', 'h', 'd', 0, 0, 0, 6, 0, 1, 0, 0, 0, 96};
    const size_t each = (FILE_BYTES - sizeof head) / n_tracks, n_events = (each - 9) / EVENT_BYTES,
                 length = 1 + EVENT_BYTES * n_events;
    memcpy(file, head, sizeof head);
    uint8_t *p = file + sizeof head;
    for (size_t t = 0; t < n_tracks; t++) {
        memcpy(p, "MTrk", 4);
        for (int i = 0; i < 4; i++) p[4 + i] = (uint8_t)(length >> (24 - 8 * i));
        p += 8;
        p[0] = 0;
        for (unsigned i = 0; i < n_events; i++) make(i, p + 1 + EVENT_BYTES * (size_t)i);
        p[1] = 0x90;
        p += length;
    }
}

static long peak_kb(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/* Resident pages now. */
static long resident_kb(void) {
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%*d %ld", &pages) != 1) abort();
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Bytes that the file takes for each of its own, and that stay after an empty file, in hundredths.
 * In a process of its own: a peak never goes down. */
static void measure(size_t n_tracks, event_maker make, int family, int keeps_bars, bool shares,
                    long *peak, long *left) {
    int ends[2];
    long got[2];
    make_file(n_tracks, make);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        static int32_t ids[MOST_TOKENS];
        int64_t starts[13];
        msim_tokenizer *tok;
        msim_note_reader *reader;
        msim_piece_notes notes = {.size = sizeof notes};
        const long before = resident_kb();
        msim_tokenizer_options o = msim_tokenizer_options_default();
        o.family = family;
        if (msim_tokenizer_open_family(&o, &tok, NULL) < 0) _exit(1);
        msim_tokenizer_keep_bars(tok, keeps_bars);
        if (msim_note_reader_open(&reader, NULL) < 0) _exit(1);
        if (shares) msim_tokenizer_share(tok, reader);
        const int64_t rc = msim_tokenizer_encode(tok, file, FILE_BYTES, 0, MOST_TOKENS, ids,
                                                 MOST_TOKENS, starts, NULL);
        if (rc != 1 || starts[1] < 1) _exit(2);
        if (shares && (msim_note_reader_get(reader, &notes, NULL) < 0 || !notes.n_notes)) _exit(2);
        got[0] = peak_kb() - before;
        (void)msim_tokenizer_encode(tok, "", 0, 0, 0, NULL, 0, starts, NULL);
        got[1] = resident_kb() - before;
        _exit(write(ends[1], got, sizeof got) == sizeof got ? 0 : 3);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(read(ends[0], got, sizeof got), sizeof got);
    close(ends[0]);
    close(ends[1]);
    *peak = got[0] * 1024 * 100 / FILE_BYTES;
    *left = got[1] * 1024 * 100 / FILE_BYTES;
}

/* The bounds that docs/SCALE.md states, and a byte of each for huge pages that are not filled. */
static void memory_of_large_files(void **state) {
    (void)state;
    static const struct {
        const char *name;
        size_t n_tracks;
        event_maker make;
        int family, keeps_bars;
        long most;
    } cases[] = {{"notes", 1, put_note, 0, 0, 1200},
                 {"notes, 8 tracks", 8, put_note, 0, 0, 1200},
                 {"notes and bars", 1, put_note, 0, 1, 1800},
                 {"note-ons", 1, put_start, 0, 0, 2300},
                 {"note-ons, 8 tracks", 8, put_start, 0, 0, 2300},
                 {"single note-ons and bars", 1, put_single_start, 0, 1, 2800},
                 {"one chord", 1, put_chord, 0, 0, 2800},
                 {"one chord and bars", 1, put_chord, 0, 1, 2800},
                 {"midisimx, one chord", 1, put_chord, 1, 0, 2800}};
    if (SANITIZED) skip();
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        long peak, left;
        const bool shares = i % 2; /* the notes too: 16 bytes each, which has three in the file */
        measure(cases[i / 2].n_tracks, cases[i / 2].make, cases[i / 2].family,
                cases[i / 2].keeps_bars, shares, &peak, &left);
        print_message("%s%s: %ld.%02ld bytes per byte\n", cases[i / 2].name,
                      shares ? ", with notes" : "", peak / 100, peak % 100);
        assert_in_range(peak, 1, cases[i / 2].most + (shares ? 600 : 0));
        assert_true(left < 50 + (shares ? 600 : 0)); /* 12 MB of 24: the chunks that are kept, and
                                                      * the C library's */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_of_large_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
