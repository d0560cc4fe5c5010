"""The published description of requests and answers, as GET /swagger.json gives it.

It is made from what the service itself reads: DIALECTS and FIELDS, PARAMETERS, the codes of errors and the defaults of
Settings. `python -m serving.openapi` writes it beside score.py, where the inference server looks for it.
"""
