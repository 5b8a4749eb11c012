"""A small data set, prepared by TensorFlow Datasets' own writer."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

CLASSES = ["cat", "dog", "owl"]


class Beasts(tfds.core.GeneratorBasedBuilder):
    """Noise with labels."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = Path(__file__).parent  # where its own description would be
    code_path = None  # it would be looked for with a package that tfds does not ask for

    def _info(self):
        features = {
            "picture": tfds.features.Image(shape=(8, 6, 3), encoding_format="png"),
            "beast": tfds.features.ClassLabel(names=CLASSES),
            "size": tfds.features.Scalar(np.int64),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, manager):
        return {"train": self._generate_examples(5), "test": self._generate_examples(12)}

    def _generate_examples(self, count):
        for i in range(count):
            picture = np.random.default_rng([count, i]).integers(0, 256, (8, 6, 3), np.uint8)
            yield i, {"picture": picture, "beast": i % 3, "size": i}


def prepare(folder, file_format="tfrecord"):
    """Writes it into `FOLDER/beasts/1.0.0`."""
    Beasts(data_dir=str(folder), file_format=file_format).download_and_prepare()
