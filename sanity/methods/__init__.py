"""Saliency methods: from a classifier and images to masks."""

from sanity.methods.activations import GradCam, GradCamPlusPlus, GuidedGradCam
from sanity.methods.attention import (
    AttentionRelevance,
    AttentionRollout,
    AttnLRP,
    GradCamTokens,
)
from sanity.methods.backprop import Deconvnet, DeepLiftRescale, EpsilonLRP, GuidedBackprop
from sanity.methods.base import GradientMethod, Method, as_method
from sanity.methods.controls import Constant, EdgeDetector, Input, RandomMask
from sanity.methods.cost import Cost
from sanity.methods.denoised import Denoised
from sanity.methods.gradients import (
    ExpectedGradients,
    Gradient,
    GradientXInput,
    IntegratedGradients,
    IntegratedGradientsSmoothGrad,
    SmoothGrad,
    SmoothGradSquared,
    VarGrad,
)
from sanity.methods.known import BlindEdges, FixedPattern, OtherEachTime
from sanity.methods.occlusion import Occlusion
from sanity.methods.pair_saliency import XRAI, BlurIG, GuidedIG
from sanity.methods.plan import Gradients, Plan
from sanity.methods.points import Against, Noisy, OnPath, Original, Point
from sanity.methods.rise import Rise
from sanity.methods.segmented import KernelShap, Lime, ShapleySampling
from sanity.methods.subject import Subject

__all__ = [
    "Against",
    "AttentionRelevance",
    "AttentionRollout",
    "AttnLRP",
    "BlindEdges",
    "BlurIG",
    "Constant",
    "Cost",
    "Deconvnet",
    "DeepLiftRescale",
    "Denoised",
    "EdgeDetector",
    "EpsilonLRP",
    "ExpectedGradients",
    "FixedPattern",
    "GradCam",
    "GradCamPlusPlus",
    "GradCamTokens",
    "Gradient",
    "GradientMethod",
    "GradientXInput",
    "Gradients",
    "GuidedBackprop",
    "GuidedGradCam",
    "GuidedIG",
    "Input",
    "IntegratedGradients",
    "IntegratedGradientsSmoothGrad",
    "KernelShap",
    "Lime",
    "Method",
    "Noisy",
    "Occlusion",
    "OnPath",
    "Original",
    "OtherEachTime",
    "Plan",
    "Point",
    "RandomMask",
    "Rise",
    "ShapleySampling",
    "SmoothGrad",
    "SmoothGradSquared",
    "Subject",
    "VarGrad",
    "XRAI",
    "as_method",
]
