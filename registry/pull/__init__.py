"""`asset pull` and `asset package`: a model from the Hugging Face hub, checked, as an MLflow folder that is registered.

command       the two commands: what they print and end with
pinned        which repository and commit, and where to, by the options
hub           what the hub lists of a commit: names, sizes, hashes; its errors as ours
selection     which of the files; which commit, where the pinned one has no safetensors
transfer      the bytes of a file, however often the connection is cut, by the rules of patience
staging       the folder beside the final one, and how it becomes that in one act
pull          the whole way
record        pulled.json: what came from where
package       the MLflow files of a model folder
registration  the version in the local MLflow registry
"""
