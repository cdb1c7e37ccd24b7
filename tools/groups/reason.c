/* The evidence of a pair, for people and as JSON. Contract: tools/groups/groups.h. */
#include "common/texts/place.h"
#include "groups.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add(char *text, const char *what) {
    const size_t n = strlen(text);
    snprintf(text + n, MS_GROUPS_REASON - n, "%s%s", n ? ", " : "", what);
}

static void add_key_and_tempo(char *text, const msim_file_pair *p) {
    char part[64];
    if (p->transpose) {
        snprintf(part, sizeof part, "%+d semitone%s", p->transpose,
                 ms_cli_plural(abs(p->transpose)));
        add(text, part);
    }
    if (p->tempo > 0 && fabs(p->tempo - 1) > 0.005) {
        snprintf(part, sizeof part, "%.2f times as fast", 1 / p->tempo);
        add(text, part);
    }
}

static void add_passage(char *text, const char *what, double from, double to) {
    char part[MS_PLACE_CHARS + 32], place[MS_PLACE_CHARS];
    ms_place_passage(place, from, to, 0, 0);
    snprintf(part, sizeof part, "%s %s", what, place);
    add(text, part);
}

void ms_grouping_reason(const msim_file_pair *p, char text[MS_GROUPS_REASON]) {
    char part[96];
    text[0] = 0;
    if (p->kind == MSIM_PAIR_BYTES) {
        add(text, "same bytes");
        return;
    }
    if (p->kind == MSIM_PAIR_ALIKE) {
        snprintf(part, sizeof part, "cosine of the vectors %.4f", p->score);
        add(text, part);
        return;
    }
    if (p->n_matched == p->of_a && p->n_matched == p->of_b)
        snprintf(part, sizeof part, "all %lld notes agree", (long long)p->n_matched);
    else
        snprintf(part, sizeof part, "%lld of %lld notes agree with those of %lld",
                 (long long)p->n_matched, (long long)p->of_b, (long long)p->of_a);
    if (p->direction < 0) add_passage(text, "part of it, from", p->a_from, p->a_to);
    if (p->direction > 0) add_passage(text, "contains it, from", p->b_from, p->b_to);
    add(text, part);
    add_key_and_tempo(text, p);
}

void ms_grouping_put_evidence(const msim_file_pair *p, ms_json_text *line) {
    char text[400];
    const char *relation = p->direction < 0   ? ",\"is\":\"part of\""
                           : p->direction > 0 ? ",\"is\":\"whole of\""
                                              : "";
    if (p->kind == MSIM_PAIR_ALIKE) {
        snprintf(text, sizeof text, ",\"cosine\":%.6f", p->score);
        ms_json_put(line, text, strlen(text));
        return;
    }
    snprintf(text, sizeof text,
             "%s,\"notes\":%lld,\"of\":[%lld,%lld],\"transpose\":%d,\"tempo\":%.4f,"
             "\"identity\":%.4f,\"score\":%.2f,\"evalue\":%.4g,"
             "\"keep_from\":%.3f,\"keep_to\":%.3f,\"from\":%.3f,\"to\":%.3f",
             relation, (long long)p->n_matched, (long long)p->of_a, (long long)p->of_b,
             p->transpose, p->tempo, p->identity, p->score, p->evalue, p->a_from, p->a_to,
             p->b_from, p->b_to);
    ms_json_put(line, text, strlen(text));
}
