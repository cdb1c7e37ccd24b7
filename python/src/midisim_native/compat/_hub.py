"""Downloads from Hugging Face: with huggingface_hub where it is installed, else with Python's own urllib."""
from __future__ import annotations

import hashlib
import json
import os
import re
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
    return _OPENER.open(request, timeout=60)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Redirects followed as ever. A large file's SHA-256 stands in the first answer alone: it is handed on to the last."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        following: Any = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None:
            following.etag = getattr(req, "etag", None) or headers.get("X-Linked-Etag")
        return following

    def http_response(self, request: Any, response: Any) -> Any:
        response.etag = getattr(request, "etag", None) or response.headers.get("X-Linked-Etag") or response.headers.get("ETag")
        return response

    https_response = http_response


_OPENER = urllib.request.build_opener(_Redirects)


def _copy(source: Any, file: Any, filename: str) -> None:
    """The answer's bytes to a file. Their number must be the one that the answer says, and their hash the one that the hub
    publishes: SHA-256, or that of a git blob. Other marks of an answer say nothing about its bytes."""
    etag = re.sub(r'^W/|"', "", source.etag or "")
    size = source.headers.get("Content-Length")
    digest = None
    if re.fullmatch(r"[0-9a-f]{64}", etag):
        digest = hashlib.sha256()
    elif re.fullmatch(r"[0-9a-f]{40}", etag) and size is not None:
        digest = hashlib.sha1(b"blob %d\0" % int(size))
    have = 0
    while data := source.read(1 << 20):
        have += len(data)
        file.write(data)
        if digest is not None:
            digest.update(data)
    if size is not None and have != int(size):
        raise OSError(f"{filename}: expected {size} bytes, got {have}")
    if digest is not None and digest.hexdigest() != etag:
        raise OSError(f"{filename}: expected a file with the hash {etag}, got {digest.hexdigest()}: download it again")


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
                _copy(source, file, filename)
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
