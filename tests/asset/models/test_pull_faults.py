"""Each fault of the hub, the connection or the disk has its own error, and none leaves a folder that looks whole."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from asset.models import staging
from asset.models.errors import Code, ModelError, RequestError
from tests.asset.models.conftest import REPOSITORY, Puller, require_same
from tests.loopback_hub import LoopbackHub, Repository

ROOT = Path(__file__).resolve().parents[3]
WEIGHTS = "model.safetensors"


@pytest.fixture
def repository(loopback: LoopbackHub) -> Repository:
    return loopback.repositories[REPOSITORY]


def refused(puller: Puller, code: Code, **options: object) -> str:
    """Pull, see that it fails as it should and that no model is there; returns the message."""
    with pytest.raises(ModelError) as raised:
        puller(**options)  # type: ignore[arg-type]
    assert raised.value.code == code, raised.value
    assert isinstance(raised.value, RequestError) == (code in ("no_safetensors", "not_servable", "not_found"))
    puller.require_nothing()
    message = str(raised.value)
    assert "expected" in message and "found" in message and "\n" not in message
    return message


def test_a_connection_that_is_cut_five_times_is_gone_on_with(
    puller: Puller, repository: Repository, tiny: dict[str, bytes]
) -> None:
    repository.cuts = 5
    pulled = puller()
    require_same(puller.folder, tiny)
    assert pulled.came == sum(len(tiny[name]) for name in pulled.record.files)  # no byte came twice
    assert puller.screen.lines == ["the connection was cut; trying again in 0.01 s"] * 5


def test_a_connection_that_breaks_without_a_byte_is_given_up_and_what_came_is_kept(
    puller: Puller, repository: Repository, tiny: dict[str, bytes]
) -> None:
    repository.cuts = 1000
    assert "found the connection cut" in refused(puller, "connection_cut")
    repository.cuts = 0
    came = len(list(puller.staging.rglob("partial/*"))[0].read_bytes())
    assert came > 0.9 * len(tiny[WEIGHTS])
    assert puller().came == len(tiny[WEIGHTS]) - came
    require_same(puller.folder, tiny)


def test_a_hub_that_gives_no_parts_of_files_is_asked_for_the_whole(
    puller: Puller, repository: Repository, tiny: dict[str, bytes]
) -> None:
    repository.cuts, repository.ranges = 2, False
    pulled = puller()
    require_same(puller.folder, tiny)
    assert pulled.came == puller.screen.shown + len(tiny[WEIGHTS]) // 2 * 2
    assert puller.screen.shown == sum(len(tiny[name]) for name in pulled.record.files)


def test_more_bytes_than_there_are_make_it_begin_anew(puller: Puller, tiny: dict[str, bytes]) -> None:
    # What a hub answers that is asked for bytes past the end of a file.
    puller.loopback.repositories[REPOSITORY].cuts = 1
    part = puller.staging / "partial" / puller.loopback.repositories[REPOSITORY].hashes[commit(puller), WEIGHTS]
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\0" * len(tiny[WEIGHTS]))
    puller()
    require_same(puller.folder, tiny)


def commit(puller: Puller) -> str:
    return puller.loopback.repositories[REPOSITORY].commit


def test_a_part_that_is_another_files_is_found_out(puller: Puller, tiny: dict[str, bytes]) -> None:
    part = puller.staging / "partial" / puller.loopback.repositories[REPOSITORY].hashes[commit(puller), WEIGHTS]
    part.parent.mkdir(parents=True)
    part.write_bytes(b"\1" * 1000)
    puller()
    require_same(puller.folder, tiny)
    assert puller.screen.lines == [f"{WEIGHTS}, which came in pieces, is not as listed: fetching it anew"]


def test_another_byte_is_a_wrong_hash(puller: Puller, repository: Repository, tiny: dict[str, bytes]) -> None:
    repository.altered = 1
    told = refused(puller, "wrong_hash")
    assert f"expected SHA-256 {repository.hashes[repository.commit, WEIGHTS]} of {WEIGHTS}, as it lists, found" in told
    assert "no byte of it is kept: try again, and if the result is the same, use another mirror" in told
    assert list((puller.staging / "partial").iterdir()) == []
    repository.altered = 0
    assert puller().came == len(tiny[WEIGHTS])
    require_same(puller.folder, tiny)


def test_another_byte_of_a_small_file_is_a_wrong_hash(puller: Puller, repository: Repository) -> None:
    repository.hashes[repository.commit, "config.json"] = "0" * 40
    assert f"expected the git SHA-1 {'0' * 40} of config.json" in refused(puller, "wrong_hash")


@pytest.mark.parametrize(("extra", "cuts"), [(1, 0), (-1, 0), (1, 1)])
def test_another_length_is_a_wrong_size(
    puller: Puller, repository: Repository, tiny: dict[str, bytes], extra: int, cuts: int
) -> None:
    repository.extra, repository.cuts = extra, cuts
    size = len(tiny[WEIGHTS])
    told = refused(puller, "wrong_size")
    assert f"expected {size:,} bytes of {WEIGHTS}, as it lists, found {size + extra:,}" in told
    assert list((puller.staging / "partial").iterdir()) == []


def test_a_hub_that_lists_no_hash_is_told(puller: Puller, repository: Repository) -> None:
    repository.blobs = False
    repository.hashes[repository.commit, "config.json"] = "W/none"
    assert "config.json: expected the hub to list its size and hash, found" in refused(puller, "no_hash")


def test_a_repository_that_is_not_there_is_told(puller: Puller) -> None:
    told = refused(puller, "not_found", repository="some/none")
    assert "some/none: expected a model on http://127.0.0.1" in told
    assert "found none that may be read (status 404); check the name, and set HF_TOKEN if it is private" in told


def test_a_private_repository_is_told(puller: Puller, repository: Repository) -> None:
    repository.status = 401
    assert "found none that may be read (status 401); check the name, and set HF_TOKEN" in refused(puller, "denied")


def test_a_gated_repository_is_told(puller: Puller, repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    repository.token = "right"  # noqa: S105
    monkeypatch.setenv("HF_TOKEN", "wrong")
    told = refused(puller, "denied")
    assert "found one with terms to accept; accept them on its page and set HF_TOKEN" in told


@pytest.mark.parametrize("place", ["failures", "file_failures"])
def test_a_hub_that_wants_us_to_wait_is_waited_for(
    puller: Puller, repository: Repository, tiny: dict[str, bytes], place: str
) -> None:
    setattr(repository, place, [(429, {"Retry-After": "1"}), (503, {})])
    puller()
    require_same(puller.folder, tiny)
    assert puller.screen.lines == [
        "the hub answers 429; trying again in 1 s",
        "the hub answers 503; trying again in 0.02 s",
    ]


@pytest.mark.parametrize("headers", [{"Retry-After": "300"}, {"ratelimit": '"resolvers";r=0;t=300'}])
def test_a_hub_that_wants_us_to_wait_for_long_is_told(
    puller: Puller, repository: Repository, headers: dict[str, str]
) -> None:
    repository.failures = [(429, headers)]
    told = refused(puller, "rate_limited")
    assert "found status 429; try again in 300 seconds, as it asks, and set HF_TOKEN, which it allows more" in told


@pytest.mark.parametrize("place", ["failures", "file_failures"])
def test_a_hub_with_an_error_of_its_own_is_tried_again_and_then_told(
    puller: Puller, repository: Repository, place: str
) -> None:
    setattr(repository, place, [(500, {})] * 1000)
    assert "found status 500; try again later" in refused(puller, "hub_down")
    assert len(getattr(repository, place)) == 1000 - 3


def test_a_mirror_without_a_file_that_it_lists_is_told(puller: Puller, repository: Repository) -> None:
    repository.file_failures = [(404, {"X-Error-Code": "EntryNotFound"})]
    told = refused(puller, "hub_down")
    assert told == f"{REPOSITORY}: expected config.json, as it lists, found none; try again later"


def test_a_page_of_something_else_is_told(puller: Puller, repository: Repository) -> None:
    repository.failures = [(200, {})]
    assert "check HF_ENDPOINT and the proxy" in refused(puller, "hub_down")


def test_a_hub_that_answers_with_another_commit_is_told(puller: Puller, repository: Repository) -> None:
    repository.history = {"a" * 40: repository.files}
    repository.commit_of = lambda revision: repository.commit  # type: ignore[method-assign, assignment]
    told = refused(puller, "hub_down", revision="a" * 40)
    assert f"expected commit {'a' * 40}" in told and f"found it answers with {repository.commit}" in told


def test_a_repository_with_pickles_alone_is_refused(puller: Puller, tiny: dict[str, bytes]) -> None:
    files = {name: data for name, data in tiny.items() if name != WEIGHTS}
    puller.loopback.repositories[REPOSITORY] = Repository(files)
    told = refused(puller, "no_safetensors")
    assert "expected model.safetensors, found only pytorch_model.bin, a pickle, which can run code; convert it" in told
    assert "save_pretrained" in told and "or give the --revision of a commit that has it" in told
    assert not puller.loopback.files_gotten()


def test_no_network_is_told_at_once(puller: Puller) -> None:
    told = refused(puller, "unreachable", endpoint="http://127.0.0.1:9")
    assert f"{REPOSITORY}: expected a hub at http://127.0.0.1:9, found no way to it" in told
    assert "HF_ENDPOINT" in told
    assert puller.screen.lines == []
    assert not puller.staging.exists()  # nothing came that could be kept


def test_a_password_in_the_mirrors_address_is_not_shown(puller: Puller) -> None:
    for address in ("http://me:secret@127.0.0.1:9", puller.loopback.address.replace("//", "//me:secret@")):
        with pytest.raises(ModelError) as raised:
            puller(repository="some/none", endpoint=address)
        assert "secret" not in str(raised.value)
        assert "127.0.0.1" in str(raised.value)


def test_a_host_without_a_name_is_told(puller: Puller) -> None:
    refused(puller, "unreachable", endpoint="http://hub.invalid")


def test_a_hub_that_goes_away_is_waited_for_and_then_told(puller: Puller) -> None:
    puller.loopback.elsewhere = "http://127.0.0.1:9"
    refused(puller, "unreachable")
    assert puller.screen.lines == [
        "the hub cannot be reached; trying again in 0.01 s",
        "the hub cannot be reached; trying again in 0.02 s",
    ]


def test_a_hub_that_falls_silent_counts_as_cut(puller: Puller, repository: Repository, tiny: dict[str, bytes]) -> None:
    repository.silent = 0.5
    refused(puller, "connection_cut", timeout=0.1)
    repository.silent = 0
    puller()
    require_same(puller.folder, tiny)


def test_offline_without_a_cache_is_told(puller: Puller) -> None:
    told = refused(puller, "offline", offline=True)
    assert f"expected all of main in the hub's cache at {puller.home / 'hub'}, as HF_HUB_OFFLINE is set" in told
    assert puller.loopback.requests == []


def test_a_folder_that_cannot_be_written_is_told(puller: Puller) -> None:
    puller.folder = Path("/proc/none/tiny-bert")
    assert "expected a folder that can be written to, found: No such file" in refused(puller, "not_writable")


def test_too_little_room_is_told_before_anything_comes(puller: Puller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "SPARE", 1 << 60)
    told = refused(puller, "no_room")
    assert re.search(r"expected room for [\d,]+ MB, found [\d,]+ MB; make room, or give an --output", told)
    assert not puller.loopback.files_gotten()


FULL = """
import resource, sys
from pathlib import Path
from asset.models import staging
from asset.models.errors import ModelError
from asset.models.hub import Hub
from asset.models.selection import Wanted
from asset.models.pull import pull
from tests.asset.models.conftest import Notes
staging.SPARE = -1 << 60  # as if somebody else took the room in the meantime
endpoint, repository, room = sys.argv[1:]
wanted, hub = Wanted((repository,), "main", Path(room, "tiny-bert")), Hub(endpoint, Path(room, "cache"))
for attempt in range(2):
    try:
        print(pull(wanted, hub, Notes()).came)
    except ModelError as exc:
        print(exc.code, exc)
    print(sorted(str(path.relative_to(room)) for path in Path(room).rglob("*.safetensors")))
    Path(room, "ballast").unlink(missing_ok=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
"""


@pytest.mark.parametrize("kind", ["disk", "quota"])
def test_a_full_disk_is_told_and_the_pull_goes_on_once_there_is_room(
    puller: Puller, tiny: dict[str, bytes], tmp_path: Path, kind: str
) -> None:
    size, half = len(tiny[WEIGHTS]) * 3 // 4096 * 4096, len(tiny[WEIGHTS]) // 2
    room = tmp_path / "room"
    room.mkdir()
    command, script = ["bash", "-c"], f"ulimit -S -f {half // 1024}"
    if kind == "disk":
        command = ["unshare", "--user", "--map-root-user", "--mount", *command]
        script = f"mount -t tmpfs -o size={size} tmpfs {room} && head -c {size - half} /dev/zero > {room}/ballast"
        if subprocess.run([*command, script], capture_output=True, check=False).returncode:
            pytest.skip("a disk of its own for a process takes user namespaces, which are off here")
    arguments = [sys.executable, "-c", FULL, puller.loopback.address, REPOSITORY, str(room)]
    done = subprocess.run(
        [*command, f'{script} && exec "$@"', "-", *arguments],
        cwd=ROOT,
        env=puller.loopback.environment(tmp_path / "home"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, before, second, after = done.stdout.splitlines()
    found = "No space left on device" if kind == "disk" else "File too large"
    assert first.startswith("no_room ")
    assert f"found: {found}; make room and try again: the bytes that came are kept" in first
    assert before == "[]"
    assert 0 < int(second) < len(tiny[WEIGHTS])
    assert after == "['tiny-bert/model.safetensors']"
