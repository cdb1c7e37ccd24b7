/* The file: the page's skeleton with its style, scripts and data put in, and a policy that lets the
 * browser run these alone. */
#include "report/report.h"
#include "base/file.h"
#include "base/hash/digest.h"
#include <string.h>

enum { ITEM_MAX = 1 << 16 };

/* ---- Scripts and style ---- */

static size_t size_of(const ms_report_asset *a) { return (size_t)(a->end - a->bytes); }

/* "'sha256-...'" of all bytes that stand in one element. */
static int put_hash(ms_out_file *f, const ms_report_asset *first, bool is_all, msim_error *err) {
    unsigned char hash[MS_SHA256_BYTES];
    ms_digest digest;
    ms_json_text text = {0};
    ms_digest_begin(&digest, MS_DIGEST_SHA256);
    for (const ms_report_asset *a = first; a->bytes; a++) {
        ms_digest_add(&digest, a->bytes, size_of(a));
        if (!is_all) break;
    }
    int rc = ms_digest_end(&digest, hash, err);
    if (rc >= 0) {
        ms_report_put_base64(&text, hash, sizeof hash);
        rc = ms_json_text_failed(&text, err);
    }
    if (rc >= 0) {
        ms_out_file_put(f, "'sha256-", 8);
        ms_out_file_put(f, text.data + 1, text.n - 2); /* without quotation marks */
        ms_out_file_put(f, "'", 1);
    }
    ms_json_text_free(&text);
    return rc;
}

/* ---- Data ---- */

/* How a byte of JSON is written inside HTML, where it would end the element or a script's line. */
static const char *escape(const char *s, size_t left, size_t *step) {
    *step = 1;
    if (*s == '<') return "\\u003c";
    if (*s == '>') return "\\u003e";
    if (*s == '&') return "\\u0026";
    if (left < 3 || memcmp(s, "\xe2\x80", 2) != 0 || (s[2] != '\xa8' && s[2] != '\xa9'))
        return NULL;
    *step = 3;
    return s[2] == '\xa8' ? "\\u2028" : "\\u2029";
}

static void put_json(ms_out_file *f, const ms_json_text *text) {
    size_t from = 0, at = 0, step;
    while (at < text->n) {
        const char *escaped = escape(text->data + at, text->n - at, &step);
        if (escaped) {
            ms_out_file_put(f, text->data + from, at - from);
            ms_out_file_put(f, escaped, strlen(escaped));
            from = at + step;
        }
        at += step;
    }
    ms_out_file_put(f, text->data + from, at - from);
}

static void put_text(ms_json_text *text, const ms_json_text *what) {
    ms_json_put(text, what->data ? what->data : "", what->n);
}

static void put_queries(const msim_report *r, ms_json_text *text) {
    for (size_t i = 0; i < r->n_queries; i++) {
        const ms_report_query *q = &r->queries[i];
        ms_report_put(text, i ? ",\n{\"piece\":" : "{\"piece\":");
        ms_json_put_int(text, q->piece);
        if (q->from >= 0) {
            ms_report_put_key(text, "start");
            ms_report_put_real(text, q->from);
        }
        if (q->to >= 0) {
            ms_report_put_key(text, "end");
            ms_report_put_real(text, q->to);
        }
        ms_report_put_key(text, "matches");
        ms_report_put(text, "[");
        put_text(text, &q->matches);
        ms_report_put(text, "]}");
    }
}

static int make_json(const msim_report *r, ms_json_text *text, msim_error *err) {
    ms_report_put(text, "{\"version\":1,\"made\":\"midisim " MSIM_VERSION "\",\"title\":");
    ms_json_put_string(text, r->title, strlen(r->title));
    ms_report_put(text, ",\n\"pieces\":");
    int rc = ms_report_write_pieces(r, text, err);
    ms_report_put(text, ",\n\"queries\":[");
    put_queries(r, text);
    ms_report_put(text, "],\n\"groups\":[");
    put_text(text, &r->groups);
    ms_report_put(text, "],\"moreGroups\":");
    ms_json_put_int(text, r->n_groups_left_out);
    ms_report_put(text, ",\n\"map\":");
    if (r->map.n)
        put_text(text, &r->map);
    else
        ms_report_put(text, "null");
    ms_report_put(text, "}");
    return rc < 0 ? rc : ms_json_text_failed(text, err);
}

/* ---- The file ---- */

/* What stands in the skeleton as {{NAME}}. */
static int put_part(const ms_json_text *json, const char *name, size_t n, ms_out_file *f,
                    msim_error *err) {
    const ms_report_asset *style = &ms_report_assets[MS_REPORT_STYLE],
                          *scripts = &ms_report_assets[MS_REPORT_SCRIPTS];
    if (n == 10 && memcmp(name, "style-hash", n) == 0) return put_hash(f, style, false, err);
    if (n == 11 && memcmp(name, "script-hash", n) == 0) return put_hash(f, scripts, true, err);
    if (n == 5 && memcmp(name, "style", n) == 0)
        ms_out_file_put(f, style->bytes, size_of(style));
    else if (n == 6 && memcmp(name, "script", n) == 0)
        for (; scripts->bytes; scripts++) ms_out_file_put(f, scripts->bytes, size_of(scripts));
    else if (n == 4 && memcmp(name, "data", n) == 0)
        put_json(f, json);
    else
        return ms_fail(err, MSIM_E_UNSUPPORTED, "report: the page asks for '%.*s'", (int)n, name);
    return MSIM_OK;
}

static int put_page(const ms_json_text *json, ms_out_file *f, msim_error *err) {
    const ms_report_asset *page = &ms_report_assets[MS_REPORT_HTML];
    const char *at = page->bytes, *open;
    int rc = MSIM_OK;
    while (rc >= 0 && (open = strstr(at, "{{")) != NULL) {
        const char *close = strstr(open, "}}");
        if (!close) break;
        ms_out_file_put(f, at, (size_t)(open - at));
        rc = put_part(json, open + 2, (size_t)(close - open - 2), f, err);
        at = close + 2;
    }
    ms_out_file_put(f, at, (size_t)(page->end - at));
    return rc;
}

int msim_report_write(const msim_report *r, const char *path, msim_error *err) {
    ms_json_text json = {0};
    ms_out_file f = {0};
    int rc = ms_file_check_replace(path, "<!doctype html>", "an HTML page", err);
    if (rc >= 0) rc = make_json(r, &json, err);
    if (rc >= 0) {
        rc = ms_out_file_open(&f, path, "", ITEM_MAX, err);
        if (rc >= 0) rc = put_page(&json, &f, err);
        if (rc >= 0) rc = ms_out_file_finish(&f, err);
        ms_out_file_close(&f);
    }
    ms_json_text_free(&json);
    return rc;
}

int msim_report_write_json(const msim_report *r, msim_bytes_sink sink, void *user,
                           msim_error *err) {
    ms_json_text json = {0};
    int rc = make_json(r, &json, err);
    if (rc >= 0 && sink(user, json.data, json.n) != 0)
        rc = ms_fail(err, MSIM_E_STOPPED, "report: the receiver of its JSON asked to stop");
    ms_json_text_free(&json);
    return rc;
}
