"""Images, their labels, and the class that is explained in each.

A data spec (`ImageNetSamples`, `Folder`, `AnimalMnist`, `Mnist`, `FashionMnist`, `Digits`,
`TwoRegions`) has two methods: `check()` finds a user's mistakes cheaply and without the model,
`load(shape, …)` gives the `Images` as the model takes them. Importing this package loads neither
Pillow nor TensorFlow.
"""

from sanity.data.folder import Folder, ImageNetSamples
from sanity.data.images import Images, Selection
from sanity.data.regions import TwoRegions
from sanity.data.small import AnimalMnist, Digits, FashionMnist, Mnist, SmallImages
from sanity.data.targets import class_index, find_class, imagenet_class_names, targets

__all__ = [
    "AnimalMnist",
    "Digits",
    "FashionMnist",
    "Folder",
    "ImageNetSamples",
    "Images",
    "Mnist",
    "Selection",
    "SmallImages",
    "TwoRegions",
    "class_index",
    "find_class",
    "imagenet_class_names",
    "targets",
]
