# SPDX-License-Identifier: Apache-2.0
"""The script for GPUs: it runs whole where there is none, fails what fails, and counts waits of the host."""

import json

import gpu_check
import numpy as np
import pytest
import torch
from gpu_check_waits import count_waits, fixed_shapes

from monodvps_ros.errors import DeviceError
from monodvps_ros.perception import code_maps
from monodvps_ros.perception.device import Download, to_host

CPU = torch.device("cpu")


def test_calls_that_would_wait_are_counted_and_others_are_not():
    values = torch.arange(6.0)

    def step():
        values.sum().item()  # 1
        values[values > 2]  # 2
        bool((values > 2).any())  # 3
        values.nonzero()  # 4
        to_host(values, values + 1)  # 5: one for both
        torch.where(values > 2, values, 0.0).index_select(0, torch.tensor([1])).sort()
        values.to(CPU, non_blocking=True)

    assert count_waits(step, CPU)[0] == 5


def test_downloads_that_were_added_come_together():
    values, download = torch.arange(3.0), Download()

    def step():
        first, second = download.add(values, values + 1), download.add(values * 2)
        assert [part.tolist() for part in second()] == [[0, 2, 4]]  # one wait, for all three
        assert [part.tolist() for part in first()] == [[0, 1, 2], [1, 2, 3]]
        assert download.add(values.sum())()[0] == 3.0  # another

    assert count_waits(step, CPU)[0] == 2


def test_the_form_for_a_gpu_is_taken_back_also_after_an_error():
    maps = torch.zeros(2)
    with pytest.raises(ValueError, match="stop"), fixed_shapes():
        assert not code_maps.follows_data(maps)
        raise ValueError("stop")
    assert code_maps.follows_data(maps)


def test_a_check_that_breaks_off_fails_and_the_others_go_on(monkeypatch, capsys):
    def broken(sizes, device):
        yield gpu_check.Check("first", 1.0, "ms")
        raise RuntimeError("no kernel image")

    def whole(sizes, device):
        yield gpu_check.Check("second", 2.0, "ms", "<= 3", passed=True)

    monkeypatch.setattr(gpu_check, "CHECKS", {"broken": broken, "whole": whole})
    found = gpu_check.run_checks(gpu_check.QUICK, CPU)
    assert [(check.name, check.passed) for check in found] == [("broken", False), ("second", True)]
    table = gpu_check.as_table(found)
    assert "broke off: RuntimeError: no kernel image" in table and "FAIL" in table and "<= 3" in table


@pytest.mark.parametrize(("engine", "passed"), [("onnxruntime", None), ("torch", False)])
def test_an_engine_that_cannot_use_the_device_fails_only_where_it_is_torch(monkeypatch, engine, passed):
    def refuse(config, device):
        raise DeviceError("cannot use 'cuda'")

    monkeypatch.setattr(gpu_check, "load_engine", refuse)
    (found,) = gpu_check.check_engine("street", engine, "float32", CPU, (torch.zeros(1), torch.zeros(1)))
    assert found.passed is passed and "cannot use 'cuda'" in found.value


def test_precisions_that_an_engine_does_not_offer_are_said(monkeypatch):
    monkeypatch.setattr(gpu_check, "check_engine", lambda *_: iter(()))
    found = {check.name: check.value for check in gpu_check.check_engines(gpu_check.FULL, CPU)}
    assert found["engine torch float16"] == "not offered on cpu" and "engine torch bfloat16" not in found


def test_outputs_that_differ_fail(monkeypatch):
    made = gpu_check.make_pipeline

    def other(sizes, device, **options):
        pipeline = made(sizes, device, **options)
        if not code_maps.follows_data(torch.zeros(1)):  # the device's
            pipeline.model.answers.class_logits[:, 5] += 3.0  # the winners stay, less sure
        return pipeline

    monkeypatch.setattr(gpu_check, "make_pipeline", other)
    verdicts = {check.name: check.passed for check in gpu_check.check_outputs(gpu_check.QUICK, CPU)}
    assert not verdicts["confidence: differs from the CPU"]
    assert verdicts["panoptic: differs from the CPU"] and verdicts["depth: differs from the CPU"]


@pytest.mark.slow
def test_the_whole_script_runs_on_a_cpu(tmp_path, capsys):
    assert gpu_check.main(["--out", str(tmp_path), "--device", "cpu", "--quick"]) == 0
    report = json.loads((tmp_path / "gpu_check.json").read_text(encoding="utf-8"))
    checks = {check["name"]: check for check in report["checks"]}
    assert not [name for name, check in checks.items() if check["passed"] is False]
    rates = [check["value"] for name, check in checks.items() if name.startswith(("frames at", "training at"))]
    assert len(rates) == 2 and np.all(np.array(rates) > 0)
    assert checks["waits of the host in a frame"]["value"] <= 2
    assert checks["segments: ids and ages as on the CPU"]["value"] >= 20
    assert (tmp_path / "gpu_check.txt").read_text(encoding="utf-8") in capsys.readouterr().out
