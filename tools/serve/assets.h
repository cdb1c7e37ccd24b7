/* What the server gives as it is: the page, with the report's views, and the description of the
 * API. */
#ifndef MS_TOOLS_SERVE_ASSETS_H
#define MS_TOOLS_SERVE_ASSETS_H

typedef struct {
    const char *path, *type;
    const char *bytes, *end;
} ms_serve_asset;

/* The file at a path; NULL: there is none. */
const ms_serve_asset *ms_serve_asset_find(const char *path);

#endif
