/* A MIDI file to token ids of both families, to windows with their bars, and to its canonical form,
 * from memory. The numbers of ids and bytes stay within what was promised before, ids are the
 * family's, variants are as many as asked for, and bars are such as files may hold. */
#include "target.h"
#include "base/bars.h"

static msim_tokenizer *tokenizer;   /* of the family in hand */
static msim_tokenizer *families[3]; /* midisim; midisimx in both orders, cleaned and not */
static int32_t n_ids;               /* of the family in hand: ids are below */

static void check_tokens(const uint8_t *data, size_t n_bytes, int factor, int64_t most) {
    size_t cap = msim_tokenizer_bound(n_bytes, factor, most);
    int32_t *ids = block(cap, sizeof *ids);
    int64_t starts[13];
    msim_error err = {.code = 0};
    int64_t n =
        msim_tokenizer_encode(tokenizer, data, n_bytes, factor, most, ids, cap, starts, &err);
    check_status(n, &err);
    MUST(n != -MSIM_E_LIMIT);
    MUST((n >= 0) == (msim_tokenizer_outcome(tokenizer) == MSIM_OUTCOME_TOKENS));
    if (n >= 0) {
        MUST(n == msim_tokenizer_variants(factor));
        MUST(starts[0] == 0);
        for (int64_t i = 0; i < n; i++) MUST(starts[i + 1] >= starts[i]);
        for (int64_t i = 0; i < starts[n]; i++) MUST(ids[i] >= 0 && ids[i] < n_ids);
        if (starts[n] > 0)
            MUST(msim_tokenizer_encode(tokenizer, data, n_bytes, factor, most, ids,
                                       (size_t)starts[n] - 1, starts, &err) == -MSIM_E_LIMIT);
    }
    free(ids);
}

static void check_moved(const uint8_t *data, size_t n_bytes, int semitones) {
    size_t cap = msim_tokenizer_bound(n_bytes, 0, 100);
    int32_t *ids = block(cap, sizeof *ids);
    msim_error err = {.code = 0};
    int64_t n = msim_tokenizer_encode_at(tokenizer, data, n_bytes, semitones, 100, ids, cap, &err);
    check_status(n, &err);
    MUST(n <= 100);
    for (int64_t i = 0; i < n; i++) MUST(ids[i] >= 0 && ids[i] < n_ids);
    free(ids);
}

static void check_windows(const uint8_t *data, size_t n_bytes, int64_t window, int64_t step) {
    size_t cap = msim_tokenizer_bound(n_bytes, 0, INT64_MAX);
    int32_t *ids = block(cap, sizeof *ids);
    int64_t starts[13];
    msim_tokenizer_keep_bars(tokenizer, 1);
    int64_t n =
        msim_tokenizer_encode(tokenizer, data, n_bytes, 0, INT64_MAX, ids, cap, starts, NULL);
    if (n >= 0) n = msim_tokenizer_windows(tokenizer, window, step, INT64_MAX, NULL, 0, NULL);
    MUST(n != -MSIM_E_UNSUPPORTED || tokenizer == families[2]);
    msim_span *spans = block(n > 0 ? (size_t)n : 1, sizeof *spans);
    msim_bar_span bars, before = {0};
    if (n > 0)
        MUST(msim_tokenizer_windows(tokenizer, window, step, INT64_MAX, spans, (size_t)n, NULL) ==
             n);
    for (int64_t i = 0; i < n; i++, before = bars) {
        MUST(msim_tokenizer_bars(tokenizer, &spans[i], &bars, NULL) == 0);
        ms_stored_bars stored = ms_bars_pack(&bars);
        MUST(ms_bars_are_valid(&stored));
        msim_bar_span again = ms_bars_unpack(&stored);
        MUST(memcmp(&bars, &again, sizeof bars) == 0);
        if (bars.from_bar == 0) continue;
        MUST(bars.from_bar > before.from_bar ||
             (bars.from_bar == before.from_bar && bars.from_beat >= before.from_beat));
    }
    msim_tokenizer_keep_bars(tokenizer, 0);
    free(spans);
    free(ids);
}

/* What comes out can be gone through again, though not always with success: data bytes that were
 * none are kept, and may then be taken for a status. */
static void check_canonical(const uint8_t *data, size_t n_bytes) {
    size_t cap = msim_midi_canonical_bound(n_bytes);
    unsigned char *once = block(cap, 1);
    msim_error err = {.code = 0};
    int64_t n = msim_midi_canonical(tokenizer, data, n_bytes, once, cap, &err);
    check_status(n, &err);
    MUST(n != -MSIM_E_LIMIT);
    if (n > 0) {
        unsigned char *exact = block((size_t)n, 1);
        size_t cap_again = msim_midi_canonical_bound((size_t)n);
        unsigned char *again = block(cap_again, 1);
        memcpy(exact, once, (size_t)n);
        MUST(n >= 26 && memcmp(once, "MThd", 4) == 0);
        check_status(msim_midi_canonical(tokenizer, exact, (size_t)n, again, cap_again, &err),
                     &err);
        MUST(msim_midi_canonical(tokenizer, data, n_bytes, again, (size_t)n - 1, &err) ==
             -MSIM_E_LIMIT);
        MUST(msim_midi_canonical(tokenizer, data, n_bytes, NULL, 0, &err) == -MSIM_E_LIMIT);
        free(again);
        free(exact);
    }
    free(once);
}

static void open_families(void) {
    msim_tokenizer_options o = msim_tokenizer_options_default();
    for (int i = 0; i < 3; i++) {
        o.family = i > 0 ? MSIM_FAMILY_MIDISIMX : MSIM_FAMILY_MIDISIM;
        o.token_order = i > 1 ? MSIM_ORDER_CHORD_FIRST : MSIM_ORDER_TIME_FIRST;
        o.is_unclean = i > 1;
        o.center_pitch = i > 1 ? 60 : 0;
        MUST(msim_tokenizer_open_family(&o, &families[i], NULL) >= 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes) {
    /* One tokeniser of a family for all inputs: a damaged file must not harm the next one. */
    if (!families[0]) open_families();
    for (int i = 0; i < 3; i++) {
        tokenizer = families[i];
        n_ids = i > 0 ? 717 : 384;
        check_tokens(data, n_bytes, 6, 3072);
        check_tokens(data, n_bytes, 0, INT64_MAX);
        check_tokens(data, n_bytes, 2, -3);
        check_tokens(data, n_bytes, 3, 1);
        check_moved(data, n_bytes, -130);
        check_moved(data, n_bytes, 7);
        check_windows(data, n_bytes, 4, 1);
        check_windows(data, n_bytes, 17, 8);
    }
    tokenizer = families[0];
    check_canonical(data, n_bytes);
    return 0;
}
