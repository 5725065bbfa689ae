# SPDX-License-Identifier: Apache-2.0
"""The choice of an engine, what is cached, and how far engines agree with torch."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from small_network import write_tiny_weights

from monodvps_ros.cli.main import main
from monodvps_ros.config import PipelineConfig
from monodvps_ros.engines import selection
from monodvps_ros.engines.cache import cache_folder
from monodvps_ros.engines.selection import Choice, candidates
from monodvps_ros.errors import ConfigError, WeightsError
from monodvps_ros.network import load_network
from monodvps_ros.perception import Pipeline
from monodvps_ros.perception.loading import load_model
from monodvps_ros.threads import SPIN_COUNT, let_threads_sleep
from monodvps_ros.types import CameraFrame

# Not importorskip: OpenVINO would report its use.
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="needs openvino")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MONODVPS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MONODVPS_ENGINE", raising=False)
    return tmp_path / "cache"


class TestCandidates:
    @pytest.fixture(autouse=True)
    def all_installed(self, monkeypatch):
        monkeypatch.delenv("MONODVPS_ENGINE", raising=False)
        monkeypatch.setattr(selection.importlib.util, "find_spec", lambda name: name)
        monkeypatch.setattr(selection, "has_bfloat16", lambda: True)

    @pytest.mark.parametrize(
        ("engine", "precision", "device", "expected"),
        [
            ("auto", "auto", CPU, ["torch float32", "openvino float32", "onnxruntime float32", "openvino bfloat16"]),
            ("auto", "float32", CPU, ["torch float32", "openvino float32", "onnxruntime float32"]),
            ("auto", "bfloat16", CPU, ["torch bfloat16", "openvino bfloat16"]),
            ("auto", "int8", CPU, ["openvino int8"]),
            ("openvino", "auto", CPU, ["openvino float32", "openvino bfloat16"]),
            ("torch", "auto", CPU, ["torch float32"]),
            ("auto", "auto", CUDA, ["torch float16"]),
            ("onnxruntime", "auto", CUDA, ["onnxruntime float32"]),
        ],
    )
    def test_are_what_the_settings_allow(self, engine, precision, device, expected):
        assert [" ".join(choice) for choice in candidates(engine, precision, device)] == expected

    def test_without_bfloat16_in_hardware_it_is_only_taken_when_asked_for(self, monkeypatch):
        monkeypatch.setattr(selection, "has_bfloat16", lambda: False)
        assert candidates("openvino", "auto", CPU) == [Choice("openvino", "float32")]
        assert candidates("openvino", "bfloat16", CPU) == [Choice("openvino", "bfloat16")]

    def test_what_is_not_installed_is_not_tried(self, monkeypatch):
        monkeypatch.setattr(selection.importlib.util, "find_spec", lambda name: None)
        assert candidates("auto", "auto", CPU) == [Choice("torch", "float32")]

    @pytest.mark.parametrize(
        ("engine", "precision", "device"),
        [("torch", "int8", CPU), ("onnxruntime", "bfloat16", CPU), ("openvino", "auto", CUDA), ("auto", "int8", CUDA)],
    )
    def test_what_does_not_go_together_is_refused(self, engine, precision, device):
        with pytest.raises(ConfigError, match=f"engine {engine} with precision {precision} is not possible"):
            candidates(engine, precision, device)

    def test_a_variable_decides_for_auto(self, monkeypatch):
        monkeypatch.setenv("MONODVPS_ENGINE", "torch")
        assert candidates("auto", "auto", CPU) == [Choice("torch", "float32")]
        assert candidates("onnxruntime", "auto", CPU) == [Choice("onnxruntime", "float32")]


class Timed:
    """A model of a known speed."""

    input_size = (64, 96)

    def __init__(self, seconds):
        self.seconds = seconds

    def infer(self, image, memory=()):
        return type("Output", (), {"memory": ()})


def test_the_fastest_that_passes_its_check_is_taken(monkeypatch, caplog):
    speeds = {"torch": 3.0, "onnxruntime": 2.0, "openvino": 1.0}

    def load(choice):
        if choice.engine == "openvino":
            raise WeightsError("it computes something else")
        return Timed(speeds[choice.engine])

    monkeypatch.setattr(selection, "_time_s", lambda model, *_: model.seconds)
    found = [Choice(name, "float32") for name in speeds]
    assert selection._fastest(found, load)[0] == Choice("onnxruntime", "float32")
    assert "engine openvino float32 is left out: it computes something else" in caplog.text
    with pytest.raises(WeightsError, match="something else"):
        selection._fastest(found[2:], load)


def test_a_program_runs_only_when_it_is_allowed(tmp_path, caplog):
    file = tmp_path / "w.pt2"
    file.write_bytes(b"no package")
    with pytest.raises(ConfigError, match=r"w\.pt2: a \.pt2 file is a program.*set allow_programs to true"):
        load_model(PipelineConfig(weights=str(file)), CPU)
    with pytest.raises(WeightsError, match="not a complete package"):
        load_model(PipelineConfig(weights=str(file), allow_programs=True), CPU)
    assert "runs as a program with the rights of this process" in caplog.text


@pytest.mark.parametrize(
    ("name", "engine", "says"),
    [
        ("w.xml", "onnxruntime", "does not run .xml files; use openvino"),
        ("w.onnx", "torch", "use onnxruntime or openv"),
    ],
)
def test_an_engine_that_does_not_run_a_file_is_refused(tmp_path, name, engine, says):
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=says):
        load_model(PipelineConfig(weights=str(tmp_path / name), engine=engine), CPU)


@pytest.mark.parametrize(("precision", "device"), [("float16", "cpu")])
def test_a_precision_that_the_device_has_not_is_refused(precision, device):
    with pytest.raises(ConfigError, match="float16 needs CUDA, int8 the CPU"):
        Pipeline(load_network("random"), PipelineConfig(precision=precision, device=device))


@pytest.mark.parametrize("given", [{}, {"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "7"}, {"KMP_BLOCKTIME": "9"}])
def test_threads_sleep_soon_unless_the_user_says_how_they_wait(monkeypatch, given):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    let_threads_sleep()
    found = {
        name: os.environ[name] for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME") if name in os.environ
    }
    assert found == (given or {"GOMP_SPINCOUNT": str(SPIN_COUNT), "KMP_BLOCKTIME": "1"})


@pytest.mark.slow
def test_a_node_that_runs_a_cached_graph_imports_nothing_that_it_does_not_need():
    code = (
        "import sys, monodvps_ros.perception.loading\n"
        "heavy = {'timm', 'torchvision', 'torch._dynamo', 'transformers', 'lightning', 'onnx', 'nncf', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_threads_are_those_wanted_or_torchs_own(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 2, 3})
    before = torch.get_num_threads()
    try:
        load_model(PipelineConfig(weights="random", threads=3), CPU)
        assert torch.get_num_threads() == 3
        load_model(PipelineConfig(weights="random"), CPU)
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)


def test_without_a_home_the_cache_is_of_the_process(monkeypatch, caplog):
    for name in ("MONODVPS_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)  # of a user whom nobody knows
    first = cache_folder("random")
    assert first.parent.is_dir() and first == cache_folder("random")
    assert "environment variable HOME is not set: " in caplog.text and "set MONODVPS_CACHE" in caplog.text


def test_an_int8_graph_must_be_made_first(own_cache, tmp_path):
    weights = write_tiny_weights(tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="no int8 graph yet; make it with: monodvps export --engine openvino"):
        load_model(PipelineConfig(weights=str(weights), engine="openvino", precision="int8"), CPU)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Convert a network with flow, once."""
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("prepared")
    weights = write_tiny_weights(folder / "w.safetensors", flow=True, metric=True, canonical_focal_px=300.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONODVPS_CACHE", str(folder / "cache"))
        load_model(PipelineConfig(weights=str(weights), engine="openvino", precision="float32"), CPU)
    return folder


@needs_openvino
@pytest.mark.slow
class TestConverted:
    @pytest.fixture
    def weights(self, prepared, own_cache, monkeypatch):
        """Name the weights, with a copy of the cache; converting again copies, too."""
        shutil.copytree(prepared / "cache", own_cache)
        (graph,) = (prepared / "cache").glob("*/network.onnx")
        monkeypatch.setattr(selection, "export_graph", lambda path, *_: shutil.copy(graph, path))
        return str(prepared / "w.safetensors")

    def test_each_engine_says_what_torch_says_and_keeps_the_header(self, weights):
        network = load_network(weights)
        torch.manual_seed(1)
        images = [torch.rand(1, 3, *network.input_size) for _ in range(2)]
        first = network.infer(images[0])
        expected = network.infer(images[1], first.memory)
        for engine, precision, tolerance in (
            ("onnxruntime", "float32", 1e-3),
            ("openvino", "float32", 1e-3),
            ("openvino", "bfloat16", 5e-2),
        ):
            model = load_model(PipelineConfig(weights=weights, engine=engine, precision=precision), CPU)
            memory = model.infer(images[0]).memory
            found = model.infer(images[1], memory)
            for name in ("class_logits", "center_heatmap", "offsets_px"):
                one, two = getattr(found, name), getattr(expected, name)
                assert (one - two).abs().max() <= tolerance * two.abs().max(), (engine, precision, name)
            assert (found.disparities[0] - expected.disparities[0]).abs().max() <= tolerance
            assert (found.flow_px[0] - expected.flow_px[0]).abs().max() <= tolerance * expected.flow_px[
                0
            ].abs().max() + 1e-4
            assert model.description == f"{network.description}; {engine} {precision}"
            header = ("input_size", "depth_range_m", "is_metric", "canonical_focal_px", "has_flow", "label_space")
            assert [getattr(model, name) for name in header] == [getattr(network, name) for name in header]
        assert sys.modules["openvino_telemetry"] is None  # no report of use was sent

    @pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
    def test_what_an_engine_gives_that_is_not_finite_is_seen(self, weights, engine):
        """Damaged features of the frame before make the engine itself compute flow that is NaN."""
        config = PipelineConfig(weights=weights, engine=engine, precision="float32")
        pipeline = Pipeline(load_model(config, CPU), config)
        image = np.random.default_rng(1).integers(0, 256, (*pipeline.model.input_size, 3), np.uint8)
        assert pipeline.step(CameraFrame(image, 1)).problem == ""
        kept = pipeline._memory
        pipeline._memory = tuple(torch.full_like(part, torch.nan) for part in kept)
        assert "NaN or infinite flow" in pipeline.step(CameraFrame(image, 2)).problem
        pipeline._memory = kept
        assert pipeline.step(CameraFrame(image, 3)).problem == ""

    def test_auto_is_measured_once_and_damage_of_the_cache_is_mended(self, weights, own_cache, monkeypatch):
        config = PipelineConfig(weights=weights)
        times = {"torch": 3.0, "onnxruntime": 2.0, "openvino": 1.0}
        monkeypatch.setattr(selection, "_time_s", lambda model, *_: times[getattr(model, "engine", "torch")])
        assert "; openvino " in load_model(config, CPU).description
        assert torch.get_num_threads() == 1  # its threads would spin beside the engine's
        (record,) = own_cache.glob("*/fastest-*.json")
        assert json.loads(record.read_text())["engine"] == "openvino"
        monkeypatch.setattr(selection, "_time_s", None)
        assert "; openvino " in load_model(config, CPU).description
        (graph,) = own_cache.glob("*/network.onnx")
        graph.write_bytes(graph.read_bytes()[:1000])
        assert "; openvino " in load_model(config, CPU).description
        record.write_text("{}")
        monkeypatch.setattr(selection, "_time_s", lambda model, *_: -times[getattr(model, "engine", "torch")])
        assert load_model(config, CPU).description.endswith("; torch float32")

    def test_a_cache_that_cannot_be_written_leaves_torch(self, weights, own_cache, caplog):
        shutil.rmtree(own_cache)
        own_cache.write_text("a file where the folder should be")
        assert load_model(PipelineConfig(weights=weights), CPU).description.endswith("; torch float32")
        assert "the cache cannot be made" in caplog.text

    def test_int8_is_calibrated_by_one_command_and_found_by_the_node(self, weights, own_cache, tmp_path, capsys):
        generator = np.random.default_rng(0)
        (tmp_path / "frames").mkdir()
        for index in range(6):
            scene = np.kron(generator.integers(0, 255, (8, 12, 3)), np.ones((8, 8, 1))).astype(np.uint8)
            cv2.imwrite(str(tmp_path / "frames" / f"{index}.png"), scene)
        with pytest.raises(SystemExit) as end:
            main(["export", "--engine", "openvino", "--precision", "int8", "--checkpoint", weights,
                  "--calibrate", str(tmp_path / "frames")])  # fmt: skip
        assert end.value.code == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "on 6 frames" in said and "openvino int8" in said
        network, image = load_network(weights), torch.rand(1, 3, 64, 96)
        model = load_model(PipelineConfig(weights=weights, engine="openvino", precision="int8"), CPU)
        found, expected = model.infer(image), network.infer(image)
        assert (found.disparities[0] - expected.disparities[0]).abs().max() < 0.1
        (file,) = own_cache.glob("*/int8.xml")
        assert 'element_type="u8"' in file.read_text() or 'element_type="i8"' in file.read_text()


SIGNAL_STACK = """
import ctypes
from monodvps_ros.engines.openvino_file import load_core
class Stack(ctypes.Structure):
    _fields_ = [("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]
def stack():
    found = Stack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(found))
    return found.pointer, found.flags, found.size
before = stack()
load_core("a test")
print(stack() == before)
"""


@needs_openvino
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="Linux's signal stacks")
def test_openvino_leaves_the_stack_of_signals_as_it_was():
    command = [sys.executable, "-c", SIGNAL_STACK]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.stdout.strip() == "True", result.stderr
