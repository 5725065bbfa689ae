# SPDX-License-Identifier: Apache-2.0
"""`monodvps benchmark --beside N`: what it compares, and that no process outlives it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_network import write_tiny_weights

from monodvps_ros.benchmark import busy
from monodvps_ros.cli.main import main

# As the command, its measuring process and the busy ones: each starts the next.
COMMAND = """
import os, subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1], str(os.getpid())])
"""
MEASURING = """
import os, sys, time
from monodvps_ros.benchmark.busy import _busy_processes, _end_with
_end_with(int(sys.argv[1]))
with _busy_processes(2) as pids:
    print(os.getpid(), *pids, flush=True)
    time.sleep(600)
"""


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_busy_and_measuring_processes_end_with_the_command(number):
    command = [sys.executable, "-c", COMMAND, MEASURING]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        pids = [int(word) for word in process.stdout.readline().split()]
        assert len(pids) == 3 and all(is_running(pid) for pid in pids)
        process.send_signal(number)
        process.wait(timeout=60)
        end = time.monotonic() + 60
        while any(is_running(pid) for pid in pids) and time.monotonic() < end:
            time.sleep(0.02)
    assert not [pid for pid in pids if is_running(pid)]


def test_ways_to_wait_take_turns_with_progress_and_the_best_of_each_counts(monkeypatch):
    figures = iter([(2.0, 1.0), (8.0, 4.0), (4.0, 0.5), (4.0, 2.0), (3.0, 2.0), (1.0, 3.0)])
    calls, drawn = [], []

    def in_process(changes, arguments):
        calls.append((changes, arguments))
        return dict(zip(("alone", "beside"), next(figures), strict=True), model="street; torch float32")

    monkeypatch.setattr(busy, "POLICIES", {"a": {"X": "1"}, "b": {}})
    monkeypatch.setattr(busy, "_in_process", in_process)
    monkeypatch.setattr(busy, "tracked", lambda items, *said: (drawn.append(said), items)[1])
    model, found = busy.compare_policies("step", "auto", "street", 2)
    assert model == "street; torch float32" and drawn == [("measuring step", 6)]
    assert calls == [({"X": "1"}, ["step", "auto", "street", "2"]), ({}, ["step", "auto", "street", "2"])] * 3
    assert found == {
        "a": {"alone": 4.0, "beside": 2.0, "ratio": 0.5},
        "b": {"alone": 8.0, "beside": 4.0, "ratio": 0.5},
    }


@pytest.mark.slow
def test_the_benchmark_compares_ways_to_wait_alone_and_beside_busy_processes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(busy, "POLICIES", {"monodvps_ros": {}})
    monkeypatch.setattr(busy, "ROUNDS", 1)
    monkeypatch.setattr(busy, "SECONDS", {"training": 2.0})
    weights = write_tiny_weights(tmp_path / "w.safetensors")
    found = tmp_path / "busy.json"
    with pytest.raises(SystemExit) as end:
        main(["benchmark", "--beside", "2", "--weights", str(weights), "--json", str(found)])
    assert end.value.code == 0
    for figures in json.loads(found.read_text()).values():
        assert figures["monodvps_ros"]["alone"] > 0 and figures["monodvps_ros"]["ratio"] > 0
    said, progress = capsys.readouterr()
    assert "1 process of 10 to 20 s" in progress
    assert "beside 2 busy processes" in said and "w.safetensors" in said and "torch float32" in said
