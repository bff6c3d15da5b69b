"""The errors a user may see. Each message names the problem, the limits and a remedy.

The command line prints the message without a traceback and exits with `exit_code`: 2 for a request that cannot be
meant (a bad option), 1 for one that failed (a corrupt file, a full disk). Anything else that is raised is a bug.
"""

import difflib
from collections.abc import Iterable


class InkhornError(Exception):
    """Something failed that the user can act on."""

    exit_code = 1


class UsageError(InkhornError, ValueError):
    """An option, a parameter or a combination of them is outside its limits."""

    exit_code = 2


class CheckpointError(InkhornError):
    """A checkpoint folder is missing, unreadable, corrupt, or inconsistent."""


class CorpusError(InkhornError):
    """A corpus is missing, empty, not text or too short, or its checksum is wrong."""


class MissingFileError(CorpusError):
    """A corpus needs a file that is not here and that `command` downloads."""

    def __init__(self, message: str, command: tuple[str, ...]) -> None:
        super().__init__(message)
        self.command = command


class TokenizerError(InkhornError):
    """A text has characters outside the vocabulary, or a tokenizer file cannot be used."""


class TrainingError(InkhornError):
    """Training cannot continue: it diverged repeatedly, or memory ran out."""


class PeerLostError(TrainingError):
    """Another process of a distributed run ended. The run can be started again from its last checkpoint."""


class QueueFullError(InkhornError):
    """More requests wait for the engine than may."""


def nearest(name: str, valid: Iterable[str]) -> str:
    """The hint of an error about an unknown `name`: the closest valid one, else all of them."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(names)}"


def require(ok: bool, message: str) -> None:
    """Raise UsageError with `message` unless `ok`."""
    if not ok:
        raise UsageError(message)
