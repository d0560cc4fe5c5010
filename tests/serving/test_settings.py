"""Settings come from the environment, and a wrong one is named; CPUs are counted as the container sees them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.engine.machine import has_int8_products, usable_cpus
from serving.errors import SettingsError
from serving.settings import Settings


def test_settings_are_read_from_the_environment() -> None:
    environ = {
        "BERT_SERVING_MAX_ROWS": "7",
        "BERT_SERVING_PRECISION": "fp32",
        "BERT_SERVING_CACHE_DIR": "/tmp/x",
        "OTHER": "1",
    }  # noqa: S108
    settings = Settings.from_env(environ)
    assert (settings.max_rows, settings.precision, settings.cache_dir) == (7, "fp32", Path("/tmp/x"))  # noqa: S108
    assert Settings.from_env({}) == Settings()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "BERT_SERVING_PRECISION",
            "int4",
            "BERT_SERVING_PRECISION: expected one of auto, fp32, fp16, int8, found 'int4'",
        ),
        ("BERT_SERVING_DEVICE", "gpu", "BERT_SERVING_DEVICE: expected one of auto, cpu, cuda, found 'gpu'"),
        ("BERT_SERVING_MAX_ROWS", "0", "BERT_SERVING_MAX_ROWS: expected a whole number of at least 1, found '0'"),
        ("BERT_SERVING_MAX_ROWS", "-1", "found '-1'"),
        ("BERT_SERVING_MAX_ROWS", "²", "found '²'"),
        ("BERT_SERVING_THREADS", "two", "BERT_SERVING_THREADS: expected a whole number of at least 0, found 'two'"),
        (
            "BERT_SERVING_MAXROWS",
            "7",
            "unknown setting BERT_SERVING_MAXROWS; the settings are BERT_SERVING_BATCH_ROWS, BERT_SERVING_BATCH_TOKENS, ",
        ),
    ],
)
def test_a_wrong_setting_is_named(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.from_env({name: value})


@pytest.mark.parametrize(
    ("v2", "v1", "expected"),
    [
        ("50000 100000", None, 1),
        ("150000 100000", None, 2),
        ("max 100000", None, None),
        (None, ("50000", "100000"), 1),
        (None, ("-1", "100000"), None),
        (None, None, None),
        ("nonsense", None, None),
    ],
)
def test_cpus_are_those_of_the_affinity_cut_by_the_quota(
    tmp_path: Path, v2: str | None, v1: tuple[str, str] | None, expected: int | None
) -> None:
    if v2:
        (tmp_path / "cpu.max").write_text(v2 + "\n")
    if v1:
        (tmp_path / "cpu.cfs_quota_us").write_text(v1[0] + "\n")
        (tmp_path / "cpu.cfs_period_us").write_text(v1[1] + "\n")
    allowed = len(os.sched_getaffinity(0))
    found = usable_cpus((tmp_path / "cpu.max", tmp_path / "cpu.cfs_quota_us"))
    assert found == min(allowed, expected or allowed)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx2 avx512_vnni", True),
        ("fpu avx_vnni", True),
        ("amx_int8", True),
        ("fpu avx2 avx512f", False),
        ("", False),
    ],
)
def test_int8_instructions_are_read_from_cpuinfo(tmp_path: Path, flags: str, expected: bool) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags\t\t: {flags}\n")
    assert has_int8_products(tmp_path / "cpuinfo") is expected
    assert has_int8_products(tmp_path / "absent") is False
