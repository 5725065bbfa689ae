# SPDX-License-Identifier: Apache-2.0
"""How the threads of a computation wait for each other, which decides the speed on a busy machine."""

import os

#: Iterations for which a thread of libgomp (torch from PyPI) spins at a barrier before it sleeps; libgomp's default
#: is 300,000. Measured: as fast as the default where the machine is idle, and twice as fast beside two busy processes.
SPIN_COUNT = 2000
#: Variables by which a user decides instead; KMP_BLOCKTIME (milliseconds) is that of Intel's and LLVM's OpenMP.
POLICY_VARIABLES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def let_threads_sleep() -> None:
    """Make waiting threads sleep soon, unless the user's environment says how they wait.

    Must be called before torch is imported: OpenMP reads the environment when it is loaded. Processes started later
    inherit the setting.
    """
    if not any(name in os.environ for name in POLICY_VARIABLES):
        os.environ.update(GOMP_SPINCOUNT=str(SPIN_COUNT), KMP_BLOCKTIME="1")
