"""From a weights spec to a local file: caches first, then the network, and nothing half-fetched is kept."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import importlib.resources
import os
import pathlib
import re
import tempfile
import urllib.parse
import urllib.request

from absl import logging

from tl.errors import InputError
from tl.weights import known, readers

# How a spec begins; a `+` in front of it joins it to another.
START = r"(?:file:|run:|hf:|https?:|(?:bundled|known|none)(?:\+|$))"
_HUB = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^:]+))?(:(?P<filename>.+))?")
_TIMEOUT = 20.0  # seconds without a byte
_PROBE_TIMEOUT = 8.0  # seconds for the hub's first answer


def resolve(spec: str, model: str) -> str:
    """The spec itself, or the default source of `model` for "" and "known"."""
    return known.default(model).source if spec in ("", "known") else spec


def locate(spec: str, model: str = "") -> pathlib.Path:
    """The local file of ONE spec, fetched if need be:

    `file:PATH` (of a folder its model.safetensors), `run:DIRECTORY` (its weights.safetensors),
    `hf:ORG/NAME[@REVISION][:FILENAME]` (model.safetensors), `https://HOST/PATH#sha256=HEX` (8 to 64 digits;
    not needed for known URLs), `bundled`, "" or `known` (default of `model`). Raises InputError that says what is
    missing and what to do; offline it does so at once.
    """
    spec = os.path.expandvars(resolve(spec, model))  # $TL_DATA, so that a config is no machine's
    if "," in spec:
        raise InputError(
            f"the weights '{spec}' hold a comma, at which config arguments are split: rename the file or folder."
        )
    kind, _, rest = spec.partition(":")
    if kind == "file" and rest:
        return _file(spec, rest)
    if kind == "run" and rest:
        return _run(rest)
    if kind == "hf" and rest:
        return _hub(spec, rest)
    if kind in ("http", "https"):
        return _url(spec)
    if spec == "bundled":
        return _bundled()
    hint = f" (did you mean file:{spec}?)" if pathlib.Path(spec).exists() else ""
    raise InputError(
        f"unknown weights '{spec}'{hint}: give file:PATH, run:DIRECTORY, hf:ORG/NAME, "
        "https://...#sha256=..., bundled, known or none."
    )


def beside(spec: str, path: pathlib.Path, name: str) -> pathlib.Path | None:
    """The file `name` of the folder, or of the hub's repository, that the weights of `spec` at `path` are from."""
    match = _HUB.fullmatch(spec.removeprefix("hf:")) if spec.startswith("hf:") else None
    if match is None:
        found = path.with_name(name)
        return found if found.is_file() else None
    revision = f"@{match['revision']}" if match["revision"] else ""
    try:
        return _hub(spec, f"{match['repo']}{revision}:{name}")
    except InputError as error:
        if f"has no file '{name}'" in str(error):
            return None
        raise


def _file(spec: str, name: str) -> pathlib.Path:
    path = pathlib.Path(name).expanduser()
    if (path / "model.safetensors").is_file():
        path = path / "model.safetensors"
    if path.is_file():
        return path
    if (path / "weights.safetensors").is_file():
        raise InputError(f"the weights '{spec}' are a run's folder: write run:{name}.")
    raise InputError(f"the weights '{spec}' are not a file: check the path (from {pathlib.Path.cwd()}).")


def _run(name: str) -> pathlib.Path:
    folder = pathlib.Path(name).expanduser()
    if not folder.is_dir():
        raise InputError(f"no such run '{folder}' (from {pathlib.Path.cwd()}): give the folder that the run wrote.")
    path = folder / "weights.safetensors"
    if not path.is_file():
        parts = sorted(str(part.parent) for part in folder.rglob("weights.safetensors"))
        raise InputError(
            f"the run '{folder}' is made of several and has no weights of its own: give one of these, as {parts[0]}."
            if parts
            else f"the run '{folder}' is unfinished, it has no weights.safetensors: resume it first."
        )
    return path


def _bundled() -> pathlib.Path:
    path = pathlib.Path(str(importlib.resources.files("tl") / "assets" / "resnet20_glyphs.safetensors"))
    if not path.is_file():
        raise InputError(
            f"the bundled weights are missing from this installation ('{path}'): install the package again."
        )
    return path


def _hub(spec: str, rest: str) -> pathlib.Path:
    # Imported here: the hub's client takes a third of a second, and runs from a file never need it.
    import huggingface_hub as hub
    from huggingface_hub import constants, errors

    match = _HUB.fullmatch(rest)
    if not match:
        raise InputError(f"cannot read the weights '{spec}': write hf:ORG/NAME[@REVISION][:FILENAME].")
    repo, revision = match["repo"], match["revision"]
    filename = match["filename"] or "model.safetensors"
    try:
        cached = hub.try_to_load_from_cache(repo, filename, revision=revision)
        if isinstance(cached, str):
            return pathlib.Path(cached)
        if constants.HF_HUB_OFFLINE:
            raise InputError(
                f"the weights '{spec}' are not in the local cache ({constants.HF_HUB_CACHE}) and "
                "HF_HUB_OFFLINE is set: fetch them on a machine with a network, or give file:PATH."
            )
        # One request without retries: the download alone would try for half a minute to reach a dead network.
        hub.get_hf_file_metadata(hub.hf_hub_url(repo, filename, revision=revision), timeout=_PROBE_TIMEOUT)
        logging.info("fetching %s of %s from %s", filename, repo, constants.ENDPOINT)
        return pathlib.Path(hub.hf_hub_download(repo, filename, revision=revision))
    except InputError:
        raise
    except errors.RepositoryNotFoundError as error:
        problem = "no such repository, or no right to read it: check the name and HF_TOKEN"
        raise InputError(f"the weights '{spec}': {problem}.") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"the weights '{spec}': {repo} has no revision '{revision}': name another.") from error
    except errors.HFValidationError as error:
        raise InputError(f"the weights '{spec}': not a valid repository name ({_short(error)}).") from error
    # Any exception at all: network errors come from an HTTP library that changes with the client's versions.
    except Exception as error:
        absent = isinstance(error, errors.EntryNotFoundError)
        if absent and not isinstance(error, errors.LocalEntryNotFoundError):
            problem = f"{repo} has no file '{filename}': name one (hf:ORG/NAME:FILENAME)"
        else:
            detail = f"{type(error).__name__}: {_short(error)}"
            problem = f"cannot fetch it from {constants.ENDPOINT} ({detail}): check the network, or give file:PATH"
        raise InputError(f"the weights '{spec}': {problem}.") from error


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def cache_folder() -> pathlib.Path:
    """Where fetched files are kept: $TL_CACHE, else ~/.cache/tl/weights."""
    named = os.environ.get("TL_CACHE")
    return pathlib.Path(named).expanduser() if named else pathlib.Path.home() / ".cache" / "tl" / "weights"


def _url(spec: str) -> pathlib.Path:
    url, _, fragment = spec.partition("#")
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
        raise InputError(f"the weights '{url}' would come over plain http: use https.")
    row = known.of_source(url)
    wanted = fragment.removeprefix("sha256=").lower() if fragment else (row.sha256 if row else "")
    if not re.fullmatch(r"[0-9a-f]{8,64}", wanted):
        raise InputError(
            f"the weights '{spec}' come without a checksum: add #sha256=HEX (8 to 64 hexadecimal digits of the file's)."
        )
    folder, name = cache_folder(), pathlib.PurePosixPath(parts.path).name or "weights"
    try:
        # Kept under the whole digest, so that a file is found again whichever mirror it came from.
        for path in sorted(folder.glob(f"{wanted}*-{name}")):
            if readers.file_sha256(path).startswith(wanted):
                return path
            path.unlink()  # damaged since it was fetched
        folder.mkdir(parents=True, exist_ok=True)
        return _download(url, wanted, folder, name)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(
            f"cannot fetch '{url}' into '{folder}' ({_short(error) or type(error).__name__}): check the "
            "network and the "
            "disk, or give file:PATH."
        ) from error


def _download(url: str, wanted: str, folder: pathlib.Path, name: str) -> pathlib.Path:
    logging.info("fetching %s", url)
    digest = hashlib.sha256()
    file = tempfile.NamedTemporaryFile(dir=folder, prefix=".fetch-", delete=False)  # noqa: SIM115  # renamed below
    try:
        with file, urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            while chunk := response.read(1 << 20):
                digest.update(chunk)
                file.write(chunk)
            # A connection that breaks off looks like the end of the file to read(n).
            promised = response.headers.get("Content-Length")
            if promised is not None and file.tell() != int(promised):
                raise OSError(f"the connection broke off after {file.tell()} of {promised} bytes")
        found = digest.hexdigest()
        if not found.startswith(wanted):
            raise InputError(
                f"'{url}' has the sha256 {found[: max(16, len(wanted))]}, not {wanted}: the file is not the "
                "one that was "
                "meant; check the address and the checksum (nothing was kept)."
            )
        path = folder / f"{found}-{name}"
        os.replace(file.name, path)
        return path
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(file.name)
