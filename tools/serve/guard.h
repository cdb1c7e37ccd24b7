/* Who may ask: a page of another site must reach nothing, whatever name it gave to this address. */
#ifndef MS_TOOLS_SERVE_GUARD_H
#define MS_TOOLS_SERVE_GUARD_H
#include "base/status.h"
#include <stdbool.h>

enum { MS_GUARD_TOKEN_BYTES = 32, MS_GUARD_ADDRESS_BYTES = 80 };

typedef struct {
    char address[MS_GUARD_ADDRESS_BYTES]; /* "127.0.0.1", "[::1]" */
    char token[MS_GUARD_TOKEN_BYTES + 1]; /* ""; else each request must carry it */
    int port;
    bool is_local; /* only this machine reaches the address */
} ms_guard;

/* Make a token for an address that others reach. The port may be set later. */
int ms_guard_open(const char *address, bool is_local, ms_guard *out, msim_error *err);
/* NULL, or why the request is refused. Headers that are not there are NULL. */
const char *ms_guard_refuses(const ms_guard *guard, const char *host, const char *origin,
                             const char *site);
/* The value of the header Authorization has the token, or none is needed. */
bool ms_guard_has_token(const ms_guard *guard, const char *authorization);

#endif
