"""The weights of a network: the trained values, and those in place."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from sanity.checked import read_only


class Weights:
    """The values of a network's variables, which can be exchanged at any time.

    Attributes:
        changed: Those in place that are not the trained ones, by name; not to be written to.

    Args:
        variables: The network's, by name, with their trained values.
    """

    def __init__(self, variables: Mapping[str, Any]):
        self._variables = dict(variables)
        self.changed: dict[str, np.ndarray] = {}

    @cached_property
    def trained(self) -> dict[str, np.ndarray]:
        """The weights as the model came, by name; read-only, as all later runs have them."""
        if self.changed:
            raise RuntimeError("the weights were changed before they were first read")
        return {name: read_only(value) for name, value in self.read().items()}

    @cached_property
    def sha256(self) -> str:
        """Hash of the trained weights with their names."""
        digest = hashlib.sha256()
        for name, value in sorted(self.trained.items()):
            digest.update(f"{name}{value.shape}{value.dtype}".encode())
            digest.update(np.ascontiguousarray(value).data)
        return digest.hexdigest()

    def read(self) -> dict[str, np.ndarray]:
        """The weights in place now, by name."""
        return {name: variable.numpy() for name, variable in self._variables.items()}

    def put(self, changed: Mapping[str, np.ndarray]) -> None:
        """Puts weights in place: those named take these values, all others their trained ones.

        Args:
            changed: Values by variable name. An array that is in place already is not copied
                again, so arrays must not be written to afterwards.
        """
        trained = self.trained
        for name in self.changed.keys() - changed.keys():
            _assign(self._variables[name], trained[name])
            del self.changed[name]
        for name, value in changed.items():
            if self.changed.get(name) is not value:
                _assign(self._variables[name], value)
                self.changed[name] = value

    @contextmanager
    def holding(self, changed: Mapping[str, np.ndarray]) -> Iterator[None]:
        """Inside, these weights are in place; on leaving, those that were there before."""
        before = dict(self.changed)
        try:
            self.put(changed)
            yield
        finally:
            self.put(before)

    @contextmanager
    def restored(self) -> Iterator[None]:
        """On leaving, the trained weights are back in place, whatever happened inside."""
        try:
            yield
        finally:
            self.put({})


def _assign(variable: Any, value: np.ndarray) -> None:
    # `variable.assign` takes three times as long, and a stage has a hundred small ones.
    tf.raw_ops.AssignVariableOp(resource=variable.handle, value=tf.constant(value))
