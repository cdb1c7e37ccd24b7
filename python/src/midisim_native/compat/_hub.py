"""Downloads from Hugging Face: with huggingface_hub where it is installed, else with Python's own urllib."""
from __future__ import annotations

import json
import os
import shutil
import tempfile
import urllib.parse
import urllib.request
from typing import Any

__all__ = ["download_all_embeddings", "download_embeddings", "download_model"]

EMBEDDINGS = "projectlosangeles/midisim-embeddings"
MODELS = "projectlosangeles/midisim"


def _open(path: str) -> Any:
    address = os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/") + urllib.parse.quote(path)
    if not address.startswith(("https://", "http://")):
        raise ValueError(f"HF_ENDPOINT: expected an address with http, got '{address}'")
    request = urllib.request.Request(address)
    if os.environ.get("HF_TOKEN"):
        request.add_unredirected_header("Authorization", f"Bearer {os.environ['HF_TOKEN']}")
    return urllib.request.urlopen(request, timeout=60)


def _fetch(kind: str, repo_id: str, filename: str, local_dir: str, revision: str) -> str:
    """One file of a repository; a file that is there is kept. What is half there never has the file's name."""
    target = os.path.join(local_dir, filename)
    inside = os.path.realpath(target).startswith(os.path.join(os.path.realpath(local_dir), ""))
    if not inside:
        raise ValueError(f"{filename}: would be written outside {local_dir}")
    if os.path.exists(target):
        return target
    os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
    prefix = "datasets/" if kind == "dataset" else ""
    with _open(f"/{prefix}{repo_id}/resolve/{revision}/{filename}") as source:
        handle, part = tempfile.mkstemp(dir=os.path.dirname(target) or ".", prefix=".part-")
        try:
            with os.fdopen(handle, "wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            expected = source.headers.get("Content-Length")
            if expected is not None and os.path.getsize(part) != int(expected):
                raise OSError(f"{filename}: expected {expected} bytes, got {os.path.getsize(part)}")
            os.replace(part, target)
        except BaseException:
            os.unlink(part)
            raise
    return target


def _file(kind: str, repo_id: str, filename: str, local_dir: str, verbose: bool, options: dict[str, Any]) -> str:
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        revision = options.pop("revision", None) or "main"
        if options:
            raise ImportError(f"{', '.join(options)}: needs huggingface_hub: pip install huggingface_hub") from None
        path = _fetch(kind, repo_id, filename, local_dir, revision)
    else:
        path = str(hf_hub_download(repo_id=repo_id, repo_type=kind, filename=filename, local_dir=local_dir, **options))
    if verbose:
        print(f"downloaded {path}")
    return path


def download_model(repo_id: str = MODELS,
                   filename: str = "midisim_small_pre_trained_model_2_epochs_43117_steps_0.3148_loss_0.9229_acc.pth",
                   local_dir: str = "./midisim-models/", verbose: bool = True, **kwargs: Any) -> str:
    """Download a model, and return its path. kwargs are those of huggingface_hub.hf_hub_download."""
    return _file("model", repo_id, filename, local_dir, verbose, kwargs)


def download_embeddings(repo_id: str = EMBEDDINGS,
                        filename: str = "discover_midi_dataset_37292_genres_midis_embeddings_cc_by_nc_sa.npy",
                        local_dir: str = "./midisim-embeddings/", verbose: bool = True, **kwargs: Any) -> str:
    """Download a corpus, and return its path."""
    return _file("dataset", repo_id, filename, local_dir, verbose, kwargs)


def download_all_embeddings(repo_id: str = EMBEDDINGS, revision: str = "main", local_dir: str = "./midisim-embeddings/",
                            verbose: bool = True, **kwargs: Any) -> str:
    """Download all corpora, and return the folder."""
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        if kwargs:
            raise ImportError(f"{', '.join(kwargs)}: needs huggingface_hub: pip install huggingface_hub") from None
        with _open(f"/api/datasets/{repo_id}/tree/{revision}") as listing:
            files = [str(entry["path"]) for entry in json.load(listing) if entry.get("type") == "file"]
        for name in files:
            _fetch("dataset", repo_id, name, local_dir, revision)
        folder = local_dir
    else:
        folder = str(snapshot_download(repo_id=repo_id, repo_type="dataset", revision=revision, local_dir=local_dir, **kwargs))
    if verbose:
        print(f"downloaded {folder}")
    return folder
