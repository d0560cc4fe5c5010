"""A pipeline as a notebook builds it, without `from __future__ import annotations`: the SDK reads the annotations."""

from collections.abc import Callable
from typing import Any

from azure.ai.ml import Input, dsl
from azure.ai.ml.entities import Component, PipelineJob


def built_job(count: Component, show: Component) -> Callable[..., PipelineJob]:
    """Return a function that makes a job of the two components."""

    @dsl.pipeline(display_name="built", experiment_name="building")
    def build(data: Input, least: int) -> Any:  # noqa: ANN401
        counted = count(data=data, mode="words", least=least)
        shown = show(counted=counted.outputs.counted, flag="/nowhere")
        return {"shown": shown.outputs.result}

    return build
