"""The frame of the commands `python -m evaluation.…`: their parsers, the options they share, and their exit statuses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from evaluation.config import KEYS
from evaluation.errors import EvaluationError
from serving.errors import ModelFolderError, RequestError, SettingsError
from serving.tasks import TASKS
from tables.rows import TableError

Arguments = argparse.Namespace


def make_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """Return the parser of `python -m MODULE`; the module's docstring is its description."""
    formatter = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(f"python -m {module}", description=description, formatter_class=formatter)


def add_task(parser: argparse.ArgumentParser) -> None:
    """Add the task."""
    parser.add_argument("--task", required=True, choices=list(TASKS), help="what the model does")


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the settings of the evaluation, as a file and as text."""
    parser.add_argument("--evaluation-config", type=Path, help=f"a JSON file with any of {', '.join(KEYS)}")
    parser.add_argument("--evaluation-config-params", help="JSON text with settings that override those of the file")


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


def run_command(name: str, work: Callable[[Arguments], object], args: Arguments) -> int:
    """Do a command's work; returns 1 after a message if the input cannot be used, and 130 if the user stops it."""
    try:
        work(args)
    except OSError as exc:
        place = exc.filename or "standard output"
        message, status = f"{place}: expected a file that can be used, found: {exc.strerror or exc}", 1
    except (EvaluationError, TableError, SettingsError, ModelFolderError, RequestError) as exc:
        message, status = str(exc), 1
    except KeyboardInterrupt:
        message, status = "stopped; nothing was written", 130
    else:
        return 0
    sys.stderr.write(f"{name}: {message}\n")
    return status
