"""The engine's own int8 kernels in C, for CPUs with AMX or AVX512-VNNI; ONNX Runtime serves all others.

bert.c runs a whole batch in one call: rows without padding, threads in step, each phase in the cache. `library` builds
and loads it, `weights` packs a checkpoint for it, `session` is what the rest of `serving` sees.
"""
