"""Endpoints and deployments as Azure's reference describes them, with the environment that they name, and a table."""

from __future__ import annotations

SCHEMAS = "https://azuremlschemas.azureedge.net/latest"

ONLINE_ENDPOINT = f"""\
$schema: {SCHEMAS}/managedOnlineEndpoint.schema.json
name: bert-base-cased
description: Masked words of English sentences.
auth_mode: key
traffic:
  blue: 90
  green: 10
"""

ONLINE_DEPLOYMENT = f"""\
$schema: {SCHEMAS}/managedOnlineDeployment.schema.json
name: blue
endpoint_name: bert-base-cased
model: azureml:bert-base-cased:17
code_configuration:
  code: ..
  scoring_script: score.py
environment: file:../environment/serving/environment.yaml
environment_variables:
  GUNICORN_CMD_ARGS: --threads 256
  BERT_SERVING_MAX_QUEUE: "128"
  BERT_SERVING_DEADLINE_MS: "4000"
instance_type: Standard_DS3_v2
instance_count: 1
app_insights_enabled: false
request_settings:
  request_timeout_ms: 5000
  max_concurrent_requests_per_instance: 128
  max_queue_wait_ms: 500
liveness_probe:
  initial_delay: 30
  period: 10
  timeout: 2
  success_threshold: 1
  failure_threshold: 30
readiness_probe:
  initial_delay: 10
  period: 10
  timeout: 2
  success_threshold: 1
  failure_threshold: 30
"""

GREEN_DEPLOYMENT = ONLINE_DEPLOYMENT.replace("name: blue", "name: green")

BATCH_ENDPOINT = f"""\
$schema: {SCHEMAS}/batchEndpoint.schema.json
name: bert-base-cased-batch
auth_mode: aad_token
defaults:
  deployment_name: files
"""

BATCH_DEPLOYMENT = f"""\
$schema: {SCHEMAS}/modelBatchDeployment.schema.json
name: files
endpoint_name: bert-base-cased-batch
type: model
model: azureml:bert-base-cased:17
code_configuration:
  code: ..
  scoring_script: deployment/batch_score.py
environment: file:../environment/serving/environment.yaml
compute: azureml:cpu-cluster
resources:
  instance_count: 1
settings:
  mini_batch_size: 1
  max_concurrency_per_instance: 1
  output_action: append_row
  output_file_name: predictions.jsonl
  retry_settings:
    max_retries: 3
    timeout: 300
  error_threshold: -1
  logging_level: info
"""

SCORE = '''\
"""Score."""


def init() -> None:
    """Load the model."""


def run(data: str) -> list[str]:
    """Answer."""
    return [data]
'''

ENVIRONMENT = f"""\
$schema: {SCHEMAS}/environment.schema.json
name: bert-base-cased-serving
version: "1"
description: What scoring needs.
build:
  path: .
  dockerfile_path: Dockerfile
"""

DOCKERFILE = """\
FROM python:3.11-slim-bookworm

COPY requirements.txt /tmp/requirements.txt
RUN pip install --no-cache-dir --require-hashes --requirement /tmp/requirements.txt && \\
    rm /tmp/requirements.txt

RUN useradd --create-home --uid 1000 serving
USER serving
"""

REQUIREMENTS = f"""\
numpy==2.4.1 \\
    --hash=sha256:{"0" * 64} \\
    --hash=sha256:{"1" * 64}
    # via bert-base-cased-asset (pyproject.toml)
onnxruntime==1.31.0 \\
    --hash=sha256:{"2" * 64}
tokenizers==0.23.1 \\
    --hash=sha256:{"3" * 64}
"""

TABLE = """\
type: mltable
paths:
  - file: ./rows.jsonl
transformations:
  - read_json_lines:
      encoding: utf8
"""

FILES = {
    "deployment/online-endpoint.yml": ONLINE_ENDPOINT,
    "deployment/online-deployment-blue.yml": ONLINE_DEPLOYMENT,
    "deployment/online-deployment-green.yml": GREEN_DEPLOYMENT,
    "deployment/batch-endpoint.yml": BATCH_ENDPOINT,
    "deployment/batch-deployment.yml": BATCH_DEPLOYMENT,
    "deployment/batch_score.py": SCORE,
    "score.py": SCORE,
    "environment/serving/environment.yaml": ENVIRONMENT,
    "environment/serving/Dockerfile": DOCKERFILE,
    "environment/serving/requirements.txt": REQUIREMENTS,
    "tables/MLTable": TABLE,
    "tables/rows.jsonl": '{"input_string": "Paris is the [MASK] of France.", "title": "capital"}\n',
}
