"""A transformer of scikit-learn: MIDI files to vectors, as a step of a pipeline."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._model import Model, Path, Piece
from .errors import ArgumentError

try:
    from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
except ImportError as error:
    raise ImportError("midisim_native.MidiEmbedder needs scikit-learn: pip install scikit-learn") from error

__all__ = ["MidiEmbedder"]


class MidiEmbedder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Paths, bytes or token ids of pieces [n] to vectors [n, dim] of f32.

    Parameters are those of Model and Model.embed; `model` is a path, or None for the model that the tools take. A copy and a
    pickled estimator open the model again when they need it.
    """

    def __init__(self, model: Path | None = None, *, device: str = "auto", precision: str = "bf16", threads: int = 0,
                 max_tokens: int | None = None, transpose: int = 0, class_weights: Sequence[float] | None = None,
                 normalize: bool = False, token_order: str = "time-first", unclean: bool = False) -> None:
        self.model = model
        self.device = device
        self.precision = precision
        self.threads = threads
        self.max_tokens = max_tokens
        self.transpose = transpose
        self.class_weights = class_weights
        self.normalize = normalize
        self.token_order = token_order
        self.unclean = unclean

    def fit(self, X: Iterable[Piece] | None = None, y: Any = None) -> MidiEmbedder:
        """Open the model. X and y are not looked at: the model is trained already."""
        self._model = self._open()
        self.n_features_out_ = self._model.dim
        return self

    def _open(self) -> Model:
        return Model(self.model, device=self.device, precision=self.precision, threads=self.threads,
                     token_order=self.token_order, unclean=self.unclean)

    def transform(self, X: Iterable[Piece]) -> npt.NDArray[np.float32]:
        """The vectors [n, dim] of the pieces [n] or [n, 1]. Raises what Model.embed raises, whose text names the file."""
        if not self.__sklearn_is_fitted__():
            self.fit()
        if getattr(self, "_model", None) is None:
            self._model = self._open()
        pieces = getattr(X, "to_numpy", lambda: X)()
        if isinstance(pieces, np.ndarray):
            if pieces.ndim == 2 and pieces.shape[1] == 1:
                pieces = pieces[:, 0]
            if pieces.ndim != 1 or pieces.dtype.kind not in "OUS":
                raise ArgumentError(f"X: expected paths, bytes or token ids [n], got {pieces.dtype} {list(pieces.shape)}")
        elif isinstance(pieces, (str, bytes)):
            raise ArgumentError("X: expected several pieces, got one")
        vectors: npt.NDArray[np.float32] = self._model.embed(
            list(pieces), transpose=self.transpose, max_tokens=self.max_tokens, class_weights=self.class_weights,
            normalize=self.normalize)
        return vectors

    @property
    def _n_features_out(self) -> int:
        return self.n_features_out_

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_out_")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit, tags.no_validation = False, True
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_model"}
