"""An ONNX file put together in parts is the one that the protobuf library writes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto, helper, numpy_helper

from serving.engine.graph_nodes import onnx_file

ARRAYS = hnp.arrays(
    st.sampled_from(["float32", "float16", "int8", "uint8", "int64"]),
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=20),
).flatmap(lambda array: st.sampled_from([array, array.T]))  # contiguous or not


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), ARRAYS, max_size=5))
def test_it_reads_back_as_the_model_with_its_weights(weights: dict[str, npt.NDArray[np.generic]]) -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows"])
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    model = helper.make_model(helper.make_graph(nodes, "a graph", [value], [value]), producer_name="a test")
    expected = onnx.ModelProto()
    expected.CopyFrom(model)
    expected.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())
    assert onnx.load_from_string(b"".join(onnx_file(model, weights))) == expected
