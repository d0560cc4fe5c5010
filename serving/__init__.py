"""The scoring runtime: a Hugging Face checkpoint folder in, answers out, on our kernels or ONNX Runtime.

    score.py -> service -> schema      the request, in each client's dialect -> rows, parameters
                        -> fill_mask, text_classification, question_answering
                             -> tokenizer, pair_tokenizer   texts to passages
                             -> engine -> heads             passages to scores, in batches
                             -> backend -> cuda             which engine, on the CPU or a GPU, in which precision
                             -> compile -> graph, reference -> checkpoint -> tasks, tensor_names
                        -> answers     the answer, in the client's shape

Never torch, never a hub, never a pickle.
"""
