/* Notes by pitch, against a search of all notes. */
#include "report/pitches.h"
#include "base/random.h"
#include "support/test.h"
#include <math.h>
#include <stdlib.h>

enum { NOTES = 600, ASKED = 700, NEAR = 150, CHORD = 50 };

static int by_start(const void *a, const void *b) {
    const msim_note *x = a, *y = b;
    if (x->start_ms != y->start_ms) return x->start_ms < y->start_ms ? -1 : 1;
    return (x->pitch < y->pitch) - (x->pitch > y->pitch);
}

/* Notes of few pitches at few times; every third is none of the tuned ones. */
static void make_piece(uint64_t seed, uint32_t length, ms_report_piece *p) {
    p->notes = calloc(NOTES, sizeof *p->notes);
    p->tuned = calloc(NOTES, sizeof *p->tuned);
    p->numbers = calloc(NOTES, sizeof *p->numbers);
    assert_true(p->notes && p->tuned && p->numbers);
    p->n_notes = NOTES;
    for (size_t i = 0; i < NOTES; i++)
        p->notes[i] = (msim_note){.start_ms = (uint32_t)(ms_random_next(&seed) % length),
                                  .pitch = (uint8_t)(ms_random_next(&seed) % 4 * 42)};
    qsort(p->notes, NOTES, sizeof *p->notes, by_start);
    for (size_t i = 0; i < NOTES; i++) {
        if (i % 3 == 2) continue;
        p->numbers[p->n_tuned] = (int32_t)i;
        p->tuned[p->n_tuned++] = p->notes[i];
    }
}

static void free_piece(ms_report_piece *p) {
    free(p->notes);
    free(p->tuned);
    free(p->numbers);
}

static int64_t nearest_of_all(const ms_report_piece *p, unsigned char *used, int pitch, double ms) {
    int64_t best = -1;
    for (size_t i = 0; i < p->n_tuned; i++) {
        const double d = fabs(p->tuned[i].start_ms - ms);
        if (p->tuned[i].pitch != pitch || used[i] || d > NEAR) continue;
        if (best < 0 || d < fabs(p->tuned[best].start_ms - ms)) best = (int64_t)i;
    }
    if (best >= 0) used[best] = 1;
    return best;
}

static void the_nearest_free_note(void **state) {
    (void)state;
    static const uint32_t lengths[] = {1, 40, 300, 3000, 100000};
    for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++) {
        ms_report_piece piece = {0};
        ms_pitches p;
        uint64_t seed = l;
        make_piece(l, lengths[l], &piece);
        assert_int_equal(ms_pitches_make(&piece, &p, NULL), 0);
        for (int round = 0; round < 2; round++) {
            unsigned char used[NOTES] = {0};
            ms_pitches_release(&p);
            for (int i = 0; i < ASKED; i++) {
                const int pitch = (int)(ms_random_next(&seed) % 6) * 42 - 42;
                const double ms = (double)(ms_random_next(&seed) % (4 * lengths[l])) / 4;
                assert_int_equal(ms_pitches_take(&p, pitch, ms, NEAR),
                                 nearest_of_all(&piece, used, pitch, ms));
            }
        }
        ms_pitches_free(&p);
        free_piece(&piece);
    }
}

static void notes_that_sound_together_are_lit(void **state) {
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        ms_report_piece piece = {0};
        ms_pitches p;
        unsigned char lit[NOTES] = {0}, wanted[NOTES] = {0};
        make_piece(seed, 20000, &piece);
        assert_int_equal(ms_pitches_make(&piece, &p, NULL), 0);
        for (size_t i = seed; i < piece.n_tuned; i += 9) {
            ms_pitches_light(&p, (int64_t)i, CHORD);
            for (size_t k = 0; k < piece.n_tuned; k++)
                if (piece.tuned[k].pitch == piece.tuned[i].pitch &&
                    labs((long)piece.tuned[k].start_ms - (long)piece.tuned[i].start_ms) <= CHORD)
                    wanted[piece.numbers[k]] = 1;
        }
        ms_pitches_lit(&p, lit);
        assert_memory_equal(lit, wanted, NOTES);
        ms_pitches_free(&p);
        free_piece(&piece);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_nearest_free_note),
        cmocka_unit_test(notes_that_sound_together_are_lit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
