"""The files that make a checkpoint folder an MLflow model, for each task, tuned here or not.

    MLmodel  requirements.txt  conda.yaml  python_env.yaml  input_example.json  components/tokenizer/
    code/ (question answering)

transformers, MLflow and score.py load the folder; the weights and config.json stay in its root.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from finetune.checkpoint_files import TOKENIZER_FILES
from serving.errors import ModelFolderError
from serving.tasks import TASKS, Task

LOADER = Path(__file__).with_name("question_answering_pyfunc.py")
"""The loader of a question-answering model. It is copied into the folder, because neither transformers 5 nor MLflow has one."""

NEEDED = ("mlflow", "torch", "transformers")
"""The packages that loading needs, without their own dependencies."""

FAMILIES = {"bert": "Bert", "distilbert": "DistilBert"}
EXAMPLES = {
    "input_string": "Paris is the [MASK] of France.",
    "text": "The room was quiet and the staff kind.",
    "text_pair": "Nobody was rude to us.",
    "question": "Where did the cat sleep?",
    "context": "The cat slept on the roof, and the dog below it.",
}
"""The input example is made up: a row of the data would publish a user's text."""


@dataclass(frozen=True)
class Described:
    """The facts about a checkpoint for MLmodel: its task, input columns, config.json, name and metadata.

    `fp32` is false if the weights have another type, in which the pipelines would compute; score.py computes in fp32.
    """

    task: Task
    columns: list[str]
    config: Mapping[str, Any]
    name: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    fp32: bool = True


def columns_of(task: Task, pairs: bool = False) -> list[str]:
    """Return the columns of a task's input frame.

    >>> columns_of("fill-mask")
    ['input_string']
    """
    facts = TASKS[task]
    return [*facts.columns, *([facts.pair_column] if pairs and facts.pair_column else [])]


def write_files(checkpoint: Path, folder: Path, described: Described) -> None:
    """Write all files except the weights, config.json and the tokenizer of the root; MLmodel comes last.

    `checkpoint` has config.json and the tokenizer, and may be the folder itself. Raises ModelFolderError if transformers
    does not load the tokenizer, and OSError if the folder cannot be written.
    """
    positions = int(described.config["max_position_embeddings"])
    copy_tokenizer(checkpoint, folder / "components" / "tokenizer", positions)
    if TASKS[described.task].pipeline is None:
        (folder / "code").mkdir(exist_ok=True)
        shutil.copyfile(LOADER, folder / "code" / LOADER.name)
    _write_environment(folder)
    row = [EXAMPLES[name] for name in described.columns]
    write_json(folder / "input_example.json", {"columns": described.columns, "data": [row]})
    (folder / "MLmodel").write_text(_mlmodel(_tokenizer_class(checkpoint), described), encoding="utf-8")


def copy_tokenizer(checkpoint: Path, folder: Path, positions: int) -> None:
    """Copy the tokenizer's files; add the model's length if it is missing, so that texts are cut to it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in TOKENIZER_FILES:
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)
    file = folder / "tokenizer_config.json"
    config = read_object(file) if file.is_file() else {"tokenizer_class": "BertTokenizer"}
    longest = config.get("model_max_length")
    config["model_max_length"] = min(longest, positions) if isinstance(longest, int | float) else positions
    for key in ("name_or_path", "tokenizer_file"):
        config.pop(key, None)
    write_json(file, config)


def _write_environment(folder: Path) -> None:
    """Write the packages that loading needs, at this environment's versions, in MLflow's three formats."""
    # A local version of torch, such as 2.13.0+cpu, is not on the public index.
    pins = [f"{name}=={version(name).partition('+')[0]}" for name in NEEDED]
    python = platform.python_version()
    (folder / "requirements.txt").write_text("".join(f"{pin}\n" for pin in pins), encoding="utf-8")
    tools = ["pip", "setuptools", "wheel"]
    _write_yaml(
        folder / "python_env.yaml",
        {"python": python, "build_dependencies": tools, "dependencies": ["-r requirements.txt"]},
    )
    dependencies = [f"python={python}", "pip", {"pip": pins}]
    _write_yaml(
        folder / "conda.yaml", {"name": "mlflow-env", "channels": ["conda-forge"], "dependencies": dependencies}
    )


def _mlmodel(tokenizer_class: str, described: Described) -> str:
    """Return the text of MLmodel."""
    from mlflow.models import Model  # it takes seconds, which an error before need not wait for

    facts = TASKS[described.task]
    example = {"artifact_path": "input_example.json", "type": "dataframe", "pandas_orient": "split"}
    model = Model(
        signature=_signature(described),
        saved_input_example_info=example,
        metadata={"model_name": described.name, **described.metadata},
        model_uuid=None,
    )
    model.add_flavor(
        "transformers",
        task=described.task,
        instance_type=f"{facts.module.title().replace('_', '')}Pipeline",
        framework="pt",
        pipeline_model_type=f"{FAMILIES[described.config.get('model_type', 'bert')]}{facts.heads[0]}",
        model_binary=".",
        source_model_name=described.name,
        components=["tokenizer"],
        tokenizer_type=tokenizer_class,
        transformers_version=version("transformers"),
        **({} if described.fp32 else {"torch_dtype": "torch.float32"}),
    )
    environment = {"conda": "conda.yaml", "virtualenv": "python_env.yaml"}
    python = {"env": environment, "python_version": platform.python_version()}
    if facts.pipeline is None:
        model.add_flavor("python_function", loader_module=LOADER.stem, code="code", **python)
    else:
        model.add_flavor(
            "python_function", loader_module="mlflow.transformers", model_binary=".", config=facts.pipeline, **python
        )
    return model.to_yaml()


def _tokenizer_class(folder: Path) -> str:
    """Return the name of the class that transformers loads the tokenizer with; raises ModelFolderError."""
    from transformers import AutoTokenizer

    try:
        return type(AutoTokenizer.from_pretrained(folder)).__name__
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise ModelFolderError(
            f"expected a tokenizer that transformers loads, found: {exc}; take a model with another"
        ) from exc


def _signature(described: Described) -> Any:  # noqa: ANN401 - MLflow is imported only when it is needed
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    facts = TASKS[described.task]
    inputs = Schema([ColSpec(DataType.string, name) for name in described.columns])
    outputs = Schema([ColSpec(DataType[kind], name) for name, kind in facts.answer.items()])
    # Our own loader takes a parameter.
    own = facts.pipeline is None
    params = ParamSchema([ParamSpec("max_answer_length", DataType.long, 15)]) if own else None
    return ModelSignature(inputs=inputs, outputs=outputs, params=params)


def read_object(file: Path) -> dict[str, Any]:
    """Return the JSON object of a checkpoint's file; raises ModelFolderError."""
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise ModelFolderError(f"{file.name}: expected a JSON object, found: {exc}; fetch or train it again") from exc
    if not isinstance(found, dict):
        raise ModelFolderError(
            f"{file.name}: expected a JSON object, found {type(found).__name__}; fetch or train it again"
        )
    return found


def write_json(file: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object as people read it."""
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_yaml(file: Path, content: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
