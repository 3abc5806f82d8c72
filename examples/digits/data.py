"""scikit-learn's digits as spikes: the split into training and held-out samples, and the encoding.

Run as a script it writes the held-out part for `spikec run` and `spikec verify`:

    python examples/digits/data.py digits_test.npz
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

STEPS = 16
FOLD = 5  # one sample in so many is held out


class Part(NamedTuple):
    """One part of the data: `indices` (N,) into `load_digits`, `spikes` (N, T, 1, 8, 8) of 0 and 1, `labels` (N,)."""

    indices: npt.NDArray[np.int64]
    spikes: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def encode(images: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Images (N, 8, 8) of whole numbers 0..16 to spikes (N, T, 1, 8, 8): a pixel of value p fires p times in T = 16.

    The spikes of a pixel are spread evenly, as an integrate-and-fire neuron would send them. There is no chance in it:
    the same image gives the same spikes everywhere. The phase differs from pixel to pixel, so that equal pixels do not
    all fire at once.
    """
    rows, columns = np.indices(images.shape[1:])
    phase = (5 * rows + 7 * columns) % STEPS
    total = np.arange(STEPS + 1)[:, None, None] * images[:, None] + phase
    return np.diff(total // STEPS, axis=1)[:, :, None].astype(np.uint8)


def part(held_out: bool) -> Part:
    """The held-out part (359 samples: every fifth, those with index % 5 == 4) or the training part (the other 1438)."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images, labels = digits.images.astype(np.int64), digits.target.astype(np.int64)
    index = np.arange(len(labels))
    index = index[(index % FOLD == FOLD - 1) == held_out]
    return Part(index, encode(images[index]), labels[index])


def split() -> tuple[Part, Part]:
    """Training part and held-out part. They share no sample, but they do share writers."""
    return part(held_out=False), part(held_out=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write digits as spikes.")
    parser.add_argument("out", type=Path, metavar="OUT.npz")
    parser.add_argument("--split", choices=("train", "test"), default="test", help="training or held-out part")
    words = parser.parse_args()
    chosen = part(held_out=words.split == "test")
    np.savez_compressed(words.out, spikes=chosen.spikes, labels=chosen.labels)
    print(f"{words.out}: spikes {chosen.spikes.shape}, labels {chosen.labels.shape}")


if __name__ == "__main__":
    main()
