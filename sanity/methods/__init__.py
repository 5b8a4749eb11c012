"""Saliency methods: from a classifier and images to masks."""

from sanity.methods.controls import EdgeDetector, RandomMask
from sanity.methods.gradients import (
    Gradient,
    GradientMethod,
    GradientXInput,
    GuidedBackprop,
    IntegratedGradients,
    SmoothGrad,
)
from sanity.methods.plan import Gradients, Plan
from sanity.methods.points import Noisy, OnPath, Original, Point, Subject

__all__ = [
    "EdgeDetector",
    "Gradient",
    "GradientMethod",
    "GradientXInput",
    "Gradients",
    "GuidedBackprop",
    "IntegratedGradients",
    "Noisy",
    "OnPath",
    "Original",
    "Plan",
    "Point",
    "RandomMask",
    "SmoothGrad",
    "Subject",
]
