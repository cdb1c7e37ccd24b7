/* Contract: tools/serve/assets.h. The assembler puts the files here as they are, from the top of
 * the tree; the Makefile makes this file anew when one of them changes. */
#include "assets.h"
#include <stddef.h>
#include <string.h>

#define ASSET(name, file)            \
    __asm__(".pushsection .rodata\n" \
            "serve_" #name ":\n"     \
            ".incbin \"" file "\"\n" \
            "serve_" #name "_end:\n" \
            ".byte 0\n"              \
            ".popsection\n");        \
    extern const char serve_##name[], serve_##name##_end[];

ASSET(api, "tools/serve/page/openapi.json")

#define PLACE(name) serve_##name, serve_##name##_end

static const ms_serve_asset assets[] = {{"/api/openapi.json", "application/json", PLACE(api)}};

const ms_serve_asset *ms_serve_asset_find(const char *path) {
    for (size_t i = 0; i < sizeof assets / sizeof *assets; i++)
        if (strcmp(assets[i].path, path) == 0) return &assets[i];
    return NULL;
}
