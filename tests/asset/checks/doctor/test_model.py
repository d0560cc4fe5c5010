"""The model folder, the place of compiled models, memory and disk."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from asset.checks.doctor import model
from asset.checks.doctor.check import Machine
from asset.checks.doctor.model import BERT_BASE, Size
from asset.models.record import Record
from asset.models.signing import Signer, sign
from serving.model.checkpoint import Checkpoint
from tests.asset.models.signing.authority import new_key

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def pulled(machine: Machine) -> Path:
    """A checkpoint where `asset pull` puts it."""
    return Path(shutil.copytree(machine.root / "model/embedded", machine.root / "model/bert-base-cased"))


def test_the_embedded_model_alone_is_a_note_that_names_the_pull(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        check = model.model(machine)
    assert check.severity == "note"
    assert "`asset pull`" in check.fix
    assert caplog.records == []


@pytest.mark.usefixtures("pulled")
def test_a_model_that_was_pulled_is_well(machine: Machine) -> None:
    check = model.model(machine)
    assert (check.severity, check.fix) == ("ok", "")
    assert "bert-base-cased: fill-mask" in check.message


def test_weights_that_are_cut_are_wrong(machine: Machine, pulled: Path) -> None:
    path = pulled / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    check = model.model(machine)
    assert check.severity == "error"
    assert "model.safetensors: cannot be read" in check.message
    assert "`asset pull`" in check.fix


def test_a_file_that_was_pulled_and_is_gone_is_wrong(machine: Machine, pulled: Path) -> None:
    files = {"config.json": "0" * 64, "vocab.txt": "0" * 64}
    Record("owner/name", "0" * 40, "owner/name", "main", None, files, {}).write(pulled)
    check = model.model(machine)
    assert (check.severity, check.fix) == ("error", "`asset pull`")
    assert "without vocab.txt, which came with it; " in check.message
    (pulled / "vocab.txt").touch()
    assert model.model(machine).severity == "ok"


def test_a_folder_without_a_tokenizer_is_wrong(machine: Machine) -> None:
    (machine.root / "model/embedded/tokenizer.json").unlink()
    check = model.model(machine)
    assert check.severity == "error"
    assert "expected tokenizer.json" in check.message
    assert check.fix == "`git checkout model/embedded`"


def test_a_model_folder_of_the_environment_is_the_one_that_counts(
    with_variables: Callable[..., Machine], pulled: Path, tmp_path: Path
) -> None:
    assert model.model(with_variables(AZUREML_MODEL_DIR=str(pulled))).severity == "ok"
    check = model.model(with_variables(AZUREML_MODEL_DIR=str(tmp_path / "none")))
    assert (check.severity, check.fix) == ("error", "correct AZUREML_MODEL_DIR, or unset it")


def test_a_folder_is_held_to_its_signature(
    with_variables: Callable[..., Machine], machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = machine.root / "model/embedded"
    private, public = new_key(tmp_path / "keys")
    asked = with_variables(BERT_SERVING_SIGNATURE_KEY=str(public))
    assert "expected a signature" in model.model(asked).message
    sign(folder, Signer(private))
    assert model.model(asked).severity == model.model(machine).severity != "error"
    assert not model.cache(asked).message.endswith(".compiled")
    (folder / "more.txt").write_text("")
    check = model.model(asked)
    assert (check.severity, "more.txt is not one of the signed files" in check.message) == ("error", True)
    assert "BERT_SERVING_SIGNATURE_KEY" in check.fix
    assert capsys.readouterr().err == ""


def test_compiled_models_go_where_serving_puts_them(machine: Machine) -> None:
    check = model.cache(machine)
    assert check.severity == "ok"
    assert check.message.endswith("model/embedded/.compiled")
    assert not (machine.root / "model/embedded/.compiled").exists()
    assert [path.name for path in (machine.root / "model/embedded").iterdir() if path.name.startswith(".")] == []


def test_a_cache_that_cannot_be_written_to_is_wrong(with_variables: Callable[..., Machine], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    # Where root may write anywhere, a file and /proc are still no places for a folder.
    for place in (tmp_path / "file/below", Path("/proc/self/cache")):
        check = model.cache(with_variables(BERT_SERVING_CACHE_DIR=str(place)))
        assert check.severity == "error"
        assert "each start would compile" in check.message
        assert "BERT_SERVING_CACHE_DIR" in check.fix
    assert model.cache(with_variables(BERT_SERVING_CACHE_DIR=str(tmp_path / "new/below"))).severity == "ok"
    assert not (tmp_path / "new").exists()


def test_parameters_are_counted_as_they_are_stored(machine: Machine) -> None:
    weights = Checkpoint.read(machine.root / "model/embedded")
    once = {id(array): array.size for array in weights.weights.values()}
    assert Size.of(weights.config).parameters == sum(once.values())
    # As published, without the pooler: 108 million.
    assert Size.of(BERT_BASE).parameters == pytest.approx(108e6, rel=0.01)


def test_what_a_start_takes_is_what_was_measured() -> None:
    base, embedded = Size.of(BERT_BASE), Size.of(model.opened(ROOT / "model/embedded")[0])
    measured = {(base, "int8"): 933, (base, "fp32"): 1267, (embedded, "int8"): 312, (embedded, "fp32"): 357}
    for (size, precision), peak in measured.items():
        assert peak <= size.start_mb(precision) <= peak * 1.15


def test_too_little_memory_is_wrong(machine: Machine) -> None:
    assert model.memory(machine).severity == "ok"
    (machine.proc / "meminfo").write_text("MemAvailable: 100000 kB\n")
    check = model.memory(machine)
    assert (check.severity, check.message.split("; expected ")[0]) == ("error", "102 MB to be had")


def test_memory_that_serves_and_does_not_tune_is_a_note(machine: Machine) -> None:
    (machine.proc / "meminfo").write_text("MemAvailable: 1000000 kB\n")
    check = model.memory(machine)
    assert check.severity == "note"
    assert "fine-tune" in check.fix


@pytest.mark.parametrize("version", [1, 2])
def test_a_container_counts_for_memory(machine: Machine, version: int) -> None:
    names = {
        2: ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        1: (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    }[version]
    (machine.cgroup / "memory").mkdir()
    for name, text in zip(names, ("500000000", "450000000", f"anon 1\n{names[3]} 30000000"), strict=False):
        (machine.cgroup / name).write_text(f"{text}\n")
    assert model.available_mb(machine) == 80
    (machine.cgroup / names[0]).write_text("max\n")
    assert model.available_mb(machine) == 8192


def test_memory_that_linux_does_not_tell_is_a_note(machine: Machine) -> None:
    (machine.proc / "meminfo").unlink()
    assert model.memory(machine).severity == "note"


def test_the_disk_is_held_against_what_is_to_come(machine: Machine) -> None:
    assert model.disk(machine, {}).severity == "ok"
    assert ".venv/dev about 1,000" in model.disk(machine, {"dev": 1000}).message
    check = model.disk(machine, {"dev": 10**9})
    assert (check.severity, check.fix) == ("note", "make room before you set these up")


def test_a_disk_without_room_for_the_compiled_model_is_wrong(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(machine.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    check = model.disk(machine, {})
    assert (check.severity, check.message.split("; expected ")[0]) == ("error", "0 MB free")


def test_what_is_deployed_is_the_model_here_or_bert_base(
    machine: Machine, with_variables: Callable[..., Machine]
) -> None:
    assert model.size_planned(machine) == Size.of(BERT_BASE)
    named = with_variables(AZUREML_MODEL_DIR=str(machine.root / "model/embedded"))
    assert model.size_planned(named) == model.size_here(machine) != Size.of(BERT_BASE)


def test_a_model_that_cannot_be_opened_is_planned_for_as_bert_base(machine: Machine) -> None:
    shutil.rmtree(machine.root / "model/embedded")
    assert model.model(machine).severity == "error"
    assert model.size_here(machine) == Size.of(BERT_BASE)
    assert model.cache(machine).severity == "ok"
