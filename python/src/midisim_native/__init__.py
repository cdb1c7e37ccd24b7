"""Find similar music among MIDI files, without PyTorch.

    import midisim_native as mn
    model = mn.load_model()
    mn.embed_folder("midi", "corpus.npy", model=model)
    corpus = mn.Corpus.open("corpus.npy")
    for match in corpus.search("song.mid", model=model):
        print(f"{match.score:.4f} {match.transpose:+d} {match.name}")

`midisim_native.compat` has the functions of the Python package midisim, under their names. docs/guide/python.md is the guide.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._corpus import Corpus, Match, Query, Searcher, Span, Whitening
from ._groups import FilePair, GroupedFile, Groups, GroupsInfo
from ._jobs import EmbedReport, Skip, embed_folder
from ._library import lib as _lib
from ._layout import umap_layout
from ._measure import Evaluation, EvaluationReport, Measure, ThresholdPoint
from ._merge import merge_corpora
from ._model import Model, ModelInfo, Piece, Tokenizer, load_model, read_midi
from ._notes import NOTE_DTYPE, NoteMatch, NotePair, NotesIndex, NotesStream, parse_notes, read_notes
from ._report import Report, ReportInfo
from .errors import (ArgumentError, DeviceError, EmptyError, FileError, ForkError, FormatError, LimitError, MidisimError,
                     NoMemoryError, StoppedError, UnsupportedError)

if TYPE_CHECKING:
    from ._estimator import MidiEmbedder

__version__: str = _lib.msim_version().decode()

__all__ = ["ArgumentError", "Corpus", "DeviceError", "EmbedReport", "EmptyError", "Evaluation", "EvaluationReport",
           "FileError", "FilePair", "ForkError", "FormatError", "GroupedFile", "Groups", "GroupsInfo", "LimitError", "Match",
           "Measure", "MidiEmbedder", "MidisimError", "Model", "ModelInfo", "NOTE_DTYPE", "NoMemoryError", "NoteMatch",
           "NotePair", "NotesIndex", "NotesStream", "Piece", "Query", "Report", "ReportInfo", "Searcher", "Skip", "Span",
           "StoppedError", "ThresholdPoint", "Tokenizer", "UnsupportedError", "Whitening", "embed_folder", "load_model",
           "merge_corpora", "parse_notes", "read_midi", "read_notes", "umap_layout"]


def __getattr__(name: str) -> Any:
    """MidiEmbedder needs scikit-learn, which is imported when it is first asked for."""
    if name == "MidiEmbedder":
        from ._estimator import MidiEmbedder
        return MidiEmbedder
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
