"""The scoring runtime: a Hugging Face checkpoint folder in, answers out, on ONNX Runtime.

    score.py -> service -> schema      the request, in each client's dialect, and the answer in its shape
                        -> fill_mask   texts to candidates: windows, targets, decoding
                             -> tokenizer, engine
                                          engine -> compile -> graph -> checkpoint

Never torch, never a hub, never a pickle.
"""
