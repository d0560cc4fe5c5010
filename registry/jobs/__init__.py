"""Azure ML pipeline jobs, run on this machine from the files that Azure runs.

A job file goes through these, each of which knows nothing of the next: `source` reads it with the component files it
names, a pipeline component as a job below the job, `settings` applies `--set`, `given` follows what an input is bound to,
`checks` and `sdk` find what is wrong in it, `plan` turns it into steps, one after the other (`finetune.train.__main__`), `runner`
runs them and keeps them in a `run_folder`, and `tracking` tells MLflow.
"""
