"""Models, environments, components and data assets are kept by name and version, as in a workspace."""

from __future__ import annotations

import logging
from pathlib import Path

import mlflow
import pytest
from azure.ai.ml import load_component, load_environment, load_job, load_model
from azure.ai.ml.entities import Data, Environment, Model
from azure.ai.ml.exceptions import ValidationException
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

from asset.checks.pipeline.data import OwnModel
from asset.local.client.client import LocalClient
from asset.local.jobs.tracking import tracking_uri


def test_models_are_versions_in_mlflows_registry(ml_client: LocalClient, files: Path) -> None:
    registered = ml_client.models.create_or_update(load_model("model.yml"))
    assert registered.id == "azureml:tiny:17"
    assert Path(str(registered.path)) == files / "model"
    following = ml_client.models.create_or_update(Model(name="tiny", path="model", properties={"a": "b"}))
    assert (following.version, following.properties) == ("18", {"a": "b"})
    assert [model.version for model in ml_client.models.list("tiny")] == ["18", "17"]
    assert [model.version for model in ml_client.models.list()] == ["18"]
    assert ml_client.models.get("tiny", label="latest").version == "18"
    found = mlflow.MlflowClient(tracking_uri(ml_client.state)).search_model_versions("name='tiny'")
    assert {version.tags["azureml.version"] for version in found} == {"17", "18"}


def test_a_version_may_change_its_description_but_not_its_path(ml_client: LocalClient, files: Path) -> None:
    ml_client.models.create_or_update(load_model("model.yml"))
    again = load_model("model.yml")
    again.description, again.tags = "Another.", {"x": "y"}
    changed = ml_client.models.create_or_update(again)
    assert (changed.description, changed.tags) == ("Another.", {"x": "y"})
    again.description = None
    assert ml_client.models.create_or_update(again).description is None
    again.path = "app"
    with pytest.raises(ResourceExistsError, match="model tiny:17 exists with the path "):
        ml_client.models.create_or_update(again)


def test_a_model_that_mlflow_registered_has_mlflows_number(ml_client: LocalClient, files: Path) -> None:
    store = mlflow.MlflowClient(tracking_uri(ml_client.state))
    store.create_registered_model("theirs")
    store.create_model_version("theirs", (files / "model").as_uri())
    found = ml_client.models.get("theirs", "1")
    assert Path(str(found.path)) == files / "model"


def test_an_output_of_a_job_is_registered_by_its_azure_path(ml_client: LocalClient, files: Path) -> None:
    job = ml_client.jobs.create_or_update(load_job("job.yml"))
    ml_client.jobs.stream(job.name)
    path = f"azureml://jobs/{job.name}/outputs/shown"
    model = ml_client.models.create_or_update(Model(name="shown", path=path))
    assert (Path(str(model.path)) / "result.txt").read_text(encoding="utf-8") == "count: 3\n"
    file = ml_client.models.create_or_update(Model(name="file", path=f"{path}/paths/result.txt"))
    assert Path(str(file.path)).name == "result.txt"
    with pytest.raises(
        ResourceNotFoundError, match=rf"job {job.name} has no output hidden \(it is Completed; its outputs: shown\)"
    ):
        ml_client.models.create_or_update(Model(name="other", path=f"azureml://jobs/{job.name}/outputs/hidden"))
    with pytest.raises(ResourceNotFoundError, match=rf"on this machine \(the last jobs: {job.name}\)"):
        ml_client.models.create_or_update(Model(name="other", path="azureml://jobs/absent/outputs/shown"))


def test_a_model_is_downloaded(ml_client: LocalClient, files: Path, tmp_path: Path) -> None:
    ml_client.models.create_or_update(load_model("model.yml"))
    ml_client.models.download("tiny", "17", tmp_path / "got")
    assert (tmp_path / "got/tiny/model/weights.bin").read_text(encoding="utf-8") == "the weights"


def test_the_asset_of_this_checkout_needs_no_registration(
    ml_client: LocalClient, caplog: pytest.LogCaptureFixture
) -> None:
    own = OwnModel.read()
    caplog.set_level(logging.WARNING)
    for found in (ml_client.models.get(own.name, own.version), ml_client.models.get(own.name, label="latest")):
        assert (found.name, found.version, Path(str(found.path))) == (own.name, own.version, own.folder)
    told = [
        record
        for record in caplog.records
        if "is not here: running the small embedded model in its place" in record.message
    ]
    assert len(told) == (2 if own.folder.name == "embedded" else 0)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "m", "path": "gone"}, "there is no model at .*gone"),
        ({"name": "m", "path": "azureml://datastores/x/paths/y"}, "is not on this machine; name a file"),
        ({"name": "m", "path": "model", "type": "mlflow_model"}, "has the type mlflow_model but no file MLmodel"),
        ({"name": "a/b", "path": "model"}, "'a/b' is not a valid name of a model"),
    ],
)
def test_an_invalid_model_is_refused(ml_client: LocalClient, files: Path, model: dict[str, str], message: str) -> None:
    with pytest.raises(ValidationException, match=message):
        ml_client.models.create_or_update(Model(**model))


def test_a_name_that_is_not_there_is_not_found(ml_client: LocalClient, files: Path) -> None:
    with pytest.raises(ResourceNotFoundError, match=r"there is no model x on this machine \(there are: none\)"):
        ml_client.models.get("x")
    ml_client.environments.create_or_update(load_environment("environment/serving/environment.yaml"))
    with pytest.raises(
        ResourceNotFoundError, match=r"no environment tiny-serving:4 on this machine \(there are: tiny-serving:3\)"
    ):
        ml_client.environments.get("tiny-serving", "4")
    with pytest.raises(ValidationException, match="Cannot specify both version and label"):
        ml_client.environments.get("tiny-serving", "3", "latest")


def test_environments_are_yaml_that_the_sdk_loads(ml_client: LocalClient, files: Path) -> None:
    ml_client.environments.create_or_update(load_environment("environment/serving/environment.yaml"))
    loaded = load_environment(ml_client.state / "environments/tiny-serving/3.yaml")
    assert Path(loaded.build.path) == files / "environment/serving"
    plain = ml_client.environments.create_or_update(Environment(name="tiny-serving", image="debian"))
    assert (plain.version, plain.image, plain.id) == ("4", "debian", "azureml:tiny-serving:4")
    with pytest.raises(ResourceExistsError, match="tiny-serving:4 exists with another image"):
        ml_client.environments.create_or_update(Environment(name="tiny-serving", version="4", image="ubuntu"))


def test_components_keep_their_environment(ml_client: LocalClient, files: Path) -> None:
    component = load_component("components/count.yml")
    ml_client.components.create_or_update(component, version="7")
    found = ml_client.components.get("count", "7")
    assert found.command == component.command
    assert Path(found.environment._source_path).parent.name == "dev"
    component.command = "true"
    with pytest.raises(ResourceExistsError, match="count:7 exists with another command"):
        ml_client.components.create_or_update(component, version="7")
    assert ml_client.components.validate(found).passed


def test_data_assets_stay_where_they_are(ml_client: LocalClient, files: Path) -> None:
    kept = ml_client.data.create_or_update(Data(name="lines", path="data.txt", type="uri_file"))
    assert (kept.version, Path(kept.path)) == ("1", files / "data.txt")
    with pytest.raises(ValidationException, match="there is no file or folder .*gone"):
        ml_client.data.create_or_update(Data(name="lines", path="gone.txt", type="uri_file"))
    assert [data.name for data in ml_client.data.list()] == ["lines"]
