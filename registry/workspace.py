"""The names of a workspace of Azure Machine Learning, and the environment variables that give them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

VARIABLES = {
    # Set by Azure on its own computes, and what a person may set.
    "subscription_id": ("AZUREML_ARM_SUBSCRIPTION", "AZURE_SUBSCRIPTION_ID"),
    "resource_group_name": ("AZUREML_ARM_RESOURCEGROUP", "AZURE_RESOURCE_GROUP"),
    "workspace_name": ("AZUREML_ARM_WORKSPACE_NAME", "AZURE_WORKSPACE_NAME"),
}


@dataclass(frozen=True)
class Workspace:
    """The names of a workspace, as far as they are given."""

    subscription_id: str | None = None
    resource_group_name: str | None = None
    workspace_name: str | None = None

    def completed(self, environ: Mapping[str, str] = os.environ) -> Workspace:
        """Return it with what the environment says of the names that are not given."""
        found = {
            name: getattr(self, name) or next((environ[key] for key in keys if environ.get(key)), None)
            for name, keys in VARIABLES.items()
        }
        return Workspace(**found)

    @property
    def missing(self) -> list[str]:
        """Return which names it lacks."""
        return [name for name in VARIABLES if not getattr(self, name)]
