"""Pipelines: their text form, recipes, verification after every pass, and artifacts on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikec.compiler.artifact import Artifact, read
from spikec.compiler.context import Context
from spikec.compiler.diagnostics import CompileError
from spikec.compiler.ir import Graph
from spikec.compiler.neurons import LIF
from spikec.compiler.pipeline import Step, run_pipeline
from spikec.compiler.spec import describe, parse, parse_recipe
from tests.compiler.networks import float_graph

Golden = Callable[[str, str], None]


@dataclass(frozen=True)
class Decay:
    """Sets the decay of the neuron, for these tests."""

    name: ClassVar[str] = "decay"
    description: ClassVar[str] = "sets the decay"
    to: float
    layers: tuple[str, ...] = ()
    how: Literal["all", "none"] = "all"
    limit: int | None = None
    quick: bool = False

    def run(self, graph: Graph, ctx: Context) -> Graph:
        if self.how == "none":
            return graph
        return graph.map(lambda node: replace(node, op=LIF(self.to)) if node.name == "lif" else None)


KNOWN = {"decay": Decay}


@given(
    st.floats(0, 1),
    st.lists(st.sampled_from(["a", "b"])),
    st.sampled_from(["all", "none"]),
    st.none() | st.integers(),
    st.booleans(),
)
def test_text_form_round_trips(
    to: float, layers: list[str], how: Literal["all", "none"], limit: int | None, quick: bool
) -> None:
    step = Decay(to, tuple(layers), how, limit, quick)
    assert parse(describe(step), KNOWN) == (step,)
    assert parse(f"{describe(step)}, decay{{to=1}}", KNOWN) == (step, Decay(1.0))


def test_a_recipe_is_the_same_pipeline(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('[[pass]]\nname = "decay"\nto = 0.5\nlayers = ["a", "b"]\nquick = true\n')
    assert parse_recipe(file, KNOWN) == (Decay(0.5, ("a", "b"), quick=True),)


def test_messages(golden: Golden, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("x = \n")
    texts = []
    for text in (
        "decoy",
        "decay",
        "decay{two=1},decay{to=x,limit=1.5,quick=maybe,how=some}",
        "decay{to",
        "decay{to=1} decay",
        "decay{to}",
    ):
        with pytest.raises(CompileError) as caught:
            parse(text, KNOWN)
        texts.append(f"== {text}\n{caught.value}")
    golden("pipeline", "\n".join(texts))
    with pytest.raises(CompileError, match="not a TOML file"):
        parse_recipe(tmp_path / "bad.toml", KNOWN)


def test_a_pass_that_breaks_the_graph_is_blamed_by_name() -> None:
    with pytest.raises(
        CompileError, match=r"pass 'decay' left a graph that breaks the rules(.|\n)*a_mem lies in \[2, 2\]"
    ):
        run_pipeline(float_graph(), [Decay(2.0)], Context())


def test_watchers_see_every_graph_and_an_idle_pass_gives_the_same_object() -> None:
    seen: list[Step] = []
    graph = run_pipeline(float_graph(), [Decay(0.5, how="none"), Decay(0.25)], Context(), seen.append)
    assert [step.before is step.after for step in seen] == [True, False]
    assert seen[-1].after is graph


def artifact() -> Artifact:
    return Artifact("loihi2", {"a.bin": b"\x00\x01", "sub/b.txt": b"hello"}, {"cores": 3, "why": None})


def test_artifact_round_trip_and_overwrite(tmp_path: Path) -> None:
    path = tmp_path / "out"
    artifact().write(path)
    first = {p: p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}
    artifact().write(path)
    assert {p: p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()} == first
    again = read(path)
    assert (again.target, dict(again.files), dict(again.facts)) == (
        "loihi2",
        dict(artifact().files),
        dict(artifact().facts),
    )
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_an_edited_artifact_is_refused(golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    edits: dict[str, Callable[[Path], object]] = {
        "changed": lambda p: (p / "a.bin").write_bytes(b"\x00\x02"),
        "missing": lambda p: (p / "a.bin").unlink(),
        "added": lambda p: (p / "more").write_text("x"),
        "manifest": lambda p: (p / "manifest.json").write_text(
            (p / "manifest.json").read_text().replace('"cores": 3', '"cores": 2')
        ),
        "no manifest": lambda p: (p / "manifest.json").unlink(),
        "not json": lambda p: (p / "manifest.json").write_text("{"),
    }
    texts = []
    for name, edit in edits.items():
        path = Path(name.replace(" ", "-"))
        artifact().write(path)
        edit(path)
        with pytest.raises(CompileError) as caught:
            read(path)
        texts.append(f"== {name}\n{caught.value}")
    golden("edited", "\n".join(texts))


def test_what_is_not_ours_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(CompileError, match="exists and is not an artifact"):
        artifact().write(tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_the_users_files_in_an_artifact_survive(tmp_path: Path) -> None:
    artifact().write(tmp_path / "out")
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(CompileError, match=r"holds what is not the artifact's: notes\.txt"):
        artifact().write(tmp_path / "out")
    assert (tmp_path / "out" / "notes.txt").read_text() == "mine"


def test_a_link_to_an_artifact_stays_a_link(tmp_path: Path) -> None:
    artifact().write(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    artifact().write(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert read(tmp_path / "real").target == "loihi2"


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../../x", "manifest.json"])
def test_a_file_name_cannot_leave_the_directory(name: str) -> None:
    with pytest.raises(CompileError, match="cannot be a file of an artifact"):
        Artifact("t", {name: b""}, {})
