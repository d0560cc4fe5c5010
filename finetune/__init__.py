"""Training of BERT-family models. Torch lives here and in the tests, never in `serving` or `score`."""
