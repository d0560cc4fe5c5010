"""The files of a small asset, in the form that Azure documents, for the tests of the client."""

from __future__ import annotations

from pathlib import Path

from tests.asset.local.jobs.conftest import COUNT, COUNT_SH, ENVIRONMENT, JOB, SHOW, SHOW_SH

SCHEMA = "https://azuremlschemas.azureedge.net/latest"

SCORE = """
import os

def init():
    print("a model of", sorted(os.listdir(os.environ["AZUREML_MODEL_DIR"])), flush=True)

def run(raw_data):
    return ["capital", "beautiful"]
"""

BATCH_SCORE = """
def init():
    pass

def run(mini_batch):
    return [f"{path}: done" for path in mini_batch]
"""

FILES = {
    "model/weights.bin": "the weights",
    "model.yml": f"""\
$schema: {SCHEMA}/model.schema.json
name: tiny
version: 17
type: custom_model
path: ./model
description: A model for tests.
tags: {{task: fill-mask}}
""",
    "environment/serving/Dockerfile": "FROM python:3.11-slim\n",
    "environment/serving/environment.yaml": f"""\
$schema: {SCHEMA}/environment.schema.json
name: tiny-serving
version: "3"
build:
  path: .
  dockerfile_path: Dockerfile
""",
    "app/score.py": SCORE,
    "app/batch_score.py": BATCH_SCORE,
    "deployment/online-endpoint.yml": f"""\
$schema: {SCHEMA}/managedOnlineEndpoint.schema.json
name: tiny-endpoint
description: Masked words.
auth_mode: key
tags: {{team: ours}}
""",
    "deployment/online-deployment-blue.yml": f"""\
$schema: {SCHEMA}/managedOnlineDeployment.schema.json
name: blue
endpoint_name: tiny-endpoint
model: azureml:tiny:17
code_configuration:
  code: ../app
  scoring_script: score.py
environment: azureml:tiny-serving:3
environment_variables:
  GUNICORN_CMD_ARGS: --threads 16
instance_type: Standard_DS3_v2
instance_count: 1
request_settings:
  request_timeout_ms: 20000
  max_concurrent_requests_per_instance: 8
liveness_probe:
  initial_delay: 5
  period: 7
  timeout: 3
  failure_threshold: 4
""",
    "deployment/batch-endpoint.yml": f"""\
$schema: {SCHEMA}/batchEndpoint.schema.json
name: tiny-batch
auth_mode: aad_token
""",
    "deployment/batch-deployment.yml": f"""\
$schema: {SCHEMA}/modelBatchDeployment.schema.json
type: model
name: rows
endpoint_name: tiny-batch
model: azureml:tiny:17
code_configuration:
  code: ../app
  scoring_script: batch_score.py
environment: azureml:tiny-serving:3
compute: azureml:cpu-cluster
resources:
  instance_count: 1
settings:
  mini_batch_size: 5
  max_concurrency_per_instance: 2
  output_action: append_row
  output_file_name: rows.jsonl
  error_threshold: 3
  retry_settings:
    max_retries: 2
    timeout: 60
  environment_variables:
    BERT_SERVING_PRECISION: fp32
""",
    "request.json": '{"input_data": ["Paris is the [MASK] of France.", "Today is a [MASK] day!"]}',
    "rows.jsonl": '{"input_string": "A [MASK]."}\n',
    "environment/dev/environment.yaml": ENVIRONMENT,
    "components/count.yml": COUNT,
    "components/show.yml": SHOW,
    "code/count.sh": COUNT_SH,
    "code/show.sh": SHOW_SH,
    "job.yml": JOB.replace("azureml:cpu-cluster", "serverless"),
    "data.txt": "one\ntwo\nthree\n",
}


def write_asset(folder: Path) -> Path:
    """Write the files into a folder; return it."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder
