"""Damage a YAML file: its bytes, its structure, and what YAML itself can be made to do."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.torture.mutations import mutated

ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    10**30,
    1e308,
    float("nan"),
    "",
    " ",
    "x" * 100_000,
    "\x85",
    [],
    [[]],
    {},
    {1: 2},
)
ODD += (
    {None: None},
    [None],
    "${{parent.inputs.none}}",
    "${{parent.jobs.a.outputs.b}}",
    "${{",
    "$[[x]]",
    "azureml:",
    "..",
)
ODD += (
    "file:",
    "/dev/zero",
    "/etc/passwd",
    "/proc/self/mem",
    ".",
    "~",
    "a\nb",
    "../" * 40,
    "azureml://x/y",
    "2024-13-45",
    "é",
)
ODD += (
    "\ud7ff",
    "\U0001f389",
    "pipeline",
    "command",
    "uri_file",
    {"type": "uri_folder", "path": 7},
    {"type": []},
    "1e400",
)

Damage = Callable[[Path, random.Random], None]


def text(path: Path, draw: random.Random) -> None:
    """Change its bytes."""
    path.write_bytes(mutated(path.read_bytes(), draw))


def structure(path: Path, draw: random.Random) -> None:
    """Change values and keys somewhere in it, to others of any type."""
    data = yaml.safe_load(path.read_bytes())
    for _ in range(draw.choice([1, 1, 2, 5])):
        _change(data, draw)
    path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=draw.random() < 0.5), encoding="utf-8")


def _change(data: Any, draw: random.Random) -> None:  # noqa: ANN401 - YAML
    while isinstance(data, dict | list) and data:
        key = draw.choice(sorted(data, key=repr) if isinstance(data, dict) else range(len(data)))
        inner = data[key]
        if isinstance(inner, dict | list) and inner and draw.random() < 0.75:
            data = inner
            continue
        kind = draw.random()
        if kind < 0.6:
            data[key] = draw.choice(ODD)
        elif kind < 0.75:
            del data[key]
        elif isinstance(data, dict):
            data[draw.choice(["x", "inputs", "type", "path", 7, None, "", "a b", "${{x}}"])] = inner
        else:
            data.append(inner)
        return


def bomb(path: Path, draw: random.Random) -> None:
    """Let a few lines of aliases stand for millions of parts."""
    width, depth = draw.choice([(9, 9), (2, 60), (100, 3)])
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth)]
    _append(path, "\n".join(lines) + f"\ninputs: *a{depth - 1}\n", draw)


def circle(path: Path, draw: random.Random) -> None:
    """Put an alias in its own anchor, or merge a mapping into itself."""
    _append(
        path,
        draw.choice(
            ["a: &a [*a]\n", "a: &a {b: *a}\n", "inputs: &i\n  <<: *i\n", "&a a: *a\n", "<<: [1]\n", "<<: x\n"]
        ),
        draw,
    )


def deep(path: Path, draw: random.Random) -> None:
    """Nest it deeper than anything reads."""
    depth = draw.choice([100, 900, 20_000, 200_000])
    nested = draw.choice(
        [f"x: {'[' * depth}", f"x: {'{a: ' * depth}", f"x: {'[' * depth}{']' * depth}", f"{'- ' * depth}x"]
    )
    blocks = "\n".join(" " * n + "a:" for n in range(min(depth, 2000)))
    _append(path, draw.choice([nested, blocks]) + "\n", draw)


def huge(path: Path, draw: random.Random) -> None:
    """Add a huge line, number, key, or very many of them."""
    unit = draw.choice(["x", "é", "9", "- ", "? ", "&a ", "!!str ", "'", "# "])
    texts = [
        f"x: {unit * draw.choice([10_000, 1_000_000])}",
        "y" * 1_000_000 + ": 1",
        "x: " + "9" * 5000,
        "x: 0x" + "f" * 9999,
    ]
    texts += ["\n".join(f"k{n}: {n}" for n in range(20_000)), "x: 1:2:3:" + "59:" * 2000 + "1", "x: 1" + "_" * 50_000]
    _append(path, draw.choice(texts) + "\n", draw)


def tags(path: Path, draw: random.Random) -> None:
    """Ask for objects of Python's, files and odd types."""
    values = [
        "!!python/object/apply:os.system ['touch /tmp/torture-canary']",
        "!include /etc/passwd",
        "!!binary x",
        "!!set {a, b}",
    ]
    values += [
        "!!timestamp 2024-13-45",
        "!!int x",
        "!!float ''",
        "!!omap [a: 1]",
        "!!map [a]",
        "!!bool maybe",
        "! x",
        "!<x> y",
    ]
    _append(path, f"x: {draw.choice(values)}\n", draw)


def twice(path: Path, draw: random.Random) -> None:
    """Give keys twice, or as something that is no text."""
    lines = path.read_text(encoding="utf-8").splitlines()
    lines.append(
        draw.choice(
            [
                *[line for line in lines if line and line[0].isalpha()][:5],
                "type: x\ntype: y",
                "[a]: 1",
                "{}: 2",
                "? {a: b}",
            ]
        )
    )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def encodings(path: Path, draw: random.Random) -> None:
    """Write it in another encoding, with NULs, control letters or several documents."""
    before = path.read_text(encoding="utf-8")
    writings = [before.encode("utf-16"), before.encode("utf-32"), before.encode("utf-8-sig"), before.encode() + b"\x00"]
    writings += [
        b"\x00" * 1000,
        before.encode().replace(b"\n", b"\r"),
        before.encode() + b"\n---\n" + before.encode(),
        b"",
        b"---\n...\n",
    ]
    writings += [
        before.encode().replace(b" ", b"\t"),
        before.encode() + b"x: \xff\n",
        before.encode() + "x: \u2028\ufffe\n".encode(),
        b"%YAML 9.9\n---\na: b",
    ]
    path.write_bytes(draw.choice(writings))


def components(path: Path, draw: random.Random) -> None:
    """Make a job of components that name each other in a circle, of very many steps, or of files that are none."""
    schema = "$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json\n"
    other = draw.choice(
        [
            path.name,
            f"./{path.name}",
            f"../{path.parent.name}/{path.name}",
            "/dev/zero",
            "/",
            "/proc/self/environ",
            "\\x00",
        ]
    )
    jobs = draw.choice(
        [
            f"  a: {{type: pipeline, component: {other}}}\n",
            "".join(f"  s{n}: {{type: command, component: {other}}}\n" for n in range(300)),
        ]
    )
    steps = "".join(
        f"  s{n}: {{type: command, command: 'x ${{{{inputs.i}}}}', environment: azureml:e:1, inputs: {{i: '${{{{parent.jobs.s{(n + 1) % 9}.outputs.o}}}}'}}}}\n"
        for n in range(9)
    )
    path.write_text(
        f"{schema}type: pipeline\nname: a\nversion: 1\njobs:\n{draw.choice([jobs, steps])}", encoding="utf-8"
    )


def links(path: Path, draw: random.Random) -> None:
    """Put a link in its place: to itself, a device, a pipe that nobody writes, a file of others."""
    path.unlink()
    if draw.random() < 0.2:
        os.mkfifo(path)
    else:
        path.symlink_to(draw.choice([path, "/dev/null", "/dev/zero", "/etc/passwd", "missing", "/proc/self/mem", "."]))


def sparse(path: Path, draw: random.Random) -> None:
    """Make it many GB large, by a hole that takes no disk."""
    os.truncate(path, draw.choice([1, 20, 500]) << 30)


DAMAGES: tuple[Damage, ...] = (
    bomb,
    circle,
    deep,
    huge,
    tags,
    twice,
    encodings,
    components,
    links,
    text,
    structure,
    sparse,
)


def _append(path: Path, more: str, draw: random.Random) -> None:
    before = path.read_text(encoding="utf-8")
    path.write_text(draw.choice([before + more, more + before, more]), encoding="utf-8")
