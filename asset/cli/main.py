"""The command `asset`: the list of its verbs. Each verb is a file of this folder, which imports its work when it runs."""

from __future__ import annotations

import sys

import typer

from asset.cli import (
    compile,
    deploy,
    doctor,
    endpoints,
    invoke,
    package,
    pull,
    run,
    serve,
    sign,
    submit,
    tools,
    training,
    ui,
    validate,
    verify,
)

VERBS = {
    "doctor": doctor.doctor,
    "validate": validate.validate,
    "pull": pull.pull,
    "package": package.package,
    "sign": sign.sign,
    "verify": verify.verify,
    "compile": compile.compile_model,
    "serve": serve.serve,
    "deploy": deploy.deploy,
    "invoke": invoke.invoke,
    "run": run.run,
    "submit": submit.submit,
    "ui": ui.ui,
}

HANDED_ON = {
    "pretrain": training.pretrain,
    "interpolate": training.interpolate,
    "questions": training.questions,
    "fetch-data": training.fetch_data,
}
"""Verbs whose arguments another parser reads."""

app = typer.Typer(
    name="asset",
    help="Check, get, compile, serve and deploy this model asset and run its jobs, on this machine and on Azure ML.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for name, verb in VERBS.items():
    app.command(name)(verb)
for name, verb in HANDED_ON.items():
    app.command(name, context_settings=training.HANDED_ON)(verb)
app.add_typer(endpoints.app, name="endpoints")
app.add_typer(tools.app, name="tools")


def main() -> None:
    """Run the command line; the exit status is the verb's."""
    sys.exit(app())


if __name__ == "__main__":
    main()
