"""The checkpoint of a fine-tuning: whole or not there, read without running pickles, refused if it is another's."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spikec.compiler.diagnostics import fail
from spikec.passes.finetune.carry import Masked
from spikec.passes.work.task import digest

FORMAT = "spikec fine-tuning 1"


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


def write(path: Path, key: str, content: Mapping[str, Any]) -> None:
    """Write a checkpoint, all at once.

    Raises:
        CompileError: `finetune/checkpoint`; what was there before is whole.
    """
    import torch

    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                torch.save({"format": FORMAT, "key": key, **content}, file)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        message = f"the checkpoint cannot be written: {error.strerror or error}"
        raise fail("finetune/checkpoint", message, str(path), "name a file in a folder that can be written") from error


def read(path: Path, key: str) -> Mapping[str, Any] | None:
    """Read a checkpoint; None if there is no file.

    Raises:
        CompileError: `finetune/checkpoint`: it is damaged, or of a fine-tuning that started from something else. It is
            left as it is.
    """
    import torch

    if not path.parent.is_dir():
        raise fail("finetune/checkpoint", "there is no folder for the checkpoint", str(path), "make it first")
    if not path.exists():
        return None
    help = "name another file, or remove this one to start from the beginning"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a broken file makes torch say
        reason = (str(error).splitlines() or [""])[0].split(". ")[0] or type(error).__name__
        raise fail("finetune/checkpoint", f"the checkpoint cannot be read: {reason}", str(path), help) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise fail("finetune/checkpoint", "the file is no checkpoint of a fine-tuning", str(path), help)
    if content.get("key") != key:
        message = "the checkpoint is of other weights, masks, data or settings"
        raise fail("finetune/checkpoint", message, str(path), help)
    return content
