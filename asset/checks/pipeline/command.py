"""The command of a step: values replace ${{inputs.x}} and ${{outputs.y}}, as on Azure.

A value is put in unchanged; the command must quote it if needed ('${{inputs.text}}'). A part between $[[ and ]] is kept
if every input that it names has a value, else it is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from asset.findings import JobError

GROUP = re.compile(r"\$\[\[(.*?)\]\]", re.DOTALL)
REFERENCE = re.compile(r"\$\{\{\s*(inputs|outputs)\.([\w.-]+)\s*\}\}")


ESCAPED = "'\\''"
"""An apostrophe inside a text in apostrophes, in the shell's notation."""


def references(command: str, kind: str) -> set[str]:
    """Return the names of the inputs (or outputs) in a command or a part of one."""
    return {match[2] for match in REFERENCE.finditer(command) if match[1] == kind}


def resolve(command: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    """Fill in a command: "cat ${{inputs.a}} $[[--b ${{inputs.b}}]]" with {"a": "/x"} gives "cat /x ".

    Raises:
        JobError: the command names an input without a value outside $[[ ]], or an output that is not declared.
    """
    values = {"inputs": inputs, "outputs": outputs}

    def group(match: re.Match[str]) -> str:
        return match[1] if references(match[1], "inputs") <= set(inputs) else ""

    def value(match: re.Match[str]) -> str:
        kind, name = match.groups()
        if name not in values[kind]:
            fix = "give it one, or write that part of the command in $[[ ]]" if kind == "inputs" else "declare it"
            raise JobError(f"expected a value for ${{{{{kind}.{name}}}}} in the command, found none; {fix}")
        return values[kind][name]

    return REFERENCE.sub(value, GROUP.sub(group, command))


def ends_quotation(command: str, inputs: Mapping[str, str]) -> Iterator[str]:
    """Yield the inputs whose apostrophe would end the quotation around them: '${{inputs.x}}' with {"x": "it's"}."""
    for name, value in inputs.items():
        if "'" in value.replace(ESCAPED, "") and re.search(
            rf"'\$\{{\{{\s*inputs\.{re.escape(name)}\s*\}}\}}'", command
        ):
            yield name
