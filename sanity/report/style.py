"""How a method looks: one colour, line and marker, the same in every figure and page.

A method's look depends on its name alone, never on which others are shown beside it. Methods of one
family share a colour and differ in marker and dash, so that no two known methods look alike to any
eye; controls are grey and dashed.

The seven colours differ from each other by at least 10 (CIEDE2000), with normal vision and with
complete protan-, deuter- and tritanopia (Machado et al. 2009), and have a contrast of at least 3:1
on both `PAPER` and `NIGHT`: enough for lines and marks, not for text.
"""

from dataclasses import dataclass

from sanity.randomness import generator

PAPER = "#ffffff"
NIGHT = "#14171c"
INK = "#22262c"  # text and axes on paper
MUTED = "#6a7078"  # what is less important there
RULE = "#d9dce0"  # grid lines there

BLUE = "#3f55ee"
SKY = "#2c95f2"
GREEN = "#1f8f70"
VERMILLION = "#d55e00"
PURPLE = "#8d4b95"
PINK = "#e06a9f"
RED = "#b33b3b"
COLORS = (BLUE, SKY, GREEN, VERMILLION, PURPLE, PINK, RED)
GREYS = ("#6b6e72", "#8e9195")

Dash = tuple[float, ...]
SOLID: Dash = ()
LONG: Dash = (6, 1.5)
DASHDOT: Dash = (6, 1.5, 1.2, 1.5)
SHORT: Dash = (3, 1.5)
DOTTED: Dash = (1, 1.8)  # of the null, in the method's colour


@dataclass(frozen=True)
class Style:
    """The look of a method.

    Attributes:
        color: `#rrggbb`.
        dash: Lengths of strokes and gaps in multiples of the line's width; empty for a solid line.
        marker: Matplotlib's code.
        control: Whether the method is a control, which does not look at the network.
    """

    color: str
    dash: Dash
    marker: str
    control: bool = False

    @property
    def linestyle(self) -> str | tuple[float, Dash]:
        """The dash as Matplotlib takes it."""
        return (0, self.dash) if self.dash else "-"

    def dasharray(self, width: float) -> str:
        """The dash as SVG's and CSS's `stroke-dasharray` take it, for a line of this width."""
        return " ".join(f"{length * width:g}" for length in self.dash) or "none"


_KNOWN = {
    # the gradient itself
    "gradient": Style(BLUE, SOLID, "o"),
    # averages over noise
    "smoothgrad": Style(SKY, SOLID, "s"),
    "smoothgrad_squared": Style(SKY, LONG, "D"),
    "vargrad": Style(SKY, DASHDOT, "v"),
    # what equals gradient × input in a network of ReLUs without biases
    "gradient_x_input": Style(GREEN, SOLID, "^"),
    "epsilon_lrp": Style(GREEN, LONG, "P"),
    "deeplift_rescale": Style(GREEN, DASHDOT, "D"),
    "attn_lrp": Style(GREEN, SHORT, "o"),
    # other rules in the backward pass through a ReLU
    "guided_backprop": Style(VERMILLION, SOLID, "D"),
    "deconvnet": Style(VERMILLION, LONG, "v"),
    "guided_grad_cam": Style(VERMILLION, DASHDOT, "s"),
    # paths from a baseline
    "integrated_gradients": Style(PURPLE, SOLID, "v"),
    "integrated_gradients_smoothgrad": Style(PURPLE, LONG, "s"),
    "expected_gradients": Style(PURPLE, DASHDOT, "o"),
    "blur_ig": Style(PURPLE, SHORT, "D"),
    "guided_ig": Style(PURPLE, LONG, "P"),
    "xrai": Style(PURPLE, DASHDOT, "X"),
    # activations, attention
    "grad_cam": Style(PINK, SOLID, "P"),
    "grad_cam_plus_plus": Style(PINK, LONG, "X"),
    "grad_cam_tokens": Style(PINK, DASHDOT, "s"),
    "attention_rollout": Style(PINK, SHORT, "o"),
    "attention_relevance": Style(PINK, LONG, "D"),
    # perturbations
    "occlusion": Style(RED, SOLID, "X"),
    "rise": Style(RED, LONG, "o"),
    "shapley_sampling": Style(RED, DASHDOT, "s"),
    "lime": Style(RED, SHORT, "^"),
    "kernel_shap": Style(RED, LONG, "v"),
    # controls
    "random_mask": Style(GREYS[0], SHORT, "x", control=True),
    "edge_detector": Style(GREYS[1], LONG, "+", control=True),
    "input": Style(GREYS[0], DASHDOT, "1", control=True),
    "constant": Style(GREYS[1], SHORT, "2", control=True),
}
_FAMILIES = {
    BLUE: "gradient",
    SKY: "averages over noise",
    GREEN: "gradient × input",
    VERMILLION: "backprop rules",
    PURPLE: "paths",
    PINK: "activations",
    RED: "perturbations",
}
KNOWN = tuple(_KNOWN)
CONTROLS = tuple(name for name, style in _KNOWN.items() if style.control)
_OTHER_MARKERS = ("<", ">", "h", "p", "*", "8", "d")  # of no known method
_OTHER_DASHES = (SOLID, LONG, DASHDOT)


def family(name: str, control: bool | None = None) -> str:
    """What kind of method it is, in words; `others` of one that is not known here."""
    if control or (control is None and name in CONTROLS):
        return "controls"
    known = name in _KNOWN or _relatives(name)
    return _FAMILIES.get(method_style(name, False).color, "others") if known else "others"


def method_style(name: str, control: bool | None = None) -> Style:
    """The look of a method.

    One that is not known here gets a look keyed by its name, with a marker that no known method
    has. If its name begins with a known method's, as `smoothgrad_100` does, it gets that one's
    colour. Two unknown methods may, rarely, look alike.

    Args:
        name: Its name.
        control: Whether it is a control; by default, if its name is a known control's.
    """
    if name in _KNOWN and control in (None, _KNOWN[name].control):
        return _KNOWN[name]
    random = generator("style", name)
    color = COLORS[random.integers(len(COLORS))]
    dash = _OTHER_DASHES[random.integers(len(_OTHER_DASHES))]
    marker = _OTHER_MARKERS[random.integers(len(_OTHER_MARKERS))]
    if control:
        return Style(GREYS[random.integers(len(GREYS))], SHORT, marker, control=True)
    if relatives := _relatives(name):
        color = _KNOWN[max(relatives, key=len)].color
    return Style(color, dash, marker)


def _relatives(name: str) -> list[str]:
    """Known methods with which a name begins."""
    return [k for k, s in _KNOWN.items() if name.startswith(f"{k}_") and not s.control]
