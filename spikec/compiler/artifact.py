"""An artifact: named files in memory with a manifest, written atomically, refused on reading if one was edited."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from spikec.compiler.diagnostics import Diagnostic, Findings, fail

MANIFEST = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Artifact:
    """Everything that a target and the host simulation need: files by relative name, and facts about them.

    `facts` is plain JSON data (target, latencies, core table, ...). The same input gives the same bytes: no clock, no
    absolute path, sorted names.
    """

    target: str
    files: Mapping[str, bytes]
    facts: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Refuse names that would leave the directory."""
        for name in self.files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or name == MANIFEST or "\\" in name:
                raise fail("artifact/bad-name", f"'{name}' cannot be a file of an artifact")

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest: format, target, facts, and size and sha256 of each file."""
        listed = {
            name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
            for name, data in sorted(self.files.items())
        }
        body = {"format": FORMAT, "target": self.target, "facts": dict(self.facts), "files": listed}
        return {**body, "sha256": digest(body)}

    def write(self, directory: str | Path) -> Path:
        """Write to a new directory, or over an older artifact, all at once or not at all.

        Raises:
            CompileError: the directory exists and is not an artifact, or it cannot be written.
        """
        path = Path(os.path.realpath(directory))  # behind a link, the directory is replaced and not the link
        if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not (path / MANIFEST).is_file())):
            raise fail(
                "artifact/not-ours",
                f"{path} exists and is not an artifact",
                str(path),
                "choose another directory, or remove it",
            )
        if strangers := _strangers(path):
            message = f"{path} holds what is not the artifact's: {', '.join(strangers[:5])}"
            raise fail("artifact/not-ours", message, str(path), "move it away, or choose another directory")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            stage = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        except OSError as error:
            raise fail("artifact/cannot-write", f"cannot write here: {error.strerror}", str(path)) from error
        try:
            self._fill(stage)
            stage.chmod(0o755)
            _swap(stage, path)
        finally:
            shutil.rmtree(stage, ignore_errors=True)
        return Path(directory)

    def _fill(self, stage: Path) -> None:
        for name, data in self.files.items():
            file = stage / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        (stage / MANIFEST).write_text(json.dumps(self.manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def read(directory: str | Path) -> Artifact:
    """Read an artifact and check every byte of it.

    Raises:
        CompileError: one diagnostic for each file that is missing, added or changed, or for a manifest that is not one.
    """
    path = Path(directory)
    manifest = _read_manifest(path)
    found = Findings()
    listed: Mapping[str, Mapping[str, Any]] = manifest["files"]
    files: dict[str, bytes] = {}
    for name, facts in listed.items():
        file = path / name
        data = file.read_bytes() if file.is_file() else None
        if data is None:
            found(_edited(f"{name} is missing", file))
        elif hashlib.sha256(data).hexdigest() != facts["sha256"]:
            found(_edited(f"{name} was changed after it was written", file))
        else:
            files[name] = data
    for name in sorted(_files_of(path) - set(listed)):
        found(_edited(f"{name} does not belong to the artifact", path / name))
    found.raise_errors()
    return Artifact(manifest["target"], files, manifest["facts"])


def _strangers(path: Path) -> list[str]:
    """List the files of an artifact's directory that its manifest does not name: they are the user's."""
    try:
        listed = set(json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"])
    except (OSError, ValueError, KeyError, TypeError):
        listed = set()
    return sorted(_files_of(path) - listed)


def _files_of(path: Path) -> set[str]:
    return {p.relative_to(path).as_posix() for p in path.rglob("*") if not p.is_dir()} - {MANIFEST}


def is_artifact(directory: str | Path) -> bool:
    """Say whether a path looks like an artifact: a directory with a manifest."""
    return (Path(directory) / MANIFEST).is_file()


def digest(body: Mapping[str, Any]) -> str:
    """Give the sha256 of JSON data in its canonical form."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _read_manifest(path: Path) -> dict[str, Any]:
    file = path / MANIFEST
    if not file.is_file():
        raise fail(
            "artifact/none",
            f"{path} is not an artifact: it has no {MANIFEST}",
            str(path),
            "compile one: spikec compile MODEL -o DIR",
        )
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        body = {key: manifest[key] for key in ("format", "target", "facts", "files")}
        intact = digest(body) == manifest["sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise fail(
            "artifact/bad-manifest", "the manifest is not one of spikec's", str(file), "compile again"
        ) from error
    if not intact:
        raise fail("artifact/edited", f"{MANIFEST} was changed after it was written", str(file), "compile again")
    if body["format"] != FORMAT:
        raise fail(
            "artifact/version",
            f"the artifact has format {body['format']}, this spikec reads {FORMAT}",
            str(file),
            "compile again",
        )
    return dict(manifest)


def _edited(message: str, file: Path) -> Diagnostic:
    return Diagnostic("artifact/edited", message, str(file), "compile again, or restore the file")


def _swap(stage: Path, path: Path) -> None:
    """Put the staged directory in place of the old one; the old one is back if that fails."""
    if not path.exists():
        stage.rename(path)
        return
    old = path.parent / f".{path.name}.old.{os.getpid()}"
    path.rename(old)
    try:
        stage.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)
