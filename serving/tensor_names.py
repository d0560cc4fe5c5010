"""One set of names for a checkpoint's tensors, whichever of several its writer gave them.

The names are those of today's transformers for BERT without the `bert.` prefix: `embeddings.LayerNorm.weight`,
`encoder.layer.0.output.dense.bias`, `pooler.dense.weight`, `classifier.weight`, `qa_outputs.weight`, …
"""

from __future__ import annotations

import re

WORD_EMBEDDINGS = "embeddings.word_embeddings.weight"
DECODER = "cls.predictions.decoder.weight"

_RENAMED = (
    # Google's
    (r"\bLayerNorm\.gamma$", "LayerNorm.weight"),
    (r"\bLayerNorm\.beta$", "LayerNorm.bias"),
    (r"^cls\.predictions\.decoder\.bias$", "cls.predictions.bias"),
    # DistilBERT's
    (r"^transformer\.layer\.", "encoder.layer."),
    (r"\.attention\.q_lin\.", ".attention.self.query."),
    (r"\.attention\.k_lin\.", ".attention.self.key."),
    (r"\.attention\.v_lin\.", ".attention.self.value."),
    (r"\.attention\.out_lin\.", ".attention.output.dense."),
    (r"\.sa_layer_norm\.", ".attention.output.LayerNorm."),
    (r"\.ffn\.lin1\.", ".intermediate.dense."),
    (r"\.ffn\.lin2\.", ".output.dense."),
    (r"\.output_layer_norm\.", ".output.LayerNorm."),
    (r"^vocab_transform\.", "cls.predictions.transform.dense."),
    (r"^vocab_layer_norm\.", "cls.predictions.transform.LayerNorm."),
    (r"^vocab_projector\.weight$", DECODER),
    (r"^vocab_projector\.bias$", "cls.predictions.bias"),
    (r"^pre_classifier\.", "pooler.dense."),
)


def canonical_name(name: str) -> str:
    """Translate a tensor's name, e.g. DistilBERT's `distilbert.transformer.layer.0.ffn.lin2.bias`.

    >>> canonical_name("bert.embeddings.LayerNorm.gamma")
    'embeddings.LayerNorm.weight'
    """
    name = name.removeprefix("bert.").removeprefix("distilbert.")
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name
