"""Render the allow-lists and minimum specifications of sku_lists.yaml into spec.yaml: `asset tools sku-lists`.

spec.yaml needs each list three times (a property, a tag and an entry of system_metadata, each in its own notation), so
a person edits sku_lists.yaml and this module fills the marked blocks of spec.yaml. The rest of spec.yaml stays as it is.

ValueError
└── SkuListsError    sku_lists.yaml or spec.yaml has a mistake; the message says what to change
"""

from __future__ import annotations

import json
import re
import textwrap
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import yaml

SCENARIOS = ("inference", "evaluation", "finetune")
COMMAND = "asset tools sku-lists"
LINE_WIDTH = 100


class SkuListsError(ValueError):
    """sku_lists.yaml or spec.yaml has a mistake; the message says what is wrong and what to do.

    `keys` lead to the part of the file, if the mistake is in a part.
    """

    def __init__(self, file: str, keys: tuple[str, ...], message: str, fix: str) -> None:
        self.keys, self.message, self.fix = keys, message, fix
        where = ": ".join(filter(None, (file, ".".join(keys))))
        super().__init__(f"{where}: {message}; {fix}")


@dataclass(frozen=True)
class SkuSpec:
    """The parts of a virtual machine, or the least it must have; memory and disk in GB."""

    vcpus: int
    gpus: int
    memory_gb: int
    disk_gb: int

    @classmethod
    def parse(cls, text: object, file: str = "specification", keys: tuple[str, ...] = ()) -> SkuSpec:
        """Read the notation of the model card: '2|0|8|28' -> SkuSpec(2, 0, 8, 28).

        Raises:
            SkuListsError: the text is not four whole numbers with bars between them.
        """
        if not re.fullmatch(r"\d+(\|\d+){3}", str(text)):
            expected = "four whole numbers, vCPU|GPU|memory GB|disk GB, as in 2|0|8|28"
            raise SkuListsError(file, keys, f"expected {expected}, found {text!r}", "correct it")
        return cls(*(int(number) for number in str(text).split("|")))

    @classmethod
    def smallest(cls, specs: list[SkuSpec]) -> SkuSpec:
        """Take the minimum of each part on its own: [4|0|8|32, 2|0|16|28] -> 2|0|8|28."""
        return cls(*(min(parts) for parts in zip(*map(astuple, specs), strict=True)))

    def __str__(self) -> str:
        """Write the notation that parse reads."""
        return "|".join(map(str, astuple(self)))


@dataclass(frozen=True)
class SkuList:
    """The machines for a scenario (inference, evaluation or finetune), in the card's order."""

    minimum: SkuSpec
    allow_list: tuple[str, ...]
    recommended: tuple[str, ...]


def read_sku_lists(path: Path) -> dict[str, SkuList]:
    """Read and check the SkuList of each scenario in sku_lists.yaml.

    Raises:
        SkuListsError: a part is missing, a machine is listed twice or has no size, `recommended` differs from
            `allow_list`, or `minimum` is not the minimum over the sizes.
    """
    document = _document(path)
    sizes = _sizes(document, path.name)
    return {name: _sku_list(document[name], sizes, path.name, name) for name in SCENARIOS}


def read_sizes(path: Path) -> dict[str, SkuSpec]:
    """Return what each machine has that sku_lists.yaml names under `sizes`.

    Raises:
        SkuListsError: a part is missing, or a size is not written as four numbers.
    """
    return _sizes(_document(path), path.name)


def _document(path: Path) -> dict[str, Any]:
    document = _load_yaml(path.read_text(encoding="utf-8"), path.name)
    absent = [key for key in (*SCENARIOS, "sizes") if not isinstance(document.get(key), dict)]
    if absent:
        message = f"expected the mappings {[*SCENARIOS, 'sizes']}, found none for {absent}"
        raise SkuListsError(path.name, (), message, "add them")
    return document


def _sizes(document: dict[str, Any], file: str) -> dict[str, SkuSpec]:
    sizes = document["sizes"].items()
    return {str(name): SkuSpec.parse(text, file, ("sizes", str(name))) for name, text in sizes}


def _sku_list(section: dict[str, Any], sizes: dict[str, SkuSpec], file: str, name: str) -> SkuList:
    allowed = _machines(section, file, (name, "allow_list"))
    recommended = _machines(section, file, (name, "recommended"))
    minimum = SkuSpec.parse(section.get("minimum"), file, (name, "minimum"))
    if set(recommended) != set(allowed):
        different = sorted(set(recommended) ^ set(allowed))
        message = f"expected the same set as allow_list, found a difference in {different}"
        raise SkuListsError(file, (name, "recommended"), message, "make it an alias of allow_list")
    unsized = [machine for machine in allowed if machine not in sizes]
    if unsized:
        message = f"expected a size for each machine, found none for {unsized}"
        raise SkuListsError(file, (name, "allow_list", str(allowed.index(unsized[0]))), message, "add it under sizes")
    smallest = SkuSpec.smallest([sizes[machine] for machine in allowed])
    if minimum != smallest:
        message = f"expected {smallest}, the minimum over the sizes of allow_list, found {minimum}"
        raise SkuListsError(file, (name, "minimum"), message, "correct it, or the list")
    return SkuList(minimum, allowed, recommended)


def _machines(section: dict[str, Any], file: str, keys: tuple[str, str]) -> tuple[str, ...]:
    names = section.get(keys[-1])
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise SkuListsError(file, keys, f"expected a list of machines, found {names!r}", "write one")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        last = len(names) - 1 - names[::-1].index(twice[0])
        raise SkuListsError(file, (*keys, str(last)), f"expected each machine once, found {twice} twice", "delete one")
    return tuple(names)


def render(spec_text: str, lists: dict[str, SkuList]) -> str:
    """Return the text of spec.yaml with its three marked blocks filled from the lists; the rest is kept.

    Raises:
        SkuListsError: the markers of a block are not there exactly once and in order, or a key of a block is written a
            second time outside of the block.
    """
    for name, body in _blocks(lists).items():
        pattern = re.compile(rf"(?ms)^(  # >>> {name}:[^\n]*\n)(.*?)^(  # <<< {name}\n)")
        count = len(pattern.findall(spec_text))
        if count != 1:
            message = f"expected one block from '# >>> {name}:' to '# <<< {name}', found {count}"
            raise SkuListsError("spec.yaml", (name,), message, "restore its two marker lines")
        # The replacement is a function, because backslashes in a replacement string would be interpreted.
        spec_text = pattern.sub(lambda match, body=body: match[1] + body + match[3], spec_text)
    _load_yaml(spec_text, "spec.yaml")
    return spec_text


def _blocks(lists: dict[str, SkuList]) -> dict[str, str]:
    properties, tags, sku, computes = "", "", "  SKU:\n", "  supportedComputes:\n"
    for name, scenario in lists.items():
        properties += f'  {name}-min-sku-spec: "{scenario.minimum}"\n'
        properties += _folded(f"{name}-recommended-sku", ", ".join(scenario.recommended))
        tags += _folded(f"{name}_compute_allow_list", json.dumps(scenario.allow_list))
        sku += f'    {name}MinSkuSpec: "{scenario.minimum}"\n'
        sku += _sequence(f"{name}RecommendedSkus", scenario.recommended)
        computes += _sequence(f"{name}Computes", scenario.allow_list)
    return {"properties": properties, "tags": tags, "system_metadata": sku + computes}


def _folded(key: str, text: str) -> str:
    """Write a long string over several lines; YAML joins them with single spaces again."""
    lines = textwrap.wrap(text, LINE_WIDTH - 4, break_long_words=False, break_on_hyphens=False)
    return f"  {key}: >-\n" + "".join(f"    {line}\n" for line in lines)


def _sequence(key: str, items: tuple[str, ...]) -> str:
    return f"    {key}:\n" + "".join(f"    - {item}\n" for item in items)


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that is written twice; PyYAML would take the last without a word, and the rendering would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            line = node.start_mark.line + 1
            message = f"expected each key once, found {twice} twice in the mapping that starts at line {line}"
            raise SkuListsError(str(self.name), (), message, "delete one of the two")
        return super().construct_mapping(node, deep)


def _load_yaml(text: str, name: str) -> dict[str, Any]:
    # The loader is a subclass of SafeLoader, so it builds only plain data.
    loader = _UniqueKeyLoader(text)
    loader.name = name
    try:
        document = loader.get_single_data()
    except yaml.YAMLError as exc:
        raise SkuListsError(name, (), f"expected YAML, found {exc}", "correct it") from exc
    finally:
        loader.dispose()
    if not isinstance(document, dict):
        kind = type(document).__name__
        raise SkuListsError(name, (), f"expected a mapping at the top, found {kind}", "correct it")
    return document


def differences(current_text: str, rendered_text: str) -> list[str]:
    """Return how two texts of spec.yaml differ, a line for each value; nothing if they are equal.

    A line is 'tags.inference_compute_allow_list: missing Standard_D4a_v4', or says that only the formatting differs.
    """
    lines = [f"{'.'.join(keys)}: {text}" for keys, text in different_values(current_text, rendered_text).items()]
    if not lines and current_text != rendered_text:
        lines.append("the values agree, the formatting inside the marked blocks does not")
    return lines


def different_values(current_text: str, rendered_text: str) -> dict[tuple[str, ...], str]:
    """Return how the values of two texts of spec.yaml differ, by the keys that lead to each value."""
    current, rendered = (_leaves(_load_yaml(text, "spec.yaml")) for text in (current_text, rendered_text))
    keys = [*rendered, *(key for key in current if key not in rendered)]
    values = {key: (current.get(key, ""), rendered.get(key, "")) for key in keys}
    return {key: _difference(*pair) for key, pair in values.items() if pair[0] != pair[1]}


def _leaves(node: object, keys: tuple[str, ...] = ()) -> dict[tuple[str, ...], str]:
    """Flatten nested mappings: {'tags': {'task': 'fill-mask'}} -> {('tags', 'task'): 'fill-mask'}."""
    if not isinstance(node, dict):
        return {keys: str(node)}
    leaves: dict[tuple[str, ...], str] = {}
    for key, child in node.items():
        leaves |= _leaves(child, (*keys, str(key)))
    return leaves


def _difference(current: str, rendered: str) -> str:
    """Return how two values differ; of two lists of machines, the machines that only one of them has."""
    current_skus, rendered_skus = (re.findall(r"Standard_\w+", text) for text in (current, rendered))
    missing = [name for name in rendered_skus if name not in current_skus]
    extra = [name for name in current_skus if name not in rendered_skus]
    if missing or extra:
        parts = (("missing", missing), ("not in sku_lists.yaml:", extra))
        return "; ".join(f"{words} {', '.join(names)}" for words, names in parts if names)
    if sorted(current_skus) == sorted(rendered_skus) != []:
        return "the same machines in another order or notation"
    return f"expected {rendered or 'nothing'}, found {current or 'nothing'}"


def render_file(folder: Path, write: bool = True) -> list[str]:
    """Render sku_lists.yaml into the spec.yaml beside it; return what changes, a line for each value.

    Raises:
        SkuListsError: a file has a mistake.
        OSError: a file cannot be read or written.
    """
    spec = folder / "spec.yaml"
    text = spec.read_text(encoding="utf-8")
    rendered = render(text, read_sku_lists(folder / "sku_lists.yaml"))
    changes = differences(text, rendered)
    if changes and write:
        spec.write_text(rendered, encoding="utf-8")
    return changes
