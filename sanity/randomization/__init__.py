"""Randomization: the sequence of weight states through which a network loses what it learned.

A randomization gives `Stage`s, the network as trained first: `Randomization` destroys blocks in
some order, `PermutedLabels` trains anew, `OtherClass` keeps the weights and explains another class.
`Layers` chooses the blocks. Importing this package does not import TensorFlow.
"""

from sanity.randomization.base import Scheme, as_scheme
from sanity.randomization.initializers import (
    INITIALIZERS,
    Glorot,
    He,
    Initializer,
    MatchedNormal,
    Noise,
    Normal,
    Permutation,
    Reinitialize,
    TruncatedNormal,
    Uniform,
    Variable,
    Zeros,
)
from sanity.randomization.layers import Layers, as_layers
from sanity.randomization.other_class import OtherClass
from sanity.randomization.permuted_labels import PermutedLabels
from sanity.randomization.stage import Stage, predicted, randomized
from sanity.randomization.weights import Randomization

__all__ = [
    "INITIALIZERS",
    "Glorot",
    "He",
    "Initializer",
    "Layers",
    "MatchedNormal",
    "Noise",
    "Normal",
    "OtherClass",
    "Permutation",
    "PermutedLabels",
    "Randomization",
    "Reinitialize",
    "Scheme",
    "Stage",
    "TruncatedNormal",
    "Uniform",
    "Variable",
    "Zeros",
    "as_layers",
    "as_scheme",
    "predicted",
    "randomized",
]
