/* Groups of a collection, as the page reads them: each member beside the one that is kept. */
#include "report/report.h"

static double first_onset(const ms_report_piece *p) { return p->tuned[0].start_ms / 1000.0; }
static double last_onset(const ms_report_piece *p) {
    return p->tuned[p->n_tuned - 1].start_ms / 1000.0;
}

/* Where a pair agrees, as a match says it; false where nothing is known. The same notes agree from
 * the first to the last. */
static bool place_of(const msim_file_pair *pair, const ms_report_piece *kept,
                     const ms_report_piece *piece, msim_note_match *out) {
    if (pair->kind == MSIM_PAIR_ALIKE || kept->n_tuned == 0 || piece->n_tuned == 0) return false;
    *out = (msim_note_match){.transpose = pair->transpose, .tempo = pair->tempo};
    out->place = (msim_place){.query_from = pair->a_from,
                              .query_to = pair->a_to,
                              .from = pair->b_from,
                              .to = pair->b_to,
                              .n_matched = pair->n_matched};
    if (pair->kind <= MSIM_PAIR_KEY) {
        out->place.query_from = first_onset(kept);
        out->place.query_to = last_onset(kept);
        out->place.from = first_onset(piece);
        out->place.to = last_onset(piece);
        if (pair->kind == MSIM_PAIR_BYTES) out->place.n_matched = (int64_t)kept->n_tuned;
    }
    return out->place.query_to > out->place.query_from && out->place.to > out->place.from;
}

/* How a member relates to the file that is kept. */
static int put_relation(msim_report *r, const msim_groups *groups, int64_t keeper, int64_t member,
                        int64_t keeper_piece, int64_t piece, msim_error *err) {
    ms_json_text *text = &r->groups;
    msim_file_pair p;
    msim_note_match match;
    const int kind = msim_groups_relate(groups, keeper, member, &p);
    if (kind <= MSIM_PAIR_NONE) return MSIM_OK;
    ms_report_put_key(text, "kind");
    ms_report_put(text, "\"");
    ms_report_put(text, msim_pair_kind_name(kind));
    ms_report_put(text, "\"");
    ms_report_put_key(text, "direction");
    ms_json_put_int(text, p.direction);
    if (kind == MSIM_PAIR_ALIKE) {
        ms_report_put_key(text, "score");
        ms_report_put_real(text, p.score);
    } else if (kind != MSIM_PAIR_BYTES) {
        const int64_t numbers[] = {p.n_matched, p.of_a, p.of_b, p.transpose};
        static const char *const keys[] = {"n", "ofKept", "of", "by"};
        for (int i = 0; i < 4; i++) {
            ms_report_put_key(text, keys[i]);
            ms_json_put_int(text, numbers[i]);
        }
        ms_report_put_key(text, "tempo");
        ms_report_put_real(text, p.tempo);
    }
    const ms_report_piece *kept = &r->pieces[keeper_piece], *member_piece = &r->pieces[piece];
    const bool has_place = place_of(&p, kept, member_piece, &match);
    return ms_report_put_places(r, kept, member_piece, has_place ? &match : NULL, text, err);
}

static int64_t add_piece(msim_report *r, const msim_groups *groups, int64_t file,
                         msim_groups_file *f, msim_error *err) {
    f->size = sizeof *f;
    int rc = msim_groups_get_file(groups, file, f);
    if (rc < 0) return ms_fail(err, -rc, "report: a group with a file that is not there");
    return msim_report_add_piece(r, f->name, f->name_bytes, f->path, err);
}

static int put_member(msim_report *r, const msim_groups *groups, int64_t keeper, int64_t member,
                      int64_t keeper_piece, msim_error *err) {
    msim_groups_file f;
    const int64_t piece = add_piece(r, groups, member, &f, err);
    if (piece < 0) return (int)piece;
    ms_report_put(&r->groups, "{\"piece\":");
    ms_json_put_int(&r->groups, piece);
    ms_report_put_key(&r->groups, "bytes");
    ms_json_put_int(&r->groups, f.bytes);
    int rc = member == keeper ? MSIM_OK
                              : put_relation(r, groups, keeper, member, keeper_piece, piece, err);
    ms_report_put(&r->groups, "}");
    return rc;
}

/* The member that is kept comes first. */
static int put_group(msim_report *r, const msim_groups *groups, int64_t group, msim_error *err) {
    const int64_t *files;
    msim_groups_file f;
    const int64_t n = msim_groups_get_members(groups, group, &files);
    if (n < 2) return MSIM_OK;
    int64_t keeper_piece = add_piece(r, groups, files[0], &f, err);
    if (keeper_piece < 0) return (int)keeper_piece;
    const int64_t keeper = f.keeper;
    keeper_piece = add_piece(r, groups, keeper, &f, err);
    if (keeper_piece < 0) return (int)keeper_piece;
    ms_report_put(&r->groups, r->n_groups ? ",\n{\"number\":" : "{\"number\":");
    ms_json_put_int(&r->groups, group);
    ms_report_put_key(&r->groups, "members");
    ms_report_put(&r->groups, "[");
    int rc = put_member(r, groups, keeper, keeper, keeper_piece, err);
    for (int64_t i = 0; i < n && rc >= 0; i++) {
        if (files[i] == keeper) continue;
        ms_report_put(&r->groups, ",");
        rc = put_member(r, groups, keeper, files[i], keeper_piece, err);
    }
    ms_report_put(&r->groups, "]}");
    r->n_groups += rc >= 0;
    return rc;
}

int msim_report_add_groups(msim_report *r, const msim_groups *groups, msim_error *err) {
    msim_groups_info info = {.size = sizeof info};
    const size_t before = r->groups.n, n_pieces = r->n_pieces;
    const int64_t n_before = r->n_groups;
    int rc = msim_groups_get_info(groups, &info);
    if (rc < 0) return ms_fail(err, -rc, "report: groups that are not there");
    for (int64_t g = 1; g <= info.groups; g++) {
        if (r->n_groups >= r->o.max_groups) {
            r->n_groups_left_out += info.groups - g + 1;
            break;
        }
        rc = ms_report_progress(r, "groups", g - 1, info.groups, err);
        if (rc >= 0) rc = put_group(r, groups, g, err);
        if (rc >= 0) rc = ms_json_text_failed(&r->groups, err);
        if (rc >= 0) continue;
        ms_report_forget_pieces(r, n_pieces);
        r->groups.n = before;
        r->groups.is_failed = false;
        r->n_groups = n_before;
        return rc;
    }
    return MSIM_OK;
}
