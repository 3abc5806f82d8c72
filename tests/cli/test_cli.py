"""The command line: what people type, what they see, and what is left on disk."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from spikec.cli import main
from spikec.compiler.fixed import FixedNeuron
from spikec.compiler.ir import Graph, Node
from spikec.compiler.neurons import LIF
from spikec.compiler.ops import FixedSum, Input, Linear, Output
from spikec.compiler.serialize import save
from spikec.compiler.weights import Dense, Fixed

Golden = Callable[[str, str], None]


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def trained(**fields: object) -> Graph:
    """A two-layer network whose numbers floats hold exactly."""
    rng = np.random.default_rng(3)
    weights = [rng.integers(-16, 17, shape).astype("f4") / 16 for shape in ((12, 6), (3, 12))]
    bias = rng.integers(-2, 3, 12).astype("f4") / 16
    return Graph(
        (
            Node("in", Input((6,))),
            Node("fc1", Linear(Dense(weights[0]), bias), ("in",)),
            Node("lif1", LIF(0.875, reset="value", **fields), ("fc1",)),  # type: ignore[arg-type]
            Node("fc2", Linear(Dense(weights[1])), ("lif1",)),
            Node("lif2", LIF(0.75, reset="value"), ("fc2",)),
            Node("out", Output(), ("lif2",)),
        ),
        "tiny",
    )


def samples(path: str, n: int = 6, t: int = 20) -> None:
    rng = np.random.default_rng(0)
    np.savez(path, spikes=(rng.random((n, t, 6)) < 0.4).astype(np.uint8), labels=rng.integers(0, 3, n))


def test_the_whole_way(capsys: pytest.CaptureFixture[str]) -> None:
    save(trained(), "net.spk")
    samples("data.npz")
    assert main(["compile", "net.spk", "-t", "loihi2", "--calibrate", "data.npz", "-o", "out", "--print-ir"]) == 0
    shown = capsys.readouterr().out
    assert "// after quantize" in shown
    assert "active output cells differ" in shown
    assert main(["run", "out", "--input", "data.npz", "--align", "--trace", "-o", "spikes.npz"]) == 0
    with np.load("spikes.npz") as arrays:
        assert arrays["spikes"].shape == (6, 20, 3)
        assert np.array_equal(arrays["counts"], arrays["spikes"].sum(axis=1))
        assert arrays["v/lif1"].shape == (6, 20, 12)
    assert main(["run", "out", "--input", "data.npz", "--engine", "reference", "-o", "late.npz"]) == 0
    with np.load("late.npz") as late, np.load("spikes.npz") as aligned:
        assert np.array_equal(late["spikes"][:, 2:], aligned["spikes"])
    assert main(["verify", "net.spk", "--artifact", "out", "--input", "data.npz", "--no-lava", "--json", "r.json"]) == 0
    reports = {entry["name"]: entry for entry in json.loads(Path("r.json").read_text())}
    assert reports["fixed reference"]["agreement"]["differing"] == 0
    assert reports["engine"]["agreement"]["differing"] == 0
    assert reports["engine"]["agreement"]["cells"] == 6 * 20 * 15 * 3
    assert reports["Lava"]["skipped"] == "not asked for"
    capsys.readouterr()
    assert main(["inspect", "out"]) == 0
    assert "lif1" in capsys.readouterr().out


def test_compiling_twice_gives_the_same_bytes() -> None:
    save(trained(), "net.spk")
    samples("data.npz")
    for target in ("loihi2", "nir"):
        for name in ("a", "b"):
            assert main(["compile", "net.spk", "-t", target, "--calibrate", "data.npz", "-o", f"{target}-{name}"]) == 0
        a, b = ({p.name: p.read_bytes() for p in Path(f"{target}-{name}").iterdir()} for name in "ab")
        assert a == b


def test_a_broken_engine_would_be_noticed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from spikec.compiler.runner import Result
    from spikec.runtime.engine import Engine

    save(trained(), "net.spk")
    samples("data.npz")
    assert main(["compile", "net.spk", "-t", "loihi2", "--calibrate", "data.npz", "-o", "out"]) == 0
    whole = Engine.run

    def off_by_one(self: Engine, graph: Graph, inputs: np.ndarray, *, trace: object = False) -> Result:
        result = whole(self, graph, inputs, trace=trace)  # type: ignore[arg-type]
        v = result.traces["v/lif2"].copy()
        v[3, 7, 1] += 1
        return Result(result.outputs, {**result.traces, "v/lif2": v})

    monkeypatch.setattr(Engine, "run", off_by_one)
    capsys.readouterr()
    assert main(["verify", "net.spk", "--artifact", "out", "--input", "data.npz", "--no-lava"]) == 3
    out = capsys.readouterr().out
    assert "DIFFERS" in out
    assert "engine: first difference: membrane potential of lif2[1] at step 5 of sample 3" in out


def late_loop() -> Graph:
    """Two weighted connections in a loop that holds one step."""
    one = Dense(np.eye(6, dtype="f4"))
    nodes = (
        Node("in", Input((6,))),
        Node("back", Linear(one), ("b",)),
        Node("a", LIF(0.5, reset="value"), ("in", "back")),
        Node("forth", Linear(one), ("a",)),
        Node("b", LIF(0.5, reset="value"), ("forth",)),
        Node("out", Output(), ("b",)),
    )
    return Graph(nodes, "loop")


def fixed(**neuron: object) -> Graph:
    weight = Fixed(np.full((2, 6), 4), width=8, step=2)
    nodes = (
        Node("in", Input((6,))),
        Node("fc", Linear(weight, latency=1, sum=FixedSum()), ("in",)),
        Node("lif", FixedNeuron(start=1, **neuron), ("fc",)),  # type: ignore[arg-type]
        Node("out", Output(), ("lif",)),
    )
    return Graph(nodes, "fixed")


BAD_MODELS: dict[str, Callable[[], None]] = {
    "missing.spk": lambda: None,
    "truncated.nir": lambda: Path("truncated.nir").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(40)) and None,
    "text.net": lambda: Path("text.net").write_text("not HDF5") and None,
    "text.spk": lambda: Path("text.spk").write_text("not a zip") and None,
    "model.pt": lambda: Path("model.pt").write_bytes(b"PK") and None,
    "soft.spk": lambda: save(
        Graph(tuple(n if n.name != "lif2" else Node("lif2", LIF(0.75), ("fc2",)) for n in trained()), "soft"),
        "soft.spk",
    ),
    "loop.spk": lambda: save(late_loop(), "loop.spk"),
    "threshold.spk": lambda: save(fixed(threshold=1 << 20), "threshold.spk"),
}


def test_bad_models_get_one_diagnostic_and_leave_nothing(golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for name, make in BAD_MODELS.items():
        make()
        assert main(["compile", name, "-t", "loihi2", "-o", "out"]) == 1
        texts.append(f"== {name}\n{capsys.readouterr().err}")
        assert not Path("out").exists()
        assert not list(Path().glob(".out*"))
    golden("bad_models", "\n".join(texts))


def events(**changes: object) -> dict[str, np.ndarray]:
    """Two recordings of three events each on a 2x1x3 sensor."""
    whole = {
        "x": [0, 1, 2, 0, 1, 2],
        "y": [0] * 6,
        "p": [0, 1, 0, 1, 0, 1],
        "t_us": [0, 900, 5000, 10, 20, 4000],
        "offsets": [0, 3, 6],
    }
    return {key: np.array(value) for key, value in {**whole, **changes}.items()}


BAD_INPUTS = {
    "out of bounds": events(x=[0, 1, 9, 0, 1, 2]),
    "unsorted": events(t_us=[0, 900, 500, 10, 20, 4000]),
    "empty recording": events(offsets=[0, 6, 6]),
    "no recordings": {"spikes": np.zeros((0, 5, 6))},
    "wrong shape": {"spikes": np.zeros((2, 5, 7))},
    "NaN": {"spikes": np.full((1, 5, 6), np.nan)},
    "no time": {"spikes": np.ones((2, 6))},
    "seconds": events(t_us=[0, 0.0009, 0.005, 0.00001, 0.00002, 0.004]),
    "complex": {"spikes": np.zeros((1, 5, 6), complex)},
    "classes": {"spikes": np.ones((1, 5, 6)), "labels": np.array([7])},
    "names": {"spikes": np.ones((1, 5, 6)), "labels": np.array(["cat"])},
    "something else": {"images": np.zeros((1, 5, 6))},
    "labels": {"spikes": np.zeros((2, 5, 6)), "labels": np.zeros(3, int)},
}


def test_bad_input_gets_one_diagnostic(golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    save(fixed(threshold=10), "net.spk")
    texts = []
    for name, arrays in BAD_INPUTS.items():
        np.savez("in.npz", **arrays)  # type: ignore[arg-type]
        binning = ["--bin", "1ms", "--steps", "6", "--shape", "2,1,3"] if "x" in arrays else []
        assert main(["run", "net.spk", "--input", "in.npz", *binning, "-o", "out.npz"]) == 1
        texts.append(f"== {name}\n{capsys.readouterr().err}")
        assert not Path("out.npz").exists()
    golden("bad_inputs", "\n".join(texts))


def test_events_are_binned(capsys: pytest.CaptureFixture[str]) -> None:
    save(fixed(threshold=0), "net.spk")
    np.savez("in.npz", **events())  # type: ignore[arg-type]
    binning = ["--bin", "1ms", "--steps", "6", "--shape", "2,1,3"]  # the network is flat, the sensor is not
    words = ["run", "net.spk", "--input", "in.npz", *binning, "-o", "out.npz", "--align"]
    assert main(words) == 0
    with np.load("out.npz") as arrays:
        assert arrays["spikes"][:, :, 0].tolist() == [[1, 1, 0, 0, 0, 1], [1, 0, 0, 0, 1, 0]]


def test_an_edited_artifact_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    save(trained(), "net.spk")
    samples("data.npz")
    assert main(["compile", "net.spk", "-t", "loihi2", "--calibrate", "data.npz", "-o", "out"]) == 0
    script = Path("out/run_lava.py")
    script.write_text(script.read_text() + "# mine now\n")
    for words in (["run", "out", "--input", "data.npz"], ["inspect", "out"], ["verify", "out", "--input", "data.npz"]):
        capsys.readouterr()
        assert main(words) == 1
        assert "run_lava.py was changed after it was written" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [[], ["compile"], ["compile", "x"], ["fly"], ["run", "x", "--input", "y", "--engine", "warp"]]
)
def test_wrong_words_are_usage(words: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["passes"]) == 0
    assert main(["targets"]) == 0
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    for word in ("quantize", "fold", "balance-delays", "loihi2", "nir", "Lava", "numpy"):
        assert word in out


def test_an_artifact_of_another_network_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    save(trained(), "net.spk")
    save(trained(bias=0.25), "other.spk")
    samples("data.npz")
    for target in ("loihi2", "nir"):
        assert main(["compile", "net.spk", "-t", target, "--calibrate", "data.npz", "-o", target]) == 0
        capsys.readouterr()
        assert main(["verify", "other.spk", "--artifact", target, "--input", "data.npz", "--no-lava"]) == 1
        assert "compiled from another network, or with other weights; unlike: lif1" in capsys.readouterr().err
        assert main(["verify", "net.spk", "--artifact", target, "--input", "data.npz", "--no-lava"]) == 0


def test_netx_is_an_error_where_netx_cannot_say_the_network(capsys: pytest.CaptureFixture[str]) -> None:
    nodes = {node.name: node for node in trained()}
    skip = Node("lif2", LIF(0.75, reset="value"), ("fc2", "short"))
    short = Node("short", Linear(Dense(np.eye(3, 6, dtype="f4"))), ("in",))
    save(Graph((*list(nodes.values())[:-2], short, skip, nodes["out"]), "skip"), "skip.spk")
    samples("data.npz")
    assert main(["compile", "skip.spk", "-t", "loihi2:netx", "--calibrate", "data.npz", "-o", "out"]) == 1
    assert "error[loihi/no-net]: netx cannot say this network" in capsys.readouterr().err
    assert not Path("out").exists()
    assert main(["compile", "skip.spk", "-t", "loihi2", "--calibrate", "data.npz", "-o", "out"]) == 0


WRONG_WORDS = {
    "--steps": "-4",
    "--samples": "0",
    "--shape": "2,a,3",
    "--dt": "inf",
    "--timeout": "soon",
    "--json": "nowhere/x.json",
}


@pytest.mark.parametrize(("word", "value"), WRONG_WORDS.items())
def test_values_are_checked_before_any_work(word: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["verify", "x.spk", "--input", "y.npz", f"{word}={value}"])
    assert caught.value.code == 2
    assert f"argument {word}" in capsys.readouterr().err


def test_results_go_to_a_file_in_a_folder_that_exists() -> None:
    Path("folder").mkdir()
    for place in ("folder", "nowhere/out.npz"):
        with pytest.raises(SystemExit):
            main(["run", "x", "--input", "y", "-o", place])
    assert not list(Path().glob(".*part"))


def test_an_unknown_node_cannot_be_traced(capsys: pytest.CaptureFixture[str]) -> None:
    save(trained(), "net.spk")
    samples("data.npz")
    assert main(["run", "net.spk", "--input", "data.npz", "--trace", "lif9"]) == 1
    assert "there is no node lif9 to trace" in capsys.readouterr().err
    assert main(["run", "net.spk", "--input", "data.npz", "--steps", "5"]) == 1
    assert "the input has 20 steps of its own, not 5" in capsys.readouterr().err
