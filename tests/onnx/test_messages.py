"""What the ONNX reader says of bad input: the whole text, read by eye once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from spikec.compiler.diagnostics import CompileError
from spikec.frontends.onnx import OnnxOptions, lower
from tests.onnx.steps import Line, write
from tests.onnx.test_steps import FIRE, LAYER, NUMBERS, RISE, two_layers

Golden = Callable[[str, str], None]
SHAPES: dict[str, tuple[int | str, ...]] = {"x": ("N", 6), "v": ("N", 12)}
RESULTS = ("s", "v_out")


def refusal(path: Path, options: OnnxOptions | None = None) -> str:
    with pytest.raises(CompileError) as caught:
        lower(path, options or OnnxOptions())
    return str(caught.value).replace(str(path.parent), "DIR")


def said_of(path: Path, lines: list[Line], results: tuple[str, ...] = RESULTS, **numbers: Any) -> str:
    return refusal(write(path, lines, SHAPES, results, {**NUMBERS, **numbers}))


def test_bad_networks(tmp_path: Path, golden: Golden) -> None:
    path = tmp_path / "a.onnx"
    subtract: Line = ("Sub", "u s", "v_out")
    said = {
        "several unknown ops": said_of(
            path,
            [("Sigmoid", "x", "y"), ("LSTM", "x w b", "z"), ("Gemm", "y w b", "i", {"transB": 1}),
             ("Odd@shop", "x", "o"), *RISE[1:], *FIRE, subtract],
        ),
        "a product of membranes": said_of(path, [*RISE, *FIRE, ("Mul", "u u", "v_out")]),
        "a quotient": said_of(path, [*RISE, *FIRE, ("Div", "u v", "v_out")]),
        "no neuron": said_of(
            path, [*RISE, *FIRE, ("Mul", "s half", "h"), ("Add", "h u", "k"), ("Mul", "k s", "v_out")]
        ),
        "no result for a state": said_of(path, [*RISE, *FIRE, ("MatMul", "u w", "v_out")], ("v_out",)),
        "a weight that changes": said_of(path, [("MatMul", "x v", "i"), *RISE[1:], *FIRE, subtract]),
        "a product of spikes": said_of(
            path,
            [*RISE, *FIRE, subtract, ("Greater", "x th", "g"), ("MatMul", "x w2", "x2"), ("Greater", "x2 th", "g2"),
             ("And", "fired g2", "both"), ("Cast", "both", "result", {"to": 1})],
            ("result", "v_out"),
            w2=NUMBERS["w"].T,
        ),
        "not a number": said_of(path, [*RISE, *FIRE, subtract], w=NUMBERS["w"] * np.nan),
        "shapes": said_of(path, [("MatMul", "x w", "i"), *RISE[1:], *FIRE, subtract]),
    }  # fmt: skip
    lost = write(
        path, [LAYER, ("Greater", "i th", "f"), ("Cast", "f", "s", {"to": 1})], {"x": ("N", 6)}, ("s",), NUMBERS
    )
    said["no state"] = refusal(lost)
    said["open shape"] = refusal(write(path, [*RISE, *FIRE, subtract], {**SHAPES, "x": ("N", "M")}, RESULTS, NUMBERS))
    node: Line = ("LIF@ai.nmc", "i", "s", {"beta": 0.5, "threshold": 1.0, "reset": "soft"})
    said["custom reset"] = refusal(write(path, [LAYER, node], {"x": ("N", 6)}, ("s",), NUMBERS))
    bare: Line = ("LIF@ai.nmc", "i", "s", {"beta": 0.5})
    said["custom without threshold"] = refusal(write(path, [LAYER, bare], {"x": ("N", 6)}, ("s",), NUMBERS))
    good = two_layers(path)
    said["states that are not there"] = refusal(good, OnnxOptions(states="v:nothing"))
    said["output that is not there"] = refusal(good, OnnxOptions(output="nothing"))
    golden("networks", "\n\n".join(f"== {name}\n{text}" for name, text in said.items()))


def edited(path: Path, change: Callable[[Any], None]) -> Path:
    model = onnx.load(two_layers(path))
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def external(location: str, **facts: Any) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location, **facts}.items():
            tensor.external_data.add(key=key, value=str(value))

    return change


def test_bad_files(tmp_path: Path, golden: Golden) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "a.onnx"
    (tmp_path / "secret.bin").write_bytes(bytes(288))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "short.bin").write_bytes(bytes(12))
    said = {"no file": refusal(folder / "none.onnx")}
    for name, content in {"empty": b"", "text": b"not ONNX\n" * 50}.items():
        path.write_bytes(content)
        said[name] = refusal(path)

    def wrong_size(model: Any) -> None:
        model.graph.initializer[0].dims[0] = 13

    def wild(model: Any) -> None:
        model.graph.node[1].input[0] = "nowhere"

    changes: Mapping[str, Callable[[Any], None]] = {
        "size": wrong_size,
        "unknown tensor": wild,
        "no outputs": lambda model: model.graph.ClearField("output"),
        "data above the folder": external("../secret.bin"),
        "data at an absolute path": external(str(tmp_path / "secret.bin")),
        "data behind a link": external("link.bin"),
        "data too short": external("short.bin"),
        "data at a negative place": external("short.bin", offset=-8),
        "data of a strange length": external("short.bin", length="many"),
        "no data file": external("none.bin"),
    }
    for name, change in changes.items():
        said[name] = refusal(edited(path, change)).replace(str(tmp_path), "ABOVE")
    said["larger than allowed"] = refusal(two_layers(path), OnnxOptions(max_bytes=100))
    golden("files", "\n\n".join(f"== {name}\n{text}" for name, text in said.items()))


def test_no_truncated_file_ends_in_anything_but_a_diagnostic(tmp_path: Path) -> None:
    path = two_layers(tmp_path / "a.onnx")
    data = path.read_bytes()
    for length in np.linspace(0, len(data) - 1, 60).astype(int):
        path.write_bytes(data[:length])
        with pytest.raises(CompileError):
            lower(path)


def test_no_changed_byte_ends_in_anything_but_a_diagnostic_or_a_graph(tmp_path: Path) -> None:
    path = two_layers(tmp_path / "a.onnx")
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for _ in range(120):
        changed = bytearray(data)
        changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(changed))
        try:
            lower(path)
        except CompileError:
            continue


def test_external_data_beside_the_model(tmp_path: Path) -> None:
    path = two_layers(tmp_path / "a.onnx")
    plain = str(lower(path))
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="a.data", size_threshold=0)
    assert (tmp_path / "a.data").is_file()
    assert str(lower(path)) == plain


def test_a_file_of_enormous_shapes_is_not_run(tmp_path: Path) -> None:
    lines: list[Line] = [("Mul", "v half", "k"), ("Add", "k x", "u"), *FIRE, ("Sub", "u s", "v_out")]
    huge = ("N", 1_000_000_000)
    path = write(tmp_path / "a.onnx", lines, {"x": huge, "v": huge}, RESULTS, {"half": 0.5, "th": 1.0})
    told: list[str] = []
    lower(path, remark=lambda found: told.append(found.code))
    assert "onnx/not-run" in told


def test_local_functions_are_opened(tmp_path: Path) -> None:
    path = two_layers(tmp_path / "a.onnx")
    plain = lower(path)
    model = onnx.load(path)
    half = helper.make_function(
        "own", "Halve", ["a"], ["b"],
        [helper.make_node("Constant", [], ["h"], value_float=0.5), helper.make_node("Mul", ["a", "h"], ["b"])],
        [helper.make_opsetid("", 20)],
    )  # fmt: skip
    model.functions.append(half)
    model.opset_import.append(helper.make_opsetid("own", 1))
    (node,) = [node for node in model.graph.node if list(node.input) == ["q", "half"]]
    node.op_type, node.domain = "Halve", "own"
    del node.input[1]
    path.write_bytes(model.SerializeToString())
    assert str(lower(path)) == str(plain)


@pytest.mark.parametrize(
    ("field", "value"), [("form", "rnn"), ("percentile", 0.0), ("initial", 1.0), ("balance", "neuron"), ("states", "v")]
)
def test_bad_options(field: str, value: Any) -> None:
    with pytest.raises(CompileError, match="onnx/bad-option"):
        OnnxOptions(**{field: value})
