"""A job of a pipeline component with three steps, one of them distributed, and of a step that takes what it makes."""

from __future__ import annotations

PREPARE = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: prepare
version: "1"
inputs:
  data:
    type: uri_file
    optional: true
    mode: rw_mount
  table:
    type: mltable
    optional: true
  base:
    type: custom_model
    optional: true
  style:
    type: string
    enum: [plain, loud]
    optional: true
  rate:
    type: number
    default: 1e-8
    optional: true
outputs:
  prepared:
    type: uri_folder
code: ../code
environment: file:../environment/dev/environment.yaml
command: >-
  bash prepare.sh '${{outputs.prepared}}' $[[--data '${{inputs.data}}']] $[[--table '${{inputs.table}}']]
  $[[--base '${{inputs.base}}']] $[[--style ${{inputs.style}}]] $[[--rate ${{inputs.rate}}]]
"""

TRAIN = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: train
version: "1"
inputs:
  prepared:
    type: uri_folder
  flag:
    type: string
outputs:
  trained:
    type: uri_folder
    mode: rw_mount
  report:
    type: uri_folder
code: ../code
environment: file:../environment/dev/environment.yaml
distribution:
  type: pytorch
  process_count_per_instance: 1
command: >-
  bash train.sh '${{inputs.prepared}}' '${{outputs.trained}}' '${{outputs.report}}' '${{inputs.flag}}'
"""

PACK = """\
$schema: https://azuremlschemas.azureedge.net/latest/commandComponent.schema.json
type: command
name: pack
version: "1"
inputs:
  trained:
    type: uri_folder
  label:
    type: string
outputs:
  packed:
    type: uri_file
environment: file:../environment/dev/environment.yaml
command: cat '${{inputs.trained}}'/rank-* > '${{outputs.packed}}'; echo '${{inputs.label}}' >> '${{outputs.packed}}'
"""

TUNE = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineComponent.schema.json
type: pipeline
name: tune
version: "1"
inputs:
  compute_tune:
    type: string
    optional: true
    default: serverless
  instance_type:
    type: string
    optional: true
    default: Standard_nc24rs_v3
  shm_size:
    type: string
    optional: true
    default: 5g
  nodes:
    type: integer
    min: 1
    default: 1
    optional: true
  gpus:
    type: integer
    min: 1
    default: 2
    optional: true
  data:
    type: uri_file
    optional: true
    mode: rw_mount
  table:
    type: mltable
    optional: true
  base:
    type: custom_model
    optional: true
  style:
    type: string
    enum: [plain, loud, shy]
    optional: true
  rate:
    type: number
    default: 1e-8
    optional: true
  flag:
    type: string
    default: /nowhere
  owner:
    type: string
outputs:
  model:
    type: uri_folder
  packed:
    type: uri_file
jobs:
  pack:
    type: command
    component: ./pack.yml
    inputs:
      trained: ${{parent.jobs.train.outputs.trained}}
      label: made by ${{parent.inputs.owner}}, ${{parent.inputs.style}}
    outputs:
      packed: ${{parent.outputs.packed}}
  train:
    type: command
    component: ./train.yml
    compute: ${{parent.inputs.compute_tune}}
    resources:
      instance_count: '${{parent.inputs.nodes}}'
      instance_type: '${{parent.inputs.instance_type}}'
      shm_size: '${{parent.inputs.shm_size}}'
    distribution:
      type: pytorch
      process_count_per_instance: '${{parent.inputs.gpus}}'
    environment_variables:
      OWNER: ${{parent.inputs.owner}}
    inputs:
      prepared: ${{parent.jobs.prepare.outputs.prepared}}
      flag: ${{parent.inputs.flag}}
    outputs:
      trained: ${{parent.outputs.model}}
  prepare:
    type: command
    component: ./prepare.yml
    inputs:
      data: ${{parent.inputs.data}}
      table: ${{parent.inputs.table}}
      base: ${{parent.inputs.base}}
      style: ${{parent.inputs.style}}
      rate: ${{parent.inputs.rate}}
"""

PIPELINE_JOB = """\
$schema: https://azuremlschemas.azureedge.net/latest/pipelineJob.schema.json
type: pipeline
display_name: tune
experiment_name: tuning
settings:
  default_compute: azureml:gpu-cluster
inputs:
  data:
    type: uri_file
    path: data.txt
  flag: /nowhere
outputs:
  shown:
    type: uri_file
jobs:
  look:
    type: command
    command: cat '${{inputs.model}}'/rank-* > '${{outputs.seen}}'; echo seen >> '${{outputs.seen}}'
    environment: file:./environment/dev/environment.yaml
    inputs:
      model: ${{parent.jobs.tuned.outputs.model}}
    outputs:
      seen:
        type: uri_file
  tuned:
    type: pipeline
    component: ./components/tune.yml
    inputs:
      data: ${{parent.inputs.data}}
      flag: ${{parent.inputs.flag}}
      owner: us
    outputs:
      packed: ${{parent.outputs.shown}}
"""

PREPARE_SH = """\
prepared=$1; shift
echo "arguments: $*" | tee "$prepared/rows.txt"
"""

# What it does after its first checkpoint is up to the file that `flag` names, a bash script.
TRAIN_SH = """\
echo "found: $(cd "$2" && ls | tr '\\n' ' ')"
echo half > "$3/half.txt"
echo "$RANK of $WORLD_SIZE for $OWNER" >> "$2/checkpoint-$RANK"
[ ! -e "$4" ] || . "$4"
echo "rank $RANK" > "$2/rank-$RANK"
"""

PIPELINE_FILES = {
    "components/prepare.yml": PREPARE,
    "components/train.yml": TRAIN,
    "components/pack.yml": PACK,
    "components/tune.yml": TUNE,
    "code/prepare.sh": PREPARE_SH,
    "code/train.sh": TRAIN_SH,
    "job.yml": PIPELINE_JOB,
}
"""What is written beside, or over, the files of the small job."""
