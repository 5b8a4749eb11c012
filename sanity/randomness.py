"""Keyed random numbers: a draw depends on its key and on nothing else."""

import hashlib
import json

import numpy as np

Key = str | int | float | bool | None


def generator(*key: Key) -> np.random.Generator:
    """A generator that is a pure function of its key.

    Equal keys give equal streams, whatever was drawn before, in whatever order or process;
    different keys give streams that are independent for every practical purpose.

    Args:
        key: What the draw belongs to, e.g. `("noise", seed, image, 0.15, sample)`.
    """
    digest = hashlib.blake2b(json.dumps(key).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64DXSM(int.from_bytes(digest, "little")))
