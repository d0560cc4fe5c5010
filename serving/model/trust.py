"""Decide if a model folder may be served: it is signed as the settings require, and no link leads out of it.

Also decide if a file can have been written only by this user: a file that is loaded as code, or instead of a signed file,
must not be writable by others.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from serving.errors import ModelFolderError, SignatureError
from serving.model.checkpoint import weights_file
from serving.model.model_folder import DEPTH, find_checkpoint, find_weights
from serving.model.signature import NAME, differences, signed_files
from serving.settings import PREFIX, Settings

logger = logging.getLogger("serving.model.trust")

SHOWN = 5
"""Differences in one message."""


def check_folder(folder: Path, settings: Settings) -> None:
    """Check a model folder before its files are used; raises ModelFolderError if it must not be served.

    A signature in the folder is checked, unless the settings turn that off; if the settings name a key, there must be a
    signature. The signature may be some levels down, as Azure mounts NAME/VERSION around the registered folder.
    """
    checkpoint = find_weights(folder)
    root = next(filter(_has_signature, _from(folder, checkpoint)), None)
    if settings.signature == "off":
        if settings.signature_key:
            logger.warning("%sSIGNATURE is off: the model folder is served unchecked", PREFIX)
    elif root is not None:
        _check_signed(folder, root, settings.signature_key)
    elif settings.signature_key:
        raise SignatureError(
            f"{folder / NAME}: expected a signature, as {PREFIX}SIGNATURE_KEY names a key, found none; "
            "sign the folder with `asset sign`"
        )
    _check_links(folder)


def signed_folder(checkpoint: Path) -> Path | None:
    """Return the folder with a signature around a checkpoint, valid or not; None if there is none."""
    checkpoint = checkpoint.absolute()
    return next(filter(_has_signature, islice((checkpoint, *checkpoint.parents), DEPTH + 1)), None)


def _has_signature(folder: Path) -> bool:
    return os.path.lexists(folder / NAME)


def _from(folder: Path, checkpoint: Path) -> Iterator[Path]:
    """Yield the folder, and each folder from there down to the checkpoint."""
    yield folder
    for name in checkpoint.relative_to(folder).parts:
        folder = folder / name
        yield folder


def _check_signed(folder: Path, root: Path, key: Path | None) -> None:
    if key and key.resolve().is_relative_to(root.resolve()):
        raise SignatureError(
            f"{key}: expected a key from elsewhere, found it in the folder that it is to check; keep it outside"
        )
    listed, left_out = signed_files(root / NAME, key)
    different = list(islice(differences(root, listed, left_out), SHOWN + 1))
    if different:
        more = "; and more" if len(different) > SHOWN else ""
        raise SignatureError(
            f"{root}: expected the files that its {NAME} lists, found that {'; '.join(different[:SHOWN])}{more}; "
            "get the folder anew from where it was signed"
        )
    parts = find_checkpoint(folder)
    for path in (parts.checkpoint / "config.json", weights_file(parts.checkpoint), parts.tokenizer):
        if not path.is_relative_to(root) or path.relative_to(root).as_posix() not in listed:
            raise SignatureError(
                f"{path}: expected it to be signed, found it outside of {root}; sign {folder} as a whole"
            )
    if key:
        logger.info("%s: the %d files are as the key %s signed them", root, len(listed), key)
    else:
        logger.warning(
            "%s: the %d files are as %s lists them, but its signer is not checked; name the signer's key in "
            "%sSIGNATURE_KEY",
            root,
            len(listed),
            NAME,
            PREFIX,
        )


def _check_links(folder: Path) -> None:
    """Raise ModelFolderError for a file that is a link out of the model folder and out of a hub's cache of the model."""
    parts = find_checkpoint(folder)
    real = parts.checkpoint.resolve()
    allowed = [real, *(real.parent / place for place in ("components/tokenizer", "tokenizer"))]
    if real.parent.name == "snapshots":  # huggingface_hub links to files that it keeps by their hashes
        allowed.append(real.parent.parent / "blobs")
    for path in (parts.checkpoint / "config.json", weights_file(parts.checkpoint), parts.tokenizer):
        leads_to = path.resolve()
        if not any(leads_to.is_relative_to(place) for place in allowed):
            raise ModelFolderError(
                f"{path}: expected a file of the model folder, found a link that leads out of it; put the file there"
            )


def is_ours(path: Path) -> bool:
    """Return whether a file exists that only this user or root can have written."""
    try:
        status, folder = path.stat(), path.parent.stat()
    except OSError:
        return False
    return all(_is_ours_alone(part) for part in (status, folder))


def is_our_folder(path: Path) -> bool:
    """Return whether a folder exists that only this user or root can write to."""
    try:
        return _is_ours_alone(path.stat())
    except OSError:
        return False


def _is_ours_alone(status: os.stat_result) -> bool:
    return status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
