# SPDX-License-Identifier: Apache-2.0
"""Shape contracts: one letter stands for one size in all arguments of a call."""

from typing import Protocol

from monodvps_ros.errors import ShapeError


class HasShape(Protocol):
    """Whatever has a shape: `numpy.ndarray` and `torch.Tensor` alike."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes, outermost first."""
        ...


def check_shapes(advice: str = "", **arguments: tuple[HasShape | None, str]) -> dict[str, int]:
    """Check the shapes of a call's arguments against patterns whose letters they share.

    Args:
        advice: what the caller can do about a mismatch; ends the error message.
        **arguments: name = (array, pattern). A pattern is a list of axes parted by blanks: a number is that
            size, a name (``H``) is the same size wherever it stands in the call. A leading ``*`` stands for
            any number of axes and is not compared. An array of None is passed over.

    Returns:
        The size of each letter.

    Raises:
        ShapeError: an array does not have the pattern's number of axes or sizes, or two disagree on a letter;
            the message names both.
    """
    sizes: dict[str, int] = {}
    first: dict[str, str] = {}
    ending = f"; {advice}" if advice else ""
    shown = {name: tuple(array.shape) for name, (array, _) in arguments.items() if array is not None}
    for name, (array, pattern) in arguments.items():
        if array is None:
            continue
        shape, axes = shown[name], pattern.split()
        if axes and axes[0] == "*":
            axes = axes[1:]
            shape = shape[len(shape) - len(axes) :] if len(shape) >= len(axes) else shape
        if len(shape) != len(axes):
            raise ShapeError(f"{name} is {shown[name]} but must be ({pattern.replace(' ', ', ')}){ending}")
        for axis, size in zip(axes, shape, strict=True):
            if axis.isdigit():
                if size != int(axis):
                    raise ShapeError(f"{name} is {shown[name]} but must be ({pattern.replace(' ', ', ')}){ending}")
            elif sizes.setdefault(axis, size) != size:
                other = first[axis]
                raise ShapeError(
                    f"{name} is {shown[name]} but {other} is {shown[other]}: "
                    f"{axis} is {size} in one and {sizes[axis]} in the other{ending}"
                )
            else:
                first.setdefault(axis, name)
    return sizes
