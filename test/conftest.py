# SPDX-License-Identifier: Apache-2.0
"""What all tests share: a DDS domain of their own, and where real data lies."""

import gc
import os
import re
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def unused_domain():
    """Choose a DDS domain without files in shared memory, where killed processes leave the ports that they had."""
    ports = [re.search(r"port(\d+)", path.name) for path in Path("/dev/shm").glob("*fast*port*")]
    used = {(int(port[1]) - 7400) // 250 for port in ports if port}
    domains = [1 + (os.getpid() + 7 * step) % 100 for step in range(100)]  # in an order that neighbours do not share
    return next((domain for domain in domains if domain not in used), domains[0])


# Before any test imports rclpy: nodes of two test processes, or of a robot on this network, must not meet.
if "ROS_DOMAIN_ID" not in os.environ or "PYTEST_XDIST_WORKER" in os.environ:  # a worker inherits its parent's
    os.environ["ROS_DOMAIN_ID"] = str(unused_domain())
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

# The other engines convert each network once, which takes seconds; their own tests name them.
os.environ.setdefault("MONODVPS_ENGINE", "torch")

# Tensors in tests are small: threads cost more than they gain, and tests run in parallel processes.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell without job control starts background processes with SIGINT ignored, and what tests start would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Escape what a test has logged about names that are not UTF-8, which parallel processes cannot send."""
    report = yield
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


# The imports of the test files make a million objects that stay; looking through them for garbage takes a fifth longer.
gc.disable()


def pytest_collection_finish():
    """Spare the garbage collector what the imports made: a tenth of the tests' time."""
    gc.enable()
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real recordings, named by MONODVPS_DATA or beside the checkout; tests that want it skip without."""
    folder = Path(os.environ.get("MONODVPS_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; MONODVPS_DATA names another folder")
    return folder
