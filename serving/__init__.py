"""The scoring runtime: answers requests with a Hugging Face checkpoint folder, on our own kernels or ONNX Runtime.

    score.py -> http/                  set up the inference server: logs, early refusals, stalled clients
             -> answering/service      a request's body -> an answer with its status
                  -> requests/         rows and parameters, in each client's dialect
                  -> answering/models  a task's module, by the table in tasks: fill_mask, text_classification, …
                       -> model/       tokenizer, checkpoint, signature
                       -> engine/      passages to scores, in batches; the compiler and its reference
                            -> native/ our int8 kernels

The runtime never imports torch, never calls a hub and never reads a pickle.
"""
