"""`asset sign` and `asset verify`: the signature of a model folder, made and checked with the model-signing package.

command   the two commands: what they print and end with
folder    sign a folder, verify a folder
errors    what can go wrong

What a server checks when it starts is in serving/model/trust.py and serving/model/signature.py, which need no such package.
"""
