# SPDX-License-Identifier: Apache-2.0
"""Networks on the meta device, for names, shapes and costs only."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_FILLING = {
    *(Tensor.normal_, Tensor.uniform_, Tensor.fill_, Tensor.zero_),
    *(nn.init.normal_, nn.init.trunc_normal_, nn.init.uniform_, nn.init.kaiming_normal_, nn.init.kaiming_uniform_),
}


class _WithoutFilling(TorchFunctionMode):
    """Leave tensors as they are where they would be initialised."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a function of torch, except one that fills its first argument."""
        if function in _FILLING:
            return args[0] if args else (kwargs or {})["tensor"]
        return function(*args, **(kwargs or {}))


@contextmanager
def without_values() -> Iterator[None]:
    """Make modules and tensors on torch's meta device, where they take no memory, and do not initialise them.

    Initialising on the meta device would take several times as long as with values.
    """
    with torch.device("meta"), _WithoutFilling():
        yield
