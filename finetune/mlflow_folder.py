"""A tuned model as an MLflow folder that transformers, MLflow and score.py each load as it is.

    MLmodel  config.json  model.safetensors  tokenizer.json …  components/tokenizer/  README.md  input_example.json
    requirements.txt  conda.yaml  python_env.yaml  training.json  adapter/ (LoRA)  code/ (question answering)

`stage` makes it in a folder of its own, with a link for the weights. `publish` copies it to its place, where
no MLmodel is until all is whole.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from finetune.prepared import FinetuneError, Settings
from finetune.settings import Task
from finetune.tuned_model import ADAPTER_FILES, TOKENIZER_FILES, TunedModel, described

WEIGHTS = "model.safetensors"
LAST = (WEIGHTS, "config.json", "MLmodel")
"""What makes a folder look whole, in the order in which it is written."""

LOADER = Path(__file__).with_name("question_answering_pyfunc.py")
"""What loads a question answerer: it stands in the folder, as neither transformers 5 nor MLflow has such a loader."""

NEEDED = ("mlflow", "torch", "transformers")
"""What loading takes, but for what these bring."""

PIPELINES: dict[Task, str] = {
    "text-classification": "TextClassificationPipeline",
    "question-answering": "QuestionAnsweringPipeline",
}
EXAMPLES = {
    "text": "The room was quiet and the staff kind.",
    "text_pair": "Nobody was rude to us.",
    "question": "Where did the cat sleep?",
    "context": "The cat slept on the roof, and the dog below it.",
}
"""An input example is about nothing, as a row of the data would be somebody's text."""


def model_name(settings: Settings) -> str:
    """Return what the tuned model calls itself: by its base, and not as it.

    >>> model_name(settings)
    'bert-base-cased-text-classification'
    """
    base = re.sub(r"[^A-Za-z0-9._-]+", "-", settings.base.name.rsplit("/", 1)[-1]).strip("-.") or "model"
    return f"{base}-{settings.task}"


def input_columns(settings: Settings) -> list[str]:
    """Return the columns of the input frame: text, and text_pair for pairs; or question and context."""
    if settings.task == "question-answering":
        return ["question", "context"]
    return ["text", "text_pair"] if "sentence2_key" in settings.columns else ["text"]


def stage(tuned: TunedModel, checkpoint: Path, settings: Settings, folder: Path) -> None:
    """Make the folder, but for the card, of a checkpoint that was checked; its weights are a link. Raises OSError."""
    config = _config(checkpoint, settings)
    _write_json(folder / "config.json", config)
    (folder / WEIGHTS).symlink_to((checkpoint / WEIGHTS).resolve())
    components = folder / "components" / "tokenizer"
    components.mkdir(parents=True)
    for place in (folder, components):
        _copy_tokenizer(checkpoint, place, config["max_position_embeddings"])
    shutil.copyfile(tuned.path / "training.json", folder / "training.json")
    if tuned.adapter is not None:
        _copy_adapter(tuned.adapter, folder / "adapter", settings)
    if settings.task == "question-answering":
        (folder / "code").mkdir()
        shutil.copyfile(LOADER, folder / "code" / LOADER.name)
    _write_environment(folder)
    columns = input_columns(settings)
    _write_json(folder / "input_example.json", {"columns": columns, "data": [[EXAMPLES[name] for name in columns]]})
    (folder / "MLmodel").write_text(_mlmodel(folder, config, settings), encoding="utf-8")


def publish(staged: Path, output: Path) -> None:
    """Put a folder in its place, whose earlier content goes; raises FinetuneError where that is none of ours."""
    check_output(output)
    output.mkdir(parents=True, exist_ok=True)
    for name in reversed(LAST):
        (output / name).unlink(missing_ok=True)
    for path in output.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in sorted(staged.iterdir()):
        if path.is_dir():
            shutil.copytree(path, output / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.name not in LAST:
            shutil.copyfile(path, output / path.name)
    for name in LAST:
        unfinished = output / f".{name}.partial"
        shutil.copyfile(staged / name, unfinished)
        unfinished.replace(output / name)


def check_output(output: Path) -> None:
    """Raise FinetuneError where a folder has what this command did not write."""
    if output.exists() and not output.is_dir():
        raise FinetuneError(f"--mlflow-model-folder {output}: expected a folder, found a file; give another")
    known = {*LAST, *TOKENIZER_FILES, "components", "adapter", "code", "training.json", "README.md", ".compiled"}
    known |= {"requirements.txt", "conda.yaml", "python_env.yaml", "input_example.json"}
    known |= {f".{name}.partial" for name in LAST}
    others = sorted(path.name for path in output.iterdir() if path.name not in known) if output.is_dir() else []
    if others:
        raise FinetuneError(
            f"--mlflow-model-folder {output}: expected an empty folder, or an earlier result, which is written over; "
            f"found {', '.join(others[:5])}; give another"
        )


def _config(checkpoint: Path, settings: Settings) -> dict[str, Any]:
    """Return config.json as it is to be: with a name of its own, and without the path that it was trained from."""
    config = {key: value for key, value in described(checkpoint).items() if not key.startswith("_")}
    return {**config, "model_name": model_name(settings), "dtype": "float32"}


def _copy_tokenizer(checkpoint: Path, folder: Path, positions: int) -> None:
    """Copy the tokenizer's files; it gets the model's length where it has none, or texts would not be cut to it."""
    for name in TOKENIZER_FILES:
        if (checkpoint / name).is_file():
            shutil.copyfile(checkpoint / name, folder / name)
    file = folder / "tokenizer_config.json"
    config = _read_object(file) if file.is_file() else {"tokenizer_class": "BertTokenizer"}
    longest = config.get("model_max_length")
    config["model_max_length"] = min(longest, positions) if isinstance(longest, int | float) else positions
    for key in ("name_or_path", "tokenizer_file"):
        config.pop(key, None)
    _write_json(file, config)


def _copy_adapter(adapter: Path, folder: Path, settings: Settings) -> None:
    folder.mkdir()
    for name in ADAPTER_FILES:
        shutil.copyfile(adapter / name, folder / name)
    config = _read_object(folder / ADAPTER_FILES[0])
    _write_json(folder / ADAPTER_FILES[0], {**config, "base_model_name_or_path": settings.base.name})


def _write_environment(folder: Path) -> None:
    """Write the versions that loading takes, those of this environment, in MLflow's three forms."""
    # A build of torch for one kind of machine (2.13.0+cpu) is found on no public index.
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


def _mlmodel(folder: Path, config: dict[str, Any], settings: Settings) -> str:
    """Return the text of MLmodel."""
    from mlflow.models import Model  # it takes seconds, which an error before need not wait for

    columns = input_columns(settings)
    reader = settings.task == "question-answering"
    example = {"artifact_path": "input_example.json", "type": "dataframe", "pandas_orient": "split"}
    model = Model(
        signature=_signature(columns, reader),
        saved_input_example_info=example,
        metadata={"model_name": config["model_name"], "base_model_name": settings.base.name},
        model_uuid=None,
    )
    model.add_flavor(
        "transformers",
        task=settings.task,
        instance_type=PIPELINES[settings.task],
        framework="pt",
        pipeline_model_type=config["architectures"][0],
        model_binary=".",
        source_model_name=config["model_name"],
        components=["tokenizer"],
        tokenizer_type=_tokenizer_class(folder),
        transformers_version=version("transformers"),
    )
    environment = {"conda": "conda.yaml", "virtualenv": "python_env.yaml"}
    python = {"env": environment, "python_version": platform.python_version()}
    if reader:
        model.add_flavor("python_function", loader_module=LOADER.stem, code="code", **python)
    else:
        # A text longer than the model is cut, as score.py cuts it, where the pipeline would fail.
        truncated = {"truncation": True}
        model.add_flavor(
            "python_function", loader_module="mlflow.transformers", model_binary=".", config=truncated, **python
        )
    return model.to_yaml()


def _tokenizer_class(folder: Path) -> str:
    """Return the name of the class that transformers loads the tokenizer with; raises FinetuneError."""
    from transformers import AutoTokenizer

    try:
        return type(AutoTokenizer.from_pretrained(folder)).__name__
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise FinetuneError(
            f"expected a tokenizer that transformers loads, found: {exc}; train from a base model with another"
        ) from exc


def _signature(columns: list[str], reader: bool) -> Any:  # noqa: ANN401 - MLflow is imported where it is needed
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema

    inputs = Schema([ColSpec(DataType.string, name) for name in columns])
    if not reader:
        outputs = [ColSpec(DataType.string, "label"), ColSpec(DataType.double, "score")]
        return ModelSignature(inputs=inputs, outputs=Schema(outputs))
    outputs = [ColSpec(DataType.string, "answer"), ColSpec(DataType.double, "score")]
    outputs += [ColSpec(DataType.long, "start"), ColSpec(DataType.long, "end")]
    params = ParamSchema([ParamSpec("max_answer_length", DataType.long, 15)])
    return ModelSignature(inputs=inputs, outputs=Schema(outputs), params=params)


def _read_object(file: Path) -> dict[str, Any]:
    """Return the JSON object of a file of training's; raises FinetuneError."""
    try:
        found = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as exc:
        raise FinetuneError(f"{file.name}: expected a JSON object, found: {exc}; train again") from exc
    if not isinstance(found, dict):
        raise FinetuneError(f"{file.name}: expected a JSON object, found {type(found).__name__}; train again")
    return found


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_yaml(file: Path, content: dict[str, Any]) -> None:
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
