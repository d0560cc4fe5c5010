"""A metrics.json of each task with everything in it, some of it hostile; the figures are invented."""

from __future__ import annotations

from typing import Any

TASKS = ("fill-mask", "text-classification", "question-answering")
PLOTS = {
    "fill-mask": ["reliability", "histogram", "slices-0", "slices-1", "slices-2"],
    "text-classification": ["reliability", "confusion", "slices-0"],
    "question-answering": ["reliability", "histogram", "slices-0"],
}
"""The plots on a task's page, in order."""

HOSTILE = (
    '</script><script>document.title="run"</script><img src=x onerror="document.title=1"> [MASK] & "quoted" \'too\' '
    "{{ 7 * 7 }} ]]> --> שלום עולם 🙂👩‍🔬 \ud800 \x00 $\\frac{1}{2}$ https://example.org/x.js " + "unbroken" * 40
)
"""What users send: markup, both directions, emoji, half a letter, mathematics, and a word wider than any screen."""


def metric(
    name: str, value: float | None, width: float | None = 0.02, rows: int = 1940, **more: object
) -> dict[str, Any]:
    """Return a metric in metrics.json's form, with an interval that is so wide to both sides."""
    low, high = (None, None) if value is None or width is None else (value - width, value + width)
    described = {"definition": f"What {name} is, in one sentence that says over what it is taken.", "source": ""}
    found = {"name": name, "value": value, "low": low, "high": high, "rows": rows, "unit": "share"}
    return {**found, "better": "higher", "headline": False, **described, **more}


def slices(by: str, metric: str, **values: float) -> list[dict[str, Any]]:
    """Return a slice for each name and value."""
    return [
        {
            "by": by,
            "name": name,
            "metric": metric,
            "value": v,
            "low": v - 0.04,
            "high": min(1, v + 0.05),
            "rows": 1200 // n,
        }
        for n, (name, v) in enumerate(values.items(), 1)
    ]


def example(line: int, text: object, expected: object, *top: tuple[str, float], **more: object) -> dict[str, Any]:
    """Return an example whose first candidate is what was predicted."""
    predicted = top[0][0] if top else ""
    found = {"line": line, "input": text, "expected": expected, "predicted": predicted, "top": [list(c) for c in top]}
    return {**found, "score": dict(top).get(str(expected), 0.0), **more}


def bins() -> list[dict[str, Any]]:
    rows = (310, 402, 344, 251, 190, 140, 112, 86, 61, 0)
    right = (0.04, 0.11, 0.19, 0.27, 0.33, 0.44, 0.5, 0.62, 0.74, None)
    said = (0.06, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, None)
    return [
        {"low": n / 10, "high": (n + 1) / 10, "rows": r, "confidence": c, "accuracy": a}
        for n, (r, c, a) in enumerate(zip(rows, said, right, strict=True))
    ]


def histogram(name: str) -> dict[str, Any]:
    counts = [104, 3, 12, 21, 18, 40, 66, 31, 29, 1616]
    return {"name": name, "edges": [n / 10 for n in range(11)], "counts": counts}


def model(**more: object) -> dict[str, Any]:
    summary = {"summary": True, "model": "bert-base-cased", "model_type": "bert", "precision": "int8", "device": "cpu"}
    counted = {"engine": "ONNX Runtime 1.31.0", "rows_read": 1942, "rows_predicted": 1940, "rows_rejected": 2}
    return {**summary, **counted, "seconds": 1.9, "rows_per_second": 1021.3, **more}


def fill_mask() -> dict[str, Any]:
    url = "Kauf and Ivanova 2023, https://aclanthology.org/2023.acl-short.80"
    nats = {"unit": "nats", "better": "lower"}
    return {
        "model": model(truncated_rows=3),
        "metrics": [
            metric("accuracy@1", 0.241, 0.019, headline=True, source="https://arxiv.org/abs/1810.04805"),
            metric("accuracy@5", 0.436, 0.022, headline=True),
            metric("mean reciprocal rank", 0.3312, 0.018, unit="number", headline=True),
            metric("negative log likelihood", 3.4219, 0.11, headline=True, **nats),
            metric("perplexity", 30.62, 3.4, unit="perplexity", better="lower"),
            metric("expected calibration error", 0.0634, 0.012, better="lower", headline=True),
            metric("exact accuracy@1", 0.2263),
            metric("accuracy@1, several pieces", None, rows=0),
            metric("pseudo-log-likelihood", -13.24, 0.8, rows=200, unit="nats", source=url),
            metric("pseudo-perplexity", 12345678.9, None, rows=200, unit="perplexity", better="lower", source=url),
        ],
        "slices": [
            *slices(
                "word frequency",
                "accuracy@1",
                **{"very common (Zipf 6 and more)": 0.412, "medium (Zipf 4 to 5)": 0.203, "rare (below Zipf 4)": 0.081},
            ),
            *slices("sentence length", "accuracy@1", **{"1 to 10 words": 0.17, "11 to 20": 0.23, "21 and more": 0.29}),
            *slices("position of the mask", "accuracy@1", beginning=0.19, middle=0.26, end=0.22),
        ],
        "plots": {"reliability": {"bins": bins()}, "histogram": histogram("probability of the masked word")},
        "left_out": [{"name": "pseudo-log-likelihood, within words", "reason": "no text was scored so; ask for it."}],
        "examples": {
            "best": [
                example(
                    3,
                    "Paris is the [MASK] of France.",
                    "capital",
                    *(("capital", 0.93), ("heart", 0.02), ("center", 0.01), ("city", 0.004), ("pride", 0.0004)),
                ),
                example(
                    1204,
                    "[MASK] [MASK] is the largest city of the United States.",
                    ["New", "York"],
                    top=[[["New", 0.88], ["Los", 0.06]], [["York", 0.9], ["Angeles", 0.05], ["Jersey", 0.01]]],
                    predicted=["New", "York"],
                    score=0.79,
                ),
            ],
            "worst": [
                example(
                    77,
                    "The early part of the film takes too much time [MASK] trivial details leading up to the final one.",
                    "with",
                    *(("on", 0.61), ("for", 0.2), ("discussing", 0.05), ("explaining", 0.02), ("in", 0.01)),
                ),
                example(
                    78,
                    "The [MASK] of [MASK] and Juliet.",
                    "Romeo",
                    ("Adam", 0.4),
                    ("Romeo", 0.2),
                    mask=2,
                    file="y/<plays>.csv",
                ),
                example(812, HOSTILE, "שלום", ("<b>bold</b>", 0.5), ("🙂", 0.3), ("unbroken" * 12, 0.1)),
            ],
        },
    }


def text_classification() -> dict[str, Any]:
    labels = ["World", "Sports", "Business", "Sci/Tech"]
    return {
        "model": model(model="models/my team's <classifier>", precision="fp32", engine="ONNX Runtime 1.31.0"),
        "metrics": [
            metric("accuracy", 0.9263, 0.011, headline=True),
            metric("macro F1", 0.9258, 0.011, headline=True),
            metric("Matthews correlation", 0.9017, 0.015, unit="number", headline=True),
            metric("log loss", 0.2231, 0.03, unit="nats", better="lower", headline=True),
        ],
        "slices": slices("label", "accuracy", **{name: 0.97 - 0.03 * n for n, name in enumerate(labels)}),
        "plots": {
            "reliability": {"bins": bins()},
            "confusion": {
                "labels": labels,
                "counts": [[441, 8, 21, 12], [4, 489, 2, 1], [18, 3, 438, 30], [14, 0, 40, 419]],
            },
        },
        "examples": {
            "best": [
                example(8, "Dollar near recent lows, awaits CPI.", "Business", ("Business", 0.998), ("World", 0.001))
            ],
            "worst": [example(9, {"text": HOSTILE, "text_pair": "b"}, "Sports", ("World", 0.99), ("Sports", 0.004))],
        },
    }


def question_answering() -> dict[str, Any]:
    context = "A pharmacy technician once qualified has to register as a professional on the register. " * 12
    context += "Denver Broncos is the team that won, as https://example.org says."
    asked = f"Which team won?\n{context}"
    return {
        "model": model(windowed_rows=41, precision="fp16", device="cuda"),
        "metrics": [
            metric("exact match", 0.806, 0.02, headline=True),
            metric("F1", 0.8823, 0.016, headline=True),
        ],
        "slices": slices("length of the context", "F1", **{"to 100 words": 0.91, "more": 0.86}),
        "plots": {"reliability": {"bins": bins()}, "histogram": histogram("F1 of an answer")},
        "examples": {
            "best": [
                example(
                    5,
                    asked,
                    {"text": ["Denver Broncos", "Denver Broncos"], "answer_start": [1, 1]},
                    ("Denver Broncos", 1.07),
                    ("the Denver Broncos", 0.02),
                )
            ],
            "worst": [example(6, HOSTILE, ["the team", "team"])],
        },
    }


def sample(task: str) -> dict[str, Any]:
    """Return a metrics.json of a task with everything in it."""
    made = {
        "fill-mask": fill_mask,
        "text-classification": text_classification,
        "question-answering": question_answering,
    }
    settings = {"bootstrap_samples": 1000, "confidence": 0.95, "seed": 20260801, "pseudo_perplexity": True}
    return {
        "task": task,
        "data": {"rows": 1940, "rejected": 2, "several_pieces": 57},
        "settings": settings,
        **made[task](),
    }
