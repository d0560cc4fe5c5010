"""`asset pretrain`, `interpolate`, `questions` and `fetch-data`: tools of finetune/, with their own options and `--help`.

Each hands its arguments on as they are, so that finetune/ needs no Typer and no option is written twice.
"""

from __future__ import annotations

import typer

HANDED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""The settings of a verb whose arguments, `--help` too, are read by another parser."""


def pretrain(context: typer.Context) -> None:
    """Train a model further on your own text, by masked-language modeling."""
    from finetune.pretrain.__main__ import main

    raise typer.Exit(main(context.args))


def interpolate(context: typer.Context) -> None:
    """Move a model's weights a part of the way to another model's."""
    from finetune.pretrain.interpolate import main

    raise typer.Exit(main(context.args))


def questions(context: typer.Context) -> None:
    """Make questions with answers from plain text, to learn from if there are few real questions."""
    from finetune.pretrain.cloze_questions import main

    raise typer.Exit(main(context.args))


def fetch_data(context: typer.Context) -> None:
    """Fetch a public data set to fine-tune on."""
    from finetune.prepare.fetch_data import main

    raise typer.Exit(main(context.args))
