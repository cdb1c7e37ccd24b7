/* Contract: tools/serve/guard.h. */
#define _GNU_SOURCE
#include "guard.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

int ms_guard_open(const char *address, bool is_local, ms_guard *out, msim_error *err) {
    unsigned char random[MS_GUARD_TOKEN_BYTES / 2];
    *out = (ms_guard){.is_local = is_local};
    snprintf(out->address, sizeof out->address, "%s", address);
    if (is_local) return MSIM_OK;
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return ms_fail_errno(err, errno, "cannot make a token");
    for (size_t i = 0; i < sizeof random; i++) snprintf(out->token + 2 * i, 3, "%02x", random[i]);
    return MSIM_OK;
}

/* "NAME:PORT", or NAME alone where the port is that of HTTP. */
static bool is_place(const ms_guard *g, const char *text, const char *name) {
    char port[16] = "";
    const size_t n = strlen(name);
    if (strncasecmp(text, name, n) != 0) return false;
    if (text[n] == 0) return g->port == 80;
    snprintf(port, sizeof port, ":%d", g->port);
    return strcmp(text + n, port) == 0;
}

/* This machine's own names. A name that someone else's DNS gave to the address is none. */
static bool is_own_host(const ms_guard *g, const char *host) {
    return is_place(g, host, g->address) || is_place(g, host, "localhost") ||
           is_place(g, host, "127.0.0.1") || is_place(g, host, "[::1]");
}

const char *ms_guard_refuses(const ms_guard *g, const char *host, const char *origin,
                             const char *site) {
    static const char scheme[] = "http://";
    const size_t n = sizeof scheme - 1;
    if (!host) return "no Host header";
    /* Where a token is needed, this machine may have any name. */
    if (g->is_local && !is_own_host(g, host)) return "the Host header is not this server's address";
    if (origin && (strncasecmp(origin, scheme, n) != 0 || strcasecmp(origin + n, host) != 0))
        return "the request comes from a page of another origin";
    if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
        return "the request comes from a page of another site";
    return NULL;
}

bool ms_guard_has_token(const ms_guard *g, const char *authorization) {
    static const char scheme[] = "Bearer ";
    const size_t n = sizeof scheme - 1;
    unsigned char differs = 0;
    if (!g->token[0]) return true;
    if (!authorization || strncasecmp(authorization, scheme, n) != 0 ||
        strlen(authorization + n) != MS_GUARD_TOKEN_BYTES)
        return false;
    /* in the same time wherever they differ */
    for (size_t i = 0; i < MS_GUARD_TOKEN_BYTES; i++)
        differs |= (unsigned char)(authorization[n + i] ^ g->token[i]);
    return differs == 0;
}
