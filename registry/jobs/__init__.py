"""Azure ML pipeline jobs, run on this machine from the files that Azure runs.

A job file goes through these, each of which knows nothing of the next: `source` reads it with the component files it
names, `settings` applies `--set`, `checks` and `sdk` find what is wrong in it, `plan` turns it into steps, `runner` runs
them one after the other and keeps them in a `run_folder`, and `tracking` tells MLflow.
"""
