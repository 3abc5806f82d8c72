"""The words of the command line: sub-commands and their options."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import spikec
from spikec.cli import commands

EPILOG = """examples:
  spikec compile net.py:build --weights net.pt --calibrate train.npz -t loihi2 -o build/
  spikec run build/ --input test.npz -o out.npz
  spikec verify net.py:build --weights net.pt --artifact build/ --input test.npz
  spikec inspect net.nir

exit codes: 0 done, 1 diagnostics, 2 usage, 3 an exact rung of verify differed"""


RESULTS = """arrays by name: spikes (N, T + latency, *shape) and counts, or v_out of a membrane readout;
with --trace s/NODE, u/NODE, v/NODE; --align cuts the latency off"""
DATA = """.npz or .npy: spikes (N, T, *shape); analog (N, *shape), repeated for --steps; or events x y p t_us offsets"""


def parser() -> argparse.ArgumentParser:
    """Give the parser of the whole command line."""
    whole = argparse.ArgumentParser(
        "spikec",
        description="Compile trained spiking networks for neuromorphic hardware, and show that nothing changed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"spikec {spikec.__version__}")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-v", "--verbose", action="store_true", help="show every remark")
    common.add_argument("-q", "--quiet", action="store_true", help="show errors and results only")
    sub = whole.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, run: Callable[..., int], help: str) -> argparse.ArgumentParser:
        made = sub.add_parser(name, parents=[common], help=help, description=help)
        made.set_defaults(command=run)
        return made

    _compile(command("compile", commands.compile_, "compile a trained network to an artifact"))
    _run(command("run", commands.run, "run a model or an artifact on the host"))
    _verify(command("verify", commands.verify, "climb the ladder: source framework down to the target, spike by spike"))
    _report(command("report", commands.report, "run an FPGA artifact: verdict, cycles by cause, memories, energy"))
    _inspect(command("inspect", commands.inspect, "show the layers of a model or an artifact"))
    command("passes", commands.passes, "list the passes and their options")
    command("targets", commands.targets, "list the targets")
    command("doctor", commands.doctor, "show what is installed and what works here")
    _lava(command("lava", commands.lava, "install or inspect Lava's own environment"))
    return whole


def _model(made: argparse.ArgumentParser, what: str, *, counts: bool = False) -> None:
    made.add_argument(
        "model",
        metavar=what,
        help=".nir, .onnx, .net, .spk, an artifact's folder, or FILE.py:OBJECT that builds a torch module",
    )
    group = made.add_argument_group("reading the model")
    group.add_argument("--weights", type=Path, metavar="FILE", help="state dict for FILE.py:OBJECT")
    group.add_argument(
        "--unsafe-weights",
        action="store_true",
        help="read weights with pickle: this RUNS CODE that the file contains; only for files you made yourself",
    )
    group.add_argument(
        "--time-axis",
        choices=("0", "1", "none", "joined"),
        default="0",
        help="axis of time in the network's input: 0 (T, N, ...), 1 (N, T, ...), none: one step, or a static input, "
        "joined (N * T, ...)",
    )
    group.add_argument("--dt", type=seconds, default=1e-3, metavar="SECONDS", help="length of a step (default 1e-3)")
    readouts = ("auto", "spikes", "membrane", *(["counts"] if counts else []))
    more = "; counts: an FPGA sends the spikes of each output over a sample" if counts else ""
    group.add_argument("--readout", choices=readouts, default="auto", help=f"what is the output{more}")
    group.add_argument("--example", metavar="DATA", help="input on which a torch network is traced")
    group.add_argument(
        "--nir",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what NIR leaves open: reset=subtract, dt=1e-4, ...",
    )
    group.add_argument(
        "--from",
        dest="writer",
        choices=("snntorch", "norse", "sinabs", "rockpool", "spikingjelly"),
        help="the framework that exported the .nir: its known defects are put right; as --nir from=...",
    )
    group.add_argument(
        "--onnx",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="what an ONNX file leaves open: percentile=99.9, balance=channel, calibrate=train.npz, states=IN:OUT, ...",
    )
    group.add_argument(
        "--net",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of a .net file: reset_interval=32, input_message_bits=8",
    )


def _events(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("binning of event recordings")
    group.add_argument("--bin", metavar="TIME", help="length of a bin: 1ms, 500us")
    group.add_argument("--steps", type=count, metavar="T", help="steps of a recording, or of an input without time")
    group.add_argument("--shape", type=sizes, metavar="P,Y,X", help="shape of the sensor: 2,34,34")
    group.add_argument("--rounding", choices=("nearest", "floor"), default="nearest", help="of time to bins")


def _compile(made: argparse.ArgumentParser) -> None:
    _model(made, "MODEL", counts=True)
    _events(made)
    made.add_argument("-t", "--target", required=True, help="loihi2, nir, onnx, ...; `spikec targets` lists them")
    chosen = made.add_mutually_exclusive_group()
    chosen.add_argument(
        "-p", "--passes", default="", metavar="PIPELINE", help='such as "sbc{sparsity=0.9},quantize{bits=6}"'
    )
    chosen.add_argument("-r", "--recipe", type=Path, metavar="FILE.toml", help="the pipeline as a TOML file")
    made.add_argument("--calibrate", metavar="DATA", help="samples to choose scales on and to measure with")
    made.add_argument("--labels", metavar="FILE", help="classes of the calibration samples")
    made.add_argument("--samples", type=count, default=64, metavar="N", help="use the first N of them (default 64)")
    made.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="where to write the artifact (default: build/TARGET)"
    )
    made.add_argument("--seed", type=int, default=0)
    made.add_argument(
        "--memories",
        choices=("baked", "overlay"),
        help="of an FPGA: in the bitstream (default), or loaded over the link",
    )
    made.add_argument(
        "--like", type=Path, metavar="DIR", help="keep the RTL of an overlay artifact: only its image is new"
    )
    made.add_argument("--print-ir", action="store_true", help="print the graph before and after every pass")
    group = made.add_argument_group("long work (sbc, spike-nm, sbc-quantize); no result depends on these")
    group.add_argument("--workers", type=count, default=0, metavar="N", help="processes that share it, by Ray")
    group.add_argument("--cluster", default="", metavar="ADDRESS", help="of a Ray that runs already: auto, HOST:PORT")
    group.add_argument("--resume", type=Path, metavar="DIR", help="keep what is finished here, and go on from it")
    group = made.add_argument_group("where the target cannot say what was trained")
    group.add_argument("--reset", choices=("error", "hard", "exact"), default="error", help="soft reset")
    group.add_argument(
        "--compare", choices=("error", "strict", "exact"), default="error", help="spike at v >= threshold"
    )
    group.add_argument("--maxpool", choices=("error", "spikes"), default="error", help="max pooling of currents")
    group.add_argument(
        "--initial", choices=("error", "zero", "exact"), default="error", help="initial membrane potential"
    )


def _run(made: argparse.ArgumentParser) -> None:
    _model(made, "ARTIFACT|MODEL")
    _events(made)
    made.add_argument("--input", required=True, metavar="DATA", help=DATA)
    made.add_argument("--labels", metavar="FILE", help="classes, for accuracy")
    made.add_argument("--engine", choices=("fast", "reference", "lava", "cycle", "rtl"), default="fast")
    made.add_argument(
        "--trace", nargs="?", const=True, default=False, metavar="NODE,...", help="record outputs, u and v"
    )
    made.add_argument("--align", action="store_true", help="remove the known latency")
    made.add_argument("-o", "--output", type=new_file, metavar="OUT.npz", help=RESULTS)
    made.add_argument("--timeout", type=seconds, default=600.0, metavar="SECONDS", help="limit for Lava (default 600)")
    group = made.add_argument_group("what it looks like in an FPGA, cycle by cycle (--engine cycle)")
    group.add_argument("--aer", type=new_file, metavar="FILE.csv", help="every push and pop of every queue")
    group.add_argument(
        "--vcd", type=new_file, metavar="FILE.vcd", help="the queues of one sample, for GTKWave or Surfer"
    )
    group.add_argument("--window", type=window, metavar="FROM:TO", help="cycles to draw (default: all of the sample's)")
    group.add_argument("--sample", type=index, metavar="N", help="the sample to draw (default 0)")


def _verify(made: argparse.ArgumentParser) -> None:
    _model(made, "MODEL|ARTIFACT")
    _events(made)
    made.add_argument("--artifact", type=Path, metavar="DIR", help="what was compiled from MODEL")
    made.add_argument("--input", required=True, metavar="DATA", help=DATA)
    made.add_argument("--labels", metavar="FILE", help="classes, for accuracy")
    made.add_argument("--samples", type=count, metavar="N", help="use the first N samples")
    which = made.add_mutually_exclusive_group()
    which.add_argument("--no-lava", action="store_true", help="leave that rung out")
    which.add_argument("--require-lava", action="store_true", help="fail where that rung would be skipped")
    made.add_argument("--no-rtl", action="store_true", help="leave out the RTL of an FPGA artifact in Verilator")
    made.add_argument("--timeout", type=seconds, default=600.0, metavar="SECONDS", help="limit for Lava (default 600)")
    made.add_argument("--json", type=new_file, metavar="FILE", help="write the reports as JSON too")


def _report(made: argparse.ArgumentParser) -> None:
    made.add_argument("model", metavar="ARTIFACT", help="the folder of an FPGA artifact")
    _events(made)
    made.add_argument("--input", metavar="DATA", help=DATA)
    made.add_argument("--labels", metavar="FILE", help="classes, for accuracy")
    made.add_argument("--samples", type=count, metavar="N", help="use the first N samples")
    made.add_argument("--no-rtl", action="store_true", help="leave Verilator out")
    made.add_argument("--json", type=new_file, metavar="FILE", help="write the report as JSON too")


def _inspect(made: argparse.ArgumentParser) -> None:
    _model(made, "MODEL|ARTIFACT")
    made.add_argument("--steps", type=count, metavar="T", help="of an input without time")
    made.add_argument("--ir", action="store_true", help="print the textual IR")


def _lava(made: argparse.ArgumentParser) -> None:
    made.add_argument("action", choices=("install", "status"))


def seconds(text: str) -> float:
    """Read a time above 0."""
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and finite")
    return number


def count(text: str) -> int:
    """Read a whole number of 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 1 or more")
    return int(text)


def index(text: str) -> int:
    """Read a whole number of 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 0 or more")
    return int(text)


def window(text: str) -> tuple[int, int]:
    """Read FROM:TO, two whole numbers, the second larger."""
    start, colon, stop = text.partition(":")
    if not (colon and start.isdecimal() and stop.isdecimal() and int(start) < int(stop)):
        raise argparse.ArgumentTypeError(f"'{text}' is not FROM:TO, two cycles of which the second is later")
    return int(start), int(stop)


def sizes(text: str) -> tuple[int, ...]:
    """Read sizes separated by commas."""
    return tuple(count(part.strip()) for part in text.split(","))


def new_file(text: str) -> Path:
    """Read the path of a file that can be written: checked before any work is done for it."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a folder")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path
