/* The text of a progress line. Contract: tools/common/texts/progress.h. */
#include "common/texts/progress.h"
#include "common/cli.h"
#include <stdio.h>
#include <string.h>

void ms_progress_time(char *buf, size_t cap, double seconds) {
    int64_t s = (int64_t)(seconds + 0.5);
    if (s < 60)
        snprintf(buf, cap, "%llds", (long long)s);
    else if (s < 3600)
        snprintf(buf, cap, "%lldm%02llds", (long long)(s / 60), (long long)(s % 60));
    else
        snprintf(buf, cap, "%lldh%02lldm", (long long)(s / 3600), (long long)(s / 60 % 60));
}

static double between_0_and_1(double share) { return share < 0 ? 0 : share > 1 ? 1 : share; }

double ms_progress_share(const ms_progress *p) {
    if (p->all < 0) return -1;
    if (p->tokens_all > 0) return between_0_and_1((double)p->tokens / (double)p->tokens_all);
    if (p->all <= p->before) return 1;
    return between_0_and_1((double)(p->done - p->before) / (double)(p->all - p->before));
}

/* Of all there is, what earlier runs did included: 0..1. */
static double part_of_all(const ms_progress *p, double share) {
    double before = (double)p->before;
    return p->all <= 0
               ? 1
               : between_0_and_1((before + share * ((double)p->all - before)) / (double)p->all);
}

static void format_rate(const ms_progress *p, char *buf, size_t cap) {
    char count[32];
    double rate = (double)(p->tokens > 0 ? p->tokens : p->done - p->before);
    rate = p->seconds > 0 ? rate / p->seconds : 0;
    if (p->tokens > 0)
        snprintf(buf, cap, "%s tokens/s", ms_cli_count(count, (int64_t)rate));
    else
        snprintf(buf, cap, "%.1f %s/s", rate, p->unit);
}

/* "[####----] " where the terminal has room for it. */
static void format_bar(int columns, double part, char *buf) {
    int width = columns >= 100 ? 30 : columns >= 80 ? 16 : 0, full = (int)(width * part);
    size_t at = 0;
    if (width) buf[at++] = '[';
    for (int i = 0; i < width; i++) buf[at++] = i < full ? '#' : '-';
    if (width) buf[at++] = ']', buf[at++] = ' ';
    buf[at] = 0;
}

void ms_progress_text(const ms_progress *p, int columns, char *text, size_t cap) {
    char drawn[64], done[32], all[32], rate[64], elapsed[32], left[32] = "?";
    double share = ms_progress_share(p);
    format_rate(p, rate, sizeof rate);
    ms_progress_time(elapsed, sizeof elapsed, p->seconds);
    if (share < 0) {
        snprintf(text, cap, "%s %s  %s  %s", ms_cli_count(done, p->done), p->unit, rate, elapsed);
        return;
    }
    double part = part_of_all(p, share);
    format_bar(columns, part, drawn);
    if (share > 0) ms_progress_time(left, sizeof left, p->seconds * (1 - share) / share);
    snprintf(text, cap, "%s%d %%  %s/%s %s  %s  %s  %s left", drawn, (int)(100 * part),
             ms_cli_count(done, p->done), ms_cli_count(all, p->all), p->unit, rate, elapsed, left);
}
