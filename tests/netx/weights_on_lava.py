"""Passes matrices through netx's optimize_weight_bits and Lava's clipping and truncation: a script for the worker."""

import sys

import numpy as np


def main(given, made):
    """Read `matrices` (N, out, in); write `values`, `bits`, `exponents` as a Dense of Lava holds them."""
    from lava.lib.dl.netx.utils import optimize_weight_bits
    from lava.utils.weightutils import clip_weights, determine_sign_mode, truncate_weights

    with np.load(given) as box:
        matrices = box["matrices"]
    values, bits, exponents = [], [], []
    with np.errstate(all="ignore"):
        for matrix in matrices:
            weights, width, exponent, _ = optimize_weight_bits(matrix)
            sign = determine_sign_mode(weights)
            clipped = clip_weights(weights, sign, num_bits=8)
            values.append(truncate_weights(clipped, sign, width))
            bits.append(width)
            exponents.append(exponent)
    np.savez(made, values=np.stack(values), bits=bits, exponents=exponents)


if __name__ == "__main__":
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "lava"))
    from netx_run import stub

    stub()
    main(*sys.argv[1:])
