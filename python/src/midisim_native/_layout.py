"""Maps by UMAP: where the pieces of a corpus lie in two dimensions, for Report.add_map and midisim-report --layout."""
from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ._corpus import Corpus
from .errors import ArgumentError

__all__ = ["umap_layout"]

FEWEST = 4  # UMAP needs more rows than this for two dimensions


def umap_layout(corpus: Corpus, *, n_neighbors: int = 15, seed: int | None = 1, **settings: Any) -> npt.NDArray[np.float32]:
    """The places [rows, 2] of the rows of a corpus by UMAP, f32, in the order of the rows. Needs umap-learn: pip install umap-learn.

    Distances are cosines, as in a search. seed: the same seed and versions give the same places, on one processor; None uses
    all of them. n_neighbors and settings are those of umap.UMAP. All rows are in memory; of a corpus of more than some 100,000
    take a sample: Corpus.open(corpus.vectors[::50], corpus.names[::50]).

    Raises ArgumentError for fewer than 5 rows, and for rows with NaN or infinity.
    """
    rows = corpus.vectors
    if len(rows) <= FEWEST:
        raise ArgumentError(f"corpus: UMAP needs at least {FEWEST + 1} rows, got {len(rows)}")
    for first in range(0, len(rows), 65536):  # no array as large as the rows
        is_fine = np.isfinite(rows[first:first + 65536]).all(axis=1)
        if not is_fine.all():
            raise ArgumentError(f"corpus: row {first + int(np.argmin(is_fine))} has NaN or infinity, which UMAP cannot place")
    try:
        from umap import UMAP
    except ImportError as error:
        raise ImportError("umap_layout needs umap-learn: pip install umap-learn") from error
    given = {"metric": "cosine", "n_jobs": 1 if seed is not None else -1, **settings}
    umap = UMAP(n_components=2, n_neighbors=min(n_neighbors, len(rows) - 1), random_state=seed, **given)
    places: npt.NDArray[np.float32] = np.ascontiguousarray(umap.fit_transform(rows), np.float32)
    return places
