/* midisim-embed --per-token: the vectors of every token of every piece, before pooling, one .npy
 * [tokens, dim] f32 a piece. docs/FORMATS.md, Token vectors. */
#ifndef MS_TOOLS_EMBED_PER_TOKEN_H
#define MS_TOOLS_EMBED_PER_TOKEN_H
#include "embed.h"

/* Does all of it, and says how it went. Returns a status for ms_cli_finish. */
int ms_per_token_run(const ms_embed_settings *settings);

#endif
