"""Saliency methods: from a classifier and images to masks."""

from sanity.methods.activations import GradCam, GradCamPlusPlus, GuidedGradCam
from sanity.methods.backprop import Deconvnet, DeepLiftRescale, EpsilonLRP, GuidedBackprop
from sanity.methods.controls import EdgeDetector, RandomMask
from sanity.methods.cost import Cost
from sanity.methods.gradients import (
    ExpectedGradients,
    Gradient,
    GradientMethod,
    GradientXInput,
    IntegratedGradients,
    IntegratedGradientsSmoothGrad,
    SmoothGrad,
    SmoothGradSquared,
    VarGrad,
)
from sanity.methods.plan import Gradients, Plan
from sanity.methods.points import Against, Noisy, OnPath, Original, Point, Subject

__all__ = [
    "Against",
    "Cost",
    "Deconvnet",
    "DeepLiftRescale",
    "EdgeDetector",
    "EpsilonLRP",
    "ExpectedGradients",
    "GradCam",
    "GradCamPlusPlus",
    "Gradient",
    "GradientMethod",
    "GradientXInput",
    "Gradients",
    "GuidedBackprop",
    "GuidedGradCam",
    "IntegratedGradients",
    "IntegratedGradientsSmoothGrad",
    "Noisy",
    "OnPath",
    "Original",
    "Plan",
    "Point",
    "RandomMask",
    "SmoothGrad",
    "SmoothGradSquared",
    "Subject",
    "VarGrad",
]
