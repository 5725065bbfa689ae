# SPDX-License-Identifier: Apache-2.0
"""Exported graphs: they compute what the network does, run behind the pipeline, and say so where they cannot."""

import json
import shutil
import sys
import zipfile

import numpy as np
import pytest
import torch
from tiny import TINY

from monodvps_ros.cli.main import main
from monodvps_ros.config import NetworkConfig, PipelineConfig, ScaleConfig
from monodvps_ros.engines import GraphModel, export_graph
from monodvps_ros.engines import graph as graphs
from monodvps_ros.errors import MissingDependencyError, ShapeError, WeightsError
from monodvps_ros.network import MonoDVPS, load_network, read_card, save_weights
from monodvps_ros.network.header import HEADER_KEY
from monodvps_ros.outputs import Output
from monodvps_ros.perception import Pipeline
from monodvps_ros.perception.loading import load_model
from monodvps_ros.types import CameraFrame, PerceptionModel

CPU = torch.device("cpu")
CARD = {"training_data": ["drive.mcap"], "steps": 7, "metrics": {"PQ": 0.5}}


def _network(**changes):
    """Build a network whose heads say something: untrained ones begin near zero."""
    torch.manual_seed(3)
    network = MonoDVPS(NetworkConfig(**TINY, **changes)).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "head.final" in name or "predict" in name or "correct" in name:
                parameter.normal_(std=0.3)
    return network


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a network with flow as weights and as ONNX, once."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    folder = tmp_path_factory.mktemp("graphs")
    network = _network()
    save_weights(folder / "w.safetensors", network, CARD)
    with pytest.raises(SystemExit) as end:
        main(["export", "--checkpoint", str(folder / "w.safetensors"), "--out", str(folder / "w.onnx"),
              "--format", "onnx"])  # fmt: skip
    assert end.value.code == 0
    assert sorted(path.name for path in folder.iterdir()) == ["w.onnx", "w.safetensors"]
    return folder


def _frames(count):
    generator = np.random.default_rng(0)
    scene = np.kron(generator.integers(0, 255, (12, 20, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return [CameraFrame(scene[:64, 3 * i : 3 * i + 96].copy(), i * 100_000_000) for i in range(count)]


def _tensor(frame):
    return torch.from_numpy(frame.image).permute(2, 0, 1)[None].float() / 255


def _change_metadata(source, target, change):
    """Copy an ONNX file with another header."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(source)
    entry = next(entry for entry in model.metadata_props if entry.key == HEADER_KEY)
    header = json.loads(entry.value)
    change(header)
    entry.value = json.dumps(header)
    onnx.save(model, target)
    return target


@pytest.mark.slow
class TestOnnx:
    def test_each_output_is_the_networks(self, files):
        model, network = GraphModel(files / "w.onnx", CPU), load_network(files / "w.safetensors")
        assert isinstance(model, PerceptionModel)
        assert (model.input_size, model.depth_range_m) == (network.input_size, network.depth_range_m)
        assert model.label_space is network.label_space
        assert model.description == "w.onnx: mobilenetv3_small_050, trained on drive.mcap; onnxruntime float32"
        memory, expected_memory = (), ()
        for place, frame in enumerate(_frames(3)):
            found, expected = model.infer(_tensor(frame), memory), network.infer(_tensor(frame), expected_memory)
            assert len(found.flow_px) == (place > 0)
            for name in ("class_logits", "center_heatmap", "offsets_px"):
                one, two = getattr(found, name), getattr(expected, name)
                assert (one - two).abs().max() <= 1e-3 * two.abs().max(), name
            assert (found.disparities[0] - expected.disparities[0]).abs().max() <= 1e-3 * expected.disparities[0].max()
            for one, two in zip(found.flow_px, expected.flow_px, strict=True):
                assert (one - two).abs().max() <= 1e-3 * two.abs().max()
            memory, expected_memory = found.memory, expected.memory
        assert expected.flow_px[0].abs().max() > 1.0  # there was something to find

    def test_the_pipeline_runs_it_by_the_name_of_the_file(self, files):
        seen = []
        for name, engine in (("w.onnx", "onnxruntime"), ("w.safetensors", "torch")):
            config = PipelineConfig(
                weights=str(files / name), engine=engine, device="cpu", scale=ScaleConfig(mode="none")
            )
            pipeline = Pipeline(load_model(config, CPU), config)
            seen.append([pipeline.step(frame, frozenset({Output.DEPTH, Output.PANOPTIC})) for frame in _frames(3)])
        for one, two in zip(*seen, strict=True):
            np.testing.assert_allclose(one.depth_m, two.depth_m, rtol=2e-3)
            assert (one.panoptic == two.panoptic).mean() > 0.999

    def test_memory_is_the_callers_own(self, files):
        model = GraphModel(files / "w.onnx", CPU)
        first, second = (_tensor(frame) for frame in _frames(2))
        memory = model.infer(first).memory
        before = [entry.clone() for entry in memory]
        model.infer(second, memory)
        assert all(torch.equal(one, two) for one, two in zip(memory, before, strict=True))

    def test_another_size_is_refused(self, files):
        with pytest.raises(ShapeError, match=r"image is \(1, 3, 96, 96\) but the exported graph takes"):
            GraphModel(files / "w.onnx", CPU).infer(torch.zeros(1, 3, 96, 96))

    def test_changed_weights_are_noticed(self, files, tmp_path):
        onnx = pytest.importorskip("onnx")
        model = onnx.load(files / "w.onnx")
        last = next(entry for entry in model.graph.initializer if list(entry.dims) == [19, 16, 1, 1])  # class scores
        values = np.frombuffer(last.raw_data, np.float32).copy()
        values[16 * 13 : 16 * 14] += 10.0
        last.raw_data = values.tobytes()
        onnx.save(model, tmp_path / "w.onnx")
        with pytest.raises(WeightsError, match=r"off the network's at values of up to .*export it again"):
            GraphModel(tmp_path / "w.onnx", CPU)

    def test_a_file_cut_short_is_refused(self, files, tmp_path):
        whole = (files / "w.onnx").read_bytes()
        (tmp_path / "w.onnx").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(WeightsError, match="onnxruntime cannot load it"):
            GraphModel(tmp_path / "w.onnx", CPU)

    @pytest.mark.parametrize(
        ("change", "says"),
        [
            (lambda header: header.update(format="monodvps_ros/9"), "its format is 'monodvps_ros/9'"),
            (lambda header: header.update(network=None), "'network' of its header is None; expected a dict"),
            (lambda header: header.update(label_space=["road"]), r"its classes are \['road'\]"),
            (lambda header: header["network"].update(input_width=128), r"takes .*but by its header"),
            (lambda header: header["network"].update(flow=False), r"takes .*but by its header"),
            (lambda header: header.pop("probe"), "no stored outputs to check it against"),
            (lambda header: header["probe"].pop("disparity"), "output 'disparity' is .* its header says None"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, files, tmp_path, change, says):
        with pytest.raises(WeightsError, match=says):
            GraphModel(_change_metadata(files / "w.onnx", tmp_path / "w.onnx", change), CPU)

    def test_a_foreign_model_is_refused(self, tmp_path):
        onnx = pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
        shape = onnx.helper.make_tensor_value_info
        node = onnx.helper.make_node("Identity", ["image"], ["copy"])
        graph = onnx.helper.make_graph([node], "g", [shape("image", 1, [1])], [shape("copy", 1, [1])])
        opset = [onnx.helper.make_opsetid("", 18)]
        onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "other.onnx")
        with pytest.raises(WeightsError, match="ONNX, but without the 'monodvps' header"):
            GraphModel(tmp_path / "other.onnx", CPU)

    def test_a_graph_is_not_loaded_as_weights(self, files):
        with pytest.raises(WeightsError, match=r"an exported graph.*give the \.safetensors file"):
            read_card(files / "w.onnx")


@pytest.mark.slow
def test_a_file_that_disagrees_is_not_left_behind(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    honest = graphs.InferenceGraph.forward

    def crooked(self, image, *memory):
        """Add, only where it is traced, to what the graph gives."""
        classes, *others = honest(self, image, *memory)
        return (classes + 0.01 if torch.compiler.is_compiling() else classes, *others)

    monkeypatch.setattr(graphs.InferenceGraph, "forward", crooked)
    with pytest.raises(WeightsError, match="output 'class_logits' is up to"):
        export_graph(tmp_path / "w.onnx", _network(flow=False), CARD)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_package_runs_and_knows_its_machine(tmp_path, monkeypatch):
    file = tmp_path / "w.pt2"
    network = _network(flow=False)
    export_graph(file, network, CARD)
    assert list(tmp_path.iterdir()) == [file]
    model = load_model(PipelineConfig(weights=str(file), device="cpu", allow_programs=True), CPU)
    assert model.description == "w.pt2: mobilenetv3_small_050, trained on drive.mcap; torch float32"
    image = _tensor(_frames(1)[0])
    one, two = model.infer(image), network.infer(image)
    assert (one.class_logits - two.class_logits).abs().max() <= 1e-3 * two.class_logits.abs().max()
    assert (one.disparities[0] - two.disparities[0]).abs().max() <= 1e-3
    assert one.flow_px == one.memory == ()

    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "another one")
    with pytest.raises(WeightsError, match=r"compiled for .* but this is .*another one.*export it on this machine"):
        GraphModel(file, CPU)
    with zipfile.ZipFile(tmp_path / "other.pt2", "w") as package:
        package.writestr("other/data", "")
    with pytest.raises(WeightsError, match="without the 'monodvps' header"):
        GraphModel(tmp_path / "other.pt2", CPU)


@pytest.mark.slow
def test_without_a_compiler_is_said(tmp_path, monkeypatch):
    config = pytest.importorskip("torch._inductor.config")
    monkeypatch.setattr(config.cpp, "cxx", (str(tmp_path / "none"),))
    with pytest.raises(MissingDependencyError, match=r"needs a C\+\+ compiler.*install g\+\+"):
        export_graph(tmp_path / "w.pt2", _network(flow=False), CARD)
    assert list(tmp_path.iterdir()) == []


def test_without_onnxruntime_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "w.onnx").write_bytes(b"any")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(
        MissingDependencyError,
        match=r"'onnxruntime', which is not installed; .* pip install '\.\[export\]' or make build",
    ):
        GraphModel(tmp_path / "w.onnx", CPU)


@pytest.mark.parametrize(("name", "says"), [("w.onnx", "cannot load it"), ("w.pt2", "not a complete package")])
def test_a_file_of_another_kind_is_refused(tmp_path, caplog, name, says):
    if name.endswith(".onnx"):
        pytest.importorskip("onnxruntime")
    (tmp_path / name).write_bytes(b"no such thing")
    with pytest.raises(WeightsError, match=says):
        load_model(PipelineConfig(weights=str(tmp_path / name), device="cpu", allow_programs=True), CPU)
    with pytest.raises(WeightsError, match="no such file; give one written by 'monodvps export'"):
        load_model(PipelineConfig(weights=str(tmp_path / f"absent_{name}"), device="cpu"), CPU)
    assert "is left out" not in caplog.text.partition("absent_")[2]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--out", "w.onnx"], "a file of format safetensors ends in .safetensors"),
        (["--out", "w.onnx", "--format", "aoti"], "a file of format aoti ends in .pt2"),
        (["--out", "w.onnx", "--format", "onnx", "--half"], "--half is for safetensors"),
    ],
)
def test_the_command_line_refuses_what_does_not_go_together(words, says, capsys):
    with pytest.raises(SystemExit) as end:
        main(["export", "--checkpoint", "last.ckpt", *words])
    assert end.value.code == 2
    assert says in capsys.readouterr().err
