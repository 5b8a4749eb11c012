"""What was asked for: from a composed configuration to a checked job.

Nothing here imports TensorFlow.
"""

from sanity.config.job import Job, compose, composed, resolve
from sanity.config.settings import Masks, Runtime, Settings

__all__ = ["Job", "Masks", "Runtime", "Settings", "compose", "composed", "resolve"]
