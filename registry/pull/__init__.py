"""`asset pull` and `asset package`: a model from the Hugging Face hub, checked, as an MLflow folder that is registered.

pinned        which repository and commit, and where to take another
hub           what the hub lists of a commit: names, sizes, hashes
transfer      bytes of a file, however often the connection is cut
staging       the folder beside the final one, and how it becomes that in one act
pull          the whole way
package       the MLflow files of a model folder
registration  the version in the local MLflow registry
"""
