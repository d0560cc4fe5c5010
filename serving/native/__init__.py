"""The engine's own int8 kernels in C, for CPUs with AMX or AVX512-VNNI; ONNX Runtime serves on all other CPUs.

bert.c runs a whole batch in one call: rows without padding, threads in step, each phase in the cache. `library` builds
and loads the kernels, `weights` packs a checkpoint for them, and `session` runs batches.
"""
