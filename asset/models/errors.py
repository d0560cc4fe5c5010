"""What can go wrong with a pull or a package.

RuntimeError
└── PullError                 the message says what was expected, what was found and what to do
    ├── RequestError          what is asked for cannot be had: nothing was done
    │   ├── NotFound          the hub has no such repository or commit
    │   ├── NoSafetensors     the weights are pickles alone, which can run code
    │   ├── NotServable       no model that we know how to serve
    │   └── FolderTaken       the folder has other things in it
    ├── HubError              the hub, or the way to it, failed
    │   ├── Denied            it wants a token, or terms to be accepted
    │   ├── RateLimited       it wants us to wait
    │   ├── HubDown           it answers with an error of its own
    │   ├── Unreachable       there is no way to it
    │   ├── ConnectionCut     the way to it breaks, again and again
    │   └── Offline           HF_HUB_OFFLINE is set, and the hub's cache has not all of it
    ├── NotAsListed           what came is not what the hub lists
    │   ├── WrongSize
    │   ├── WrongHash
    │   └── NoHash            the hub lists nothing to check against
    ├── PlaceError            this machine's disk
    │   ├── NoRoom
    │   ├── NotWritable
    │   └── InUse             another pull into the same folder is at work
    └── RegistryError         the local MLflow registry does not take the model

What can go wrong with a signature.

RuntimeError
└── SigningError        the message says what was expected, what was found and what to do
    ├── CannotSign      what is asked for cannot be done: no model folder, no usable key; nothing was written
    ├── NotVerified     the folder is not what was signed, or not signed by whom it should be
    └── NotWritten      the disk does not take the signature
"""

from __future__ import annotations


class PullError(RuntimeError):
    """A pull or package cannot go on. `status` is the command's exit status, `code` names the fault in --json."""

    status = 1
    code = "failed"


class RequestError(PullError):
    """What is asked for cannot be had."""

    status = 2
    code = "invalid"


class NotFound(RequestError):
    """The hub has no such repository or commit."""

    code = "not_found"


class NoSafetensors(RequestError):
    """The weights are in another form than safetensors."""

    code = "no_safetensors"


class NotServable(RequestError):
    """The model is none that we serve."""

    code = "not_servable"


class FolderTaken(RequestError):
    """The folder has other things in it."""

    code = "folder_taken"


class HubError(PullError):
    """The hub, or the way to it, failed."""


class Denied(HubError):
    """The hub wants a token, or terms to be accepted."""

    code = "denied"


class RateLimited(HubError):
    """The hub wants us to wait."""

    code = "rate_limited"


class HubDown(HubError):
    """The hub answers with an error of its own."""

    code = "hub_down"


class Unreachable(HubError):
    """There is no way to the hub."""

    code = "unreachable"


class ConnectionCut(HubError):
    """The connection breaks, again and again."""

    code = "connection_cut"


class Offline(HubError):
    """HF_HUB_OFFLINE is set, and the hub's cache has not all of it."""

    code = "offline"


class NotAsListed(PullError):
    """What came is not what the hub lists."""


class WrongSize(NotAsListed):
    """A file is longer or shorter than listed."""

    code = "wrong_size"


class WrongHash(NotAsListed):
    """A file's bytes are others than those listed."""

    code = "wrong_hash"


class NoHash(NotAsListed):
    """The hub lists nothing that a file could be checked against."""

    code = "no_hash"


class PlaceError(PullError):
    """This machine's disk."""


class NoRoom(PlaceError):
    """The disk is full, or would be."""

    code = "no_room"


class NotWritable(PlaceError):
    """A folder or file cannot be written."""

    code = "not_writable"


class InUse(PlaceError):
    """Another pull into the same folder is at work."""

    code = "in_use"


class RegistryError(PullError):
    """The local MLflow registry does not take the model."""

    code = "registry"


class SigningError(RuntimeError):
    """A folder cannot be signed or verified. `status` is the command's exit status, `code` names the fault in --json."""

    status = 1
    code = "failed"


class CannotSign(SigningError):
    """What is asked for cannot be done."""

    status = 2
    code = "invalid"


class NotVerified(SigningError):
    """The folder is not what was signed; `differences` names its files, a sentence each."""

    code = "not_verified"

    def __init__(self, message: str, differences: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.differences = differences


class NotWritten(SigningError):
    """The disk does not take the signature."""

    code = "not_writable"
