/* Contract: tools/common/texts/place.h. */
#include "common/texts/place.h"
#include <math.h>
#include <stdio.h>

double ms_place_beat(double beat) {
    const double shown = floor(beat * 100 + 0.5), most = floor(beat) * 100 + 99;
    return (shown < most ? shown : most) / 100;
}

void ms_place_bar(char text[MS_PLACE_CHARS], int64_t bar, double beat) {
    snprintf(text, MS_PLACE_CHARS, "%lld:%.2f", (long long)bar, ms_place_beat(beat));
}

void ms_place_passage(char text[MS_PLACE_CHARS], double from_seconds, double to_seconds,
                      int64_t first_bar, int64_t last_bar) {
    const long long a = (long long)from_seconds, b = (long long)ceil(to_seconds - 0.0005);
    const int n =
        snprintf(text, MS_PLACE_CHARS, "%lld:%02lld-%lld:%02lld", a / 60, a % 60, b / 60, b % 60);
    if (first_bar <= 0 || n < 0 || n >= MS_PLACE_CHARS) return;
    const size_t left = MS_PLACE_CHARS - (size_t)n;
    if (last_bar > first_bar)
        snprintf(text + n, left, " bars %lld-%lld", (long long)first_bar, (long long)last_bar);
    else
        snprintf(text + n, left, " bar %lld", (long long)first_bar);
}
