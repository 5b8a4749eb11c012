"""Saliency methods: from a classifier and images to masks."""

from sanity.methods.controls import Constant, EdgeDetector, Input, RandomMask
from sanity.methods.gradients import (
    Gradient,
    GradientMethod,
    GradientXInput,
    GuidedBackprop,
    IntegratedGradients,
    SmoothGrad,
)
from sanity.methods.pair import XRAI, BlurIG, GuidedIG
from sanity.methods.perturbation import KernelShap, Lime, Occlusion, Rise, ShapleySampling
from sanity.methods.plan import Gradients, Plan
from sanity.methods.points import Noisy, OnPath, Original, Point, Subject

__all__ = [
    "BlurIG",
    "Constant",
    "EdgeDetector",
    "Gradient",
    "GradientMethod",
    "GradientXInput",
    "Gradients",
    "GuidedBackprop",
    "GuidedIG",
    "Input",
    "IntegratedGradients",
    "KernelShap",
    "Lime",
    "Noisy",
    "Occlusion",
    "OnPath",
    "Original",
    "Plan",
    "Point",
    "RandomMask",
    "Rise",
    "ShapleySampling",
    "SmoothGrad",
    "Subject",
    "XRAI",
]
