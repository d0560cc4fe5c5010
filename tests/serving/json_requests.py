"""JSON that is a request of some client, nearly one, or anything at all, as hypothesis strategies."""

from __future__ import annotations

from hypothesis import strategies as st

from serving.requests.schema import DIALECTS

A, B = "a [MASK]", "b [MASK] [MASK]"
COLUMNS = ["input_string", "text", "text_pair", "question", "context"]
KEYS = st.sampled_from(
    ["columns", "data", "index", "parameters", "params", "top_k", "targets", "doc_stride", "options"]
    + COLUMNS
    + [dialect.key for dialect in DIALECTS]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([A, B]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | KEYS, inner, max_size=4),
    max_leaves=12,
)
ROWS = st.dictionaries(st.sampled_from(COLUMNS), JSON, max_size=3)
BODIES = st.dictionaries(KEYS, JSON | ROWS | st.lists(ROWS, max_size=2), max_size=3)
