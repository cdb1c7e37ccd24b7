/* Streams: every answer is that of a search for the same notes, the window bounds what counts, and
 * notes that no piece can have are refused whole. */
#include "support/files.h"
#include "support/pieces.h"
#include "support/test.h"

enum { TUNES = 60, NOTES = 300 };

static msim_notes *notes;
static msim_finder *finder;

static int set_up(void **state) {
    if (folder_open(state) < 0) return -1;
    notes = index_of_tunes(in_folder("tunes"), TUNES, NOTES);
    return msim_finder_open(notes, NULL, &finder, NULL);
}

static int tear_down(void **state) {
    msim_finder_close(finder);
    msim_notes_close(notes);
    return folder_close(state);
}

static void assert_same_place(const msim_place *a, const msim_place *b) {
    assert_memory_equal(a, b, sizeof *a); /* all its fields fill it */
}

/* The stream's answer is the finder's for these notes. Returns how many matches there are. */
static int64_t compare(msim_notes_stream *stream, const msim_note *query, size_t n) {
    const msim_note_match *got, *wanted;
    const int64_t n_got = msim_notes_stream_answer(stream, &got, NULL),
                  n_wanted = msim_finder_find(finder, query, n, &wanted, NULL);
    assert_int_equal(n_got, n_wanted);
    for (int64_t i = 0; i < n_got; i++) {
        assert_int_equal(got[i].piece, wanted[i].piece);
        assert_int_equal(got[i].relation, wanted[i].relation);
        assert_int_equal(got[i].transpose, wanted[i].transpose);
        assert_int_equal(got[i].n_matched, wanted[i].n_matched);
        assert_true(got[i].evalue == wanted[i].evalue && got[i].score == wanted[i].score);
        assert_same_place(&got[i].place, &wanted[i].place);
        assert_int_equal(got[i].n_others, wanted[i].n_others);
        for (int64_t k = 0; k < got[i].n_others; k++)
            assert_same_place(&got[i].others[k], &wanted[i].others[k]);
    }
    return n_got;
}

static void every_answer_is_that_of_a_whole_query(void **state) {
    (void)state;
    static msim_note tune[NOTES];
    msim_notes_stream *stream;
    const msim_note_match *m;
    make_tune(7 + 1, NOTES, tune);
    assert_int_equal(msim_notes_stream_open(notes, NULL, 0, &stream, NULL), 0);
    for (size_t n = 0; n < 120; n++) {
        (void)compare(stream, tune + 30, n);
        assert_int_equal(msim_notes_stream_push(stream, tune + 30 + n, 1, NULL), 0);
    }
    assert_true(compare(stream, tune + 30, 120) > 0);
    assert_true(msim_notes_stream_answer(stream, &m, NULL) > 0);
    assert_int_equal(m->piece, 7);
    assert_true(m->is_significant);
    msim_notes_stream_close(stream);
}

/* A player goes from one tune to another: the window forgets the first. */
static void the_latest_notes_count(void **state) {
    (void)state;
    enum { WINDOW = 50 };
    static msim_note played[2 * NOTES];
    msim_notes_stream *stream;
    const msim_note *kept;
    const msim_note_match *m;
    make_tune(3 + 1, NOTES, played);
    make_tune(4 + 1, NOTES, played + NOTES);
    for (int i = 0; i < NOTES; i++) played[NOTES + i].start_ms += played[NOTES - 1].start_ms + 500;
    assert_int_equal(msim_notes_stream_open(notes, NULL, WINDOW, &stream, NULL), 0);
    for (size_t n = 0; n < 2 * NOTES; n += 7) {
        const size_t more = n + 7 < 2 * NOTES ? 7 : 2 * NOTES - n, all = n + more;
        assert_int_equal(msim_notes_stream_push(stream, played + n, more, NULL), 0);
        const size_t n_kept = all < WINDOW ? all : WINDOW;
        assert_int_equal(msim_notes_stream_notes(stream, &kept), n_kept);
        assert_memory_equal(kept, played + all - n_kept, n_kept * sizeof *kept);
        (void)compare(stream, played + all - n_kept, n_kept);
    }
    assert_true(msim_notes_stream_answer(stream, &m, NULL) > 0);
    assert_int_equal(m->piece, 4);
    /* more at once than the window holds */
    assert_int_equal(msim_notes_stream_push(stream, played, NOTES, NULL), 0);
    assert_true(compare(stream, played + NOTES - WINDOW, WINDOW) > 0);
    msim_notes_stream_close(stream);
}

static void an_answer_is_given_again(void **state) {
    (void)state;
    static msim_note tune[NOTES];
    msim_notes_stream *stream;
    const msim_note_match *first, *again;
    make_tune(1, NOTES, tune);
    assert_int_equal(msim_notes_stream_open(notes, NULL, 0, &stream, NULL), 0);
    assert_int_equal(msim_notes_stream_push(stream, tune, 60, NULL), 0);
    const int64_t n = msim_notes_stream_answer(stream, &first, NULL);
    assert_true(n > 0);
    assert_int_equal(msim_notes_stream_answer(stream, &again, NULL), n);
    assert_ptr_equal(first, again);
    msim_notes_stream_close(stream);
}

static void hostile_notes_and_windows(void **state) {
    (void)state;
    msim_notes_stream *stream;
    const msim_note *kept;
    msim_error err;
    const msim_note bad_pitch[2] = {{.pitch = 60}, {.pitch = 128}},
                    bad_time[2] = {{.pitch = 60}, {.pitch = 60, .start_ms = UINT32_MAX}};
    assert_int_equal(msim_notes_stream_open(notes, NULL, -1, &stream, &err), -MSIM_E_ARG);
    assert_int_equal(msim_notes_stream_open(notes, NULL, MSIM_STREAM_MAX_NOTES + 1, &stream, &err),
                     -MSIM_E_ARG);
    assert_null(stream);
    msim_notes_stream_close(NULL);
    assert_int_equal(msim_notes_stream_open(notes, NULL, 1, &stream, NULL), 0);
    assert_int_equal(msim_notes_stream_push(stream, bad_pitch, 2, &err), -MSIM_E_ARG);
    assert_int_equal(msim_notes_stream_push(stream, bad_time, 2, &err), -MSIM_E_ARG);
    assert_int_equal(msim_notes_stream_notes(stream, &kept), 0);
    const msim_note_match *m;
    assert_int_equal(msim_notes_stream_answer(stream, &m, NULL), 0);
    for (uint32_t i = 0; i < 1000; i++) {
        const msim_note note = {.pitch = (uint8_t)(i % 128), .start_ms = MSIM_NOTE_MAX_MS - i % 3};
        assert_int_equal(msim_notes_stream_push(stream, &note, 1, NULL), 0);
        (void)compare(stream, &note, 1);
    }
    msim_notes_stream_close(stream);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_is_that_of_a_whole_query),
        cmocka_unit_test(the_latest_notes_count),
        cmocka_unit_test(an_answer_is_given_again),
        cmocka_unit_test(hostile_notes_and_windows),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
