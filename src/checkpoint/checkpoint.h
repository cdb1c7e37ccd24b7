/* An open checkpoint with its model's sizes: what weights.h shows a backend, and the stored tensors
 * behind it, in the file's order, for whoever describes or converts the file. */
#ifndef MS_CHECKPOINT_CHECKPOINT_H
#define MS_CHECKPOINT_CHECKPOINT_H
#include "checkpoint/stored.h"

/* The stored set of open weights; every tensor is loaded. Borrowed. */
const ms_stored *ms_weights_stored(const ms_weights *w);

#endif
