"""`asset validate`: what is wrong in the files of the asset, before Azure or a user finds out.

Every kind of file has a module with a function `check(file, asset)` that yields findings: the Azure SDK's own, and those
of rules that it has not. `kinds` says which module a file is for, `collect` goes through the files.
"""
