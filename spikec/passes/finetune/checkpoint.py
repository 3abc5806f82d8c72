"""The checkpoint of a training: whole or not there, read without running pickles, refused if it is another's."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikec.compiler.diagnostics import fail
from spikec.passes.finetune.carry import Masked
from spikec.passes.work.task import digest


@dataclass(frozen=True)
class Kind:
    """Whose checkpoints they are: the format's name in the file, the code of its diagnostics, what it is called."""

    format: str
    code: str
    name: str
    parts: str
    """What a checkpoint of another run may differ in."""


FINE_TUNING = Kind("spikec fine-tuning 1", "finetune/checkpoint", "a fine-tuning", "weights, masks, data or settings")


def identity(module: Any, layers: Mapping[str, Masked], settings: str) -> str:
    """Give the SHA-256 of what a fine-tuning starts from: all of the module's tensors, the masks and the settings."""
    made = hashlib.sha256(settings.encode())
    for name, tensor in sorted(module.state_dict().items()):
        values = tensor.detach().cpu()
        made.update(f"{name} {values.dtype} {digest(values.contiguous().view(-1).view(_bytes()).numpy())}".encode())
    for path, layer in sorted(layers.items()):
        made.update(f"{path} {digest(layer.weight)} {digest(layer.keep)}".encode())
    return made.hexdigest()


def _bytes() -> Any:
    import torch

    return torch.uint8


def write(path: Path, key: str, content: Mapping[str, Any], kind: Kind = FINE_TUNING) -> None:
    """Write a checkpoint, all at once.

    Raises:
        CompileError: the kind's code; what was there before is whole.
    """
    import torch

    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save({"format": kind.format, "key": key, **content}, file)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        message = f"the checkpoint cannot be written: {error.strerror or error}"
        raise fail(kind.code, message, str(path), "name a file in a folder that can be written") from error


def read(path: Path, key: str, kind: Kind = FINE_TUNING) -> Mapping[str, Any] | None:
    """Read a checkpoint; None if there is no file.

    Raises:
        CompileError: the kind's code: it is damaged, or of a run that started from something else. It is left as it
            is.
    """
    import torch

    if not path.parent.is_dir():
        raise fail(kind.code, "there is no folder for the checkpoint", str(path), "make it first")
    if not path.exists():
        return None
    help = "name another file, or remove this one to start from the beginning"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken file makes torch say
        reason = (str(error).splitlines() or [""])[0].split(". ")[0] or type(error).__name__
        raise fail(kind.code, f"the checkpoint cannot be read: {reason}", str(path), help) from error
    if not isinstance(content, dict) or content.get("format") != kind.format:
        raise fail(kind.code, f"the file is no checkpoint of {kind.name}", str(path), help)
    if content.get("key") != key:
        message = f"the checkpoint is of other {kind.parts}"
        raise fail(kind.code, message, str(path), help)
    return content


def keep(path: Path, key: str, parts: Mapping[str, Any], losses: Sequence[float], kind: Kind = FINE_TUNING) -> None:
    """Write the states of a training's parts (module, optimizer, schedule) and the losses of its finished epochs."""
    write(path, key, {**{name: part.state_dict() for name, part in parts.items()}, "losses": list(losses)}, kind)


def resume(path: Path, key: str, parts: Mapping[str, Any], kind: Kind = FINE_TUNING) -> list[float]:
    """Put what `keep` wrote back into the parts and give the losses; none where there is no checkpoint."""
    found = read(path, key, kind)
    if found is None:
        return []
    for name, part in parts.items():
        part.load_state_dict(found[name])
    return list(found["losses"])
