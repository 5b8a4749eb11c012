"""Units: what a run finishes at a time, a group of images at one stage."""


def cut_groups(n_images: int, size: int) -> list[range]:
    """Positions of images in groups of a size, the last one perhaps smaller."""
    return [range(start, min(start + size, n_images)) for start in range(0, n_images, size)]


def unit_name(group: range, stage: int) -> str:
    """The name of a unit; sorted names are in the order of groups, then of stages."""
    return f"g{group.start:06d}-{group.stop:06d}-s{stage:04d}"
