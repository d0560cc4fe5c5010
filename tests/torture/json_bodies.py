"""Bodies that are JSON: whole requests with hostile values in them, and JSON that is none, drawn by hypothesis."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies as st

from serving.answering.models import model_class
from serving.requests.schema import DIALECTS
from serving.tasks import Task
from tests.serving.json_requests import BODIES, JSON
from tests.torture.answers import answered, services
from tests.torture.attack import KINDS

WORDS = ("[MASK]", "the cat", "sat on", "##a", "[CLS]", "[SEP]", "[PAD]", "\x00", "\u202e", "\ud800", "é" * 9, "moon?")
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(max_size=20), max_size=12).map(" ".join)
LONG = st.tuples(st.sampled_from(WORDS), st.integers(1, 2000)).map(lambda drawn: (drawn[0] + " ") * drawn[1])
TEXT = st.one_of(TEXTS, TEXTS, TEXTS.map(lambda text: f"the [MASK] {text}"), LONG)

NUMBERS = st.sampled_from([-1, 0, 1, 2, 5, 47, 48, 100, 1000, 1001, 2**31, 2**63, 10**30, 0.5, 1e308, True, None])
PARAMETERS = st.dictionaries(
    st.sampled_from(
        ["top_k", "targets", "function_to_apply", "max_answer_length", "max_answer_len", "doc_stride", "max_seq_len"]
        + ["align_to_words", "handle_impossible_answer"]
    ),
    NUMBERS | TEXT | st.lists(TEXT, max_size=4) | st.sampled_from(["softmax", "sigmoid", "none"]),
    max_size=3,
)


@st.composite
def requests(draw: st.DrawFn, task: Task) -> dict[str, Any]:
    """Draw a request of a dialect: rows as its clients write them, of the task for the most part, and parameters."""
    fields = model_class(task).input.fields
    dialect = draw(st.sampled_from([dialect for dialect in DIALECTS if dialect.serves(fields)]))
    if fields.pair and draw(st.booleans()):
        row: Any = {fields.text[0]: draw(TEXT), fields.pair[0]: draw(TEXT)}
    else:
        row = draw(TEXT)
    written: Any = dialect.write(row)
    if isinstance(written, list):
        written = (written + draw(st.lists(TEXT.map(dialect.write).map(_first), max_size=4))) * draw(st.integers(1, 3))
    body = {dialect.key: written}
    for name in draw(st.sets(st.sampled_from(["parameters", "params", "options"]), max_size=1)):
        body[name] = draw(PARAMETERS)
    return body


def _first(written: Any) -> Any:  # noqa: ANN401 - JSON
    return written[0] if isinstance(written, list) and written else written


class JsonBodies:
    """Has the service of each task answer them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._services, self._seed = services(folder), seed

    def watched(self) -> int:
        """Return this process: the services run in it."""
        return os.getpid()

    def case(self, number: int) -> Counter[str]:
        """Answer as many bodies as a case has inputs, for one task."""
        task: Task = list(self._services)[number % len(self._services)]
        outcomes: Counter[str] = Counter()

        @hypothesis.seed(f"{self._seed}/{number}")
        @hypothesis.settings(
            max_examples=KINDS["json"].inputs,
            deadline=None,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
        )
        @hypothesis.given(body=st.one_of(requests(task), requests(task), BODIES, JSON))
        def answer(body: Any) -> None:  # noqa: ANN401 - JSON
            outcomes[f"{task} {answered(self._services[task], json.dumps(body))}"] += 1

        answer()
        return outcomes

    def close(self) -> None:
        """Nothing is left running."""
