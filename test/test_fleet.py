# SPDX-License-Identifier: Apache-2.0
"""Many recordings: what is listed, resumed, told; totals that add up; workers that are killed."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from monodvps_ros.cli.fleet import fleet
from monodvps_ros.cli.main import main
from monodvps_ros.errors import ConfigError, DataError
from monodvps_ros.evaluation.depth_scaling import DepthScaling
from monodvps_ros.evaluation.pairs import FramePair
from monodvps_ros.evaluation.runner import Evaluation
from monodvps_ros.evaluation.totals import merge_totals, write_totals
from monodvps_ros.fleet import Resources, fleet_folder, list_recordings, make_tasks, run_tasks
from monodvps_ros.labels import CITYSCAPES
from monodvps_ros.metrics import RECORDING_RULES

NAMES = ("a", "b", "c")


@pytest.fixture
def recordings(tmp_path):
    for name in NAMES:
        (tmp_path / "in" / name).mkdir(parents=True)
    before = signal.getsignal(signal.SIGTERM)
    yield list_recordings(tmp_path / "in", tmp_path / "out")
    signal.signal(signal.SIGTERM, before)  # which the command takes


def copy_name(words):
    """Stand in for `monodvps`: fail for b, else write the recording's name."""
    name, out = Path(words[2]).name, Path(words[4])
    if name == "b":
        sys.stderr.write("first line\nmonodvps: b is damaged\n")
        raise SystemExit(2)
    if name == "c":
        raise ZeroDivisionError("a fault")
    out.mkdir(parents=True)
    (out / "name").write_text(name)
    raise SystemExit(3)


def test_recordings_are_listed_from_a_folder_or_a_file(tmp_path, recordings):
    assert list(recordings) == list(NAMES)
    (tmp_path / "list.txt").write_text("# two of them\nin/c\n\nin/a\n")
    assert list_recordings(tmp_path / "list.txt", tmp_path / "out") == {"c": tmp_path / "in/c", "a": tmp_path / "in/a"}
    (tmp_path / "list.txt").write_text("in/d\n")
    with pytest.raises(DataError, match="in/d, which does not exist"):
        list_recordings(tmp_path / "list.txt", tmp_path / "out")
    (tmp_path / "other/a").mkdir(parents=True)
    (tmp_path / "list.txt").write_text("in/a\nother/a\n")
    with pytest.raises(DataError, match="two recordings called a"):
        list_recordings(tmp_path / "list.txt", tmp_path / "out")
    (tmp_path / "list.txt").write_text("")
    with pytest.raises(DataError, match="lists no recordings"):
        list_recordings(tmp_path / "list.txt", tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        list_recordings(tmp_path / "none", tmp_path / "out")


def test_command_lines(tmp_path, recordings):
    out = tmp_path / "out"
    tasks = make_tasks("evaluate", recordings, out, ["--predictions", "p/{name}"])
    assert tasks[1].words == ("evaluate", "--data", str(tmp_path / "in/b"), "--totals", str(out / "b/totals.json"),
                              "--predictions", "p/b")  # fmt: skip
    with fleet_folder(out, "evaluate"):
        pass
    with pytest.raises(DataError, match="'fleet evaluate'; choose another"), fleet_folder(out, "predict"):
        pass
    with pytest.raises(ConfigError, match="must be one of predict, pseudo-label, evaluate"):
        make_tasks("train", recordings, out, [])
    with pytest.raises(ConfigError, match="--input is set for each recording"):
        make_tasks("predict", recordings, tmp_path / "new", ["--input", "x"])
    for option in ("--input=x", "--out=x", "--out"):
        with pytest.raises(ConfigError, match=f"{option[:5]}.* is set for each recording"):
            make_tasks("predict", recordings, tmp_path / "new", ["--frames", "1", option])
    with pytest.raises(ConfigError, match="monodvps predict --help"):
        make_tasks("predict", recordings, tmp_path / "new", ["--help"])
    with pytest.raises(ConfigError, match=r"--report r\.html: every recording would write"):
        make_tasks("evaluate", recordings, tmp_path / "new", ["--json", "{name}.json", "--report=r.html"])
    with pytest.raises(DataError, match="contains other files"), fleet_folder(tmp_path / "in", "predict"):
        pass
    assert not (tmp_path / "new").exists()


def test_one_that_fails_stops_nothing_and_what_is_finished_is_kept(tmp_path, recordings):
    tasks = make_tasks("predict", recordings, tmp_path / "out", [])
    outcomes = {outcome.name: outcome for outcome in run_tasks(tasks, copy_name, Resources())}
    assert [outcomes[name].code for name in NAMES] == [3, 2, 1]
    assert outcomes["b"].message == "monodvps: b is damaged" and outcomes["c"].message == "ZeroDivisionError: a fault"
    assert [outcomes[name].has_failed for name in NAMES] == [False, True, True]
    assert (tmp_path / "out/a/name").read_text() == "a"
    again = [outcome.name for outcome in run_tasks(tasks, copy_name, Resources())]
    assert again == ["b", "c"]
    with pytest.raises(DataError, match="made with other options"):
        list(run_tasks(make_tasks("predict", recordings, tmp_path / "out", ["--frames", "1"]), copy_name, Resources()))


def test_a_part_of_an_interrupted_run_is_begun_anew(tmp_path, recordings):
    tasks = make_tasks("predict", recordings, tmp_path / "out", [])
    (tmp_path / "out/a").mkdir(parents=True)
    (tmp_path / "out/a/half").write_text("")
    list(run_tasks(tasks[:1], copy_name, Resources()))
    assert [path.name for path in (tmp_path / "out/a").iterdir()] == ["name"]


def frames(sequence, seed, count=3):
    random = np.random.default_rng(seed)
    for number in range(count):
        truth = (random.integers(0, 19, (12, 16)) * 1000 + random.integers(1, 3, (12, 16))).astype(np.uint16)
        prediction = np.where(
            random.random(truth.shape) < 0.3, random.permutation(truth.ravel()).reshape(truth.shape), truth
        )
        depth = random.uniform(2, 60, truth.shape).astype(np.float32)
        yield FramePair(
            sequence=sequence, name=str(number), image=np.zeros((12, 16, 3), np.uint8), truth=truth,
            prediction=prediction, truth_depth_m=depth,
            predicted_depth_m=(depth * random.uniform(0.8, 1.4, truth.shape)).astype(np.float32),
        )  # fmt: skip


def evaluation():
    return Evaluation(RECORDING_RULES, CITYSCAPES, (DepthScaling.NONE, DepthScaling.MEDIAN))


def write(path, *sequences, **result):
    measured = evaluation()
    for sequence, seed in sequences:
        measured.add_all(frames(sequence, seed))
    names = {"predictions": {"count": 1, "names": [path.stem]}}
    write_totals(path, measured, {"data": path.stem, "damage": [f"{path.stem} is short"], "unpaired": names, **result})
    return path


def test_totals_of_parts_add_up_to_those_of_the_whole(tmp_path):
    whole = evaluation()
    for sequence, seed in (("a", 1), ("b", 2), ("c", 3)):
        whole.add_all(frames(sequence, seed))
    merged = merge_totals([write(tmp_path / "x.json", ("a", 1), ("b", 2)), write(tmp_path / "y.json", ("c", 3))])
    expected = json.loads(json.dumps(whole.result()))
    for scaling in ("none", "median"):
        for name, value in expected["figures"][scaling].items():
            found = merged["figures"][scaling][name]
            assert found == (None if value is None else pytest.approx(value, rel=1e-9)), name
    assert all(expected["figures"]["none"].get(name) is not None for name in ("pq", "abs_rel", "stq"))
    assert merged["frames"] == 9 and merged["sequences"] == 3
    assert merged["id_switches"] == expected["id_switches"]
    factor = merged["by_depth_scaling"]["median"]["factor"]
    assert factor.pop("camera_height_m") is None and factor.pop("factor_mean") is not None
    assert all(expected["by_depth_scaling"]["median"]["factor"][name] == value for name, value in factor.items())
    assert merged["data"] == ["x", "y"] and merged["damage"] == ["x is short", "y is short"]
    assert merged["unpaired"]["predictions"] == {"count": 2, "names": ["x", "y"]}


def test_totals_of_other_settings_or_files_are_refused(tmp_path):
    first = write(tmp_path / "x.json", ("a", 1), weights="one")
    with pytest.raises(DataError, match=r"y\.json: was measured with other settings than .*x\.json: weights differ"):
        merge_totals([first, write(tmp_path / "y.json", ("b", 2), weights="two")])
    (tmp_path / "z.json").write_text("{}")
    with pytest.raises(DataError, match="contains no totals"):
        merge_totals([tmp_path / "z.json"])
    content = json.loads(first.read_text())
    content["state"]["metrics"][""]["pq"]["tp"] = [1]
    content["state"]["metrics"][""].pop("stq")
    (tmp_path / "z.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="is damaged or of another version"):
        merge_totals([first, tmp_path / "z.json"])


def die_once(words):
    """Run the command; on its first recording called b, the process is killed once the output has begun."""
    out, mark = Path(words[4]), Path(words[4]).parent / ".died"
    if out.name == "b" and not mark.exists():
        mark.write_text(str(os.getpid()))

        def kill():
            while not (out.is_dir() and any(out.rglob("*.png"))):
                time.sleep(0.005)
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=kill, daemon=True).start()
    main(words)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_worker_killed_in_the_middle_leaves_a_whole_result(tmp_path, monkeypatch):
    cloudpickle = pytest.importorskip("ray.cloudpickle")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    import cv2

    random = np.random.default_rng(0)
    for name in NAMES:
        folder = tmp_path / "in" / name / "image"
        folder.mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(folder / f"{number}.png"), random.integers(0, 255, (64, 128, 3), np.uint8))
    found = list_recordings(tmp_path / "in", tmp_path / "out")
    results = []
    for place, resources in (("serial", Resources()), ("ray", Resources("local", retries=1))):
        out = tmp_path / place
        tasks = make_tasks("predict", found, out, ["--weights", "random"])
        with fleet_folder(out, "predict"):
            outcomes = list(run_tasks(tasks, main if place == "serial" else die_once, resources))
        assert sorted((each.name, each.code, each.message) for each in outcomes) == [(name, 0, "") for name in NAMES]
        files = sorted(path for path in out.rglob("*.png"))
        results.append({str(path.relative_to(out)): path.read_bytes() for path in files})
    assert (tmp_path / "ray/.died").is_file() and int((tmp_path / "ray/.died").read_text()) != os.getpid()
    assert results[0] == results[1] and len(results[0]) == 24


def test_the_command_reports_failures_at_the_end(tmp_path, recordings, monkeypatch, capsys):
    monkeypatch.setattr("monodvps_ros.cli.main.main", copy_name)
    assert fleet("predict", tmp_path / "in", tmp_path / "out", []) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[-3:] == ["3 recordings: 1 done, 0 kept, 2 failed", "failed: b: monodvps: b is damaged",
                          "failed: c: ZeroDivisionError: a fault"]  # fmt: skip


def test_a_wrong_option_is_told_in_words(tmp_path, recordings, capsys):
    for option in ("--nosuch", "--no\x1bsuch"):
        assert fleet("predict", tmp_path / "in", tmp_path / "out", [option]) == 1
        shown = option.replace("\x1b", r"\x1b")
        line = capsys.readouterr().err.splitlines()[-1]
        assert line.startswith(f"failed: c: monodvps: No such option: {shown}")
        assert line.endswith("; see: monodvps predict --help")


@pytest.mark.parametrize("option", ["--cpus", "--retries"])
def test_numbers_that_end_the_process_are_refused(tmp_path, option, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["fleet", "predict", str(tmp_path), "--out", str(tmp_path / "out"), option, str(10**14)])
    assert capsys.readouterr().err.startswith(f"monodvps: Invalid value for '{option}': Input should be less than or")


def test_the_command_adds_evaluations_up(tmp_path, recordings, monkeypatch, capsys):
    def main(words):
        Path(words[4]).parent.mkdir(parents=True)
        write(Path(words[4]), (Path(words[2]).name, ord(Path(words[2]).name)))
        raise SystemExit(0)

    monkeypatch.setattr("monodvps_ros.cli.main.main", main)
    assert fleet("evaluate", tmp_path / "in", tmp_path / "out", []) == 0
    result = json.loads((tmp_path / "out/evaluation.json").read_text())
    assert result["frames"] == 9 and result["sequences"] == 3
    assert "3 recordings, 9 frames" in capsys.readouterr().out
