"""Images, their labels, and the class that is explained in each.

Every data set is a `Dataset`: `check()` finds a user's mistakes cheaply and without the model,
`load(spec)` gives the `Images` as the model takes them. Importing this package loads neither Pillow
nor TensorFlow.
"""

from sanity.data.arrays import Arrays
from sanity.data.base import Dataset, ImageSpec, Split, TrainingData, as_dataset
from sanity.data.folder import Folder, ImageNetSamples
from sanity.data.images import Images
from sanity.data.parquet import Parquet
from sanity.data.pixels import Pixels
from sanity.data.regions import TwoRegions
from sanity.data.selection import Selection
from sanity.data.small import AnimalMnist, Digits, FashionMnist, Mnist, SmallImages
from sanity.data.targets import class_index, find_class, imagenet_class_names, targets
from sanity.data.tfds import Tfds

__all__ = [
    "AnimalMnist",
    "Arrays",
    "Dataset",
    "Digits",
    "FashionMnist",
    "Folder",
    "ImageNetSamples",
    "ImageSpec",
    "Images",
    "Mnist",
    "Parquet",
    "Pixels",
    "Selection",
    "SmallImages",
    "Split",
    "Tfds",
    "TrainingData",
    "TwoRegions",
    "as_dataset",
    "class_index",
    "find_class",
    "imagenet_class_names",
    "targets",
]
