"""`asset doctor`: what is wrong with this machine, its environments or a deployment, before something else fails.

Each check is a function of a `Machine` (machine.py), and gives a `Check` (check.py) or several. `command` runs them all.
"""
