# SPDX-License-Identifier: Apache-2.0
"""What engines keep: the note of the fastest, graphs that were not finished, pairs of files; and how many threads."""

import json
import threading

import pytest
import torch
from small_network import write_tiny_weights

from monodvps_ros.config import PipelineConfig
from monodvps_ros.engines import graph, make_int8, selection
from monodvps_ros.engines.cache import cache_folder
from monodvps_ros.engines.selection import Choice
from monodvps_ros.errors import DataError
from monodvps_ros.files import owned


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MONODVPS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def converted(monkeypatch):
    """Collect the conversions to a graph, each of which is only noted."""
    paths = []
    monkeypatch.setattr(selection, "load_network", lambda *_, **__: None)
    monkeypatch.setattr(selection, "export_graph", lambda path, *_: (paths.append(path), path.touch()))
    return paths


class TestNote:
    FOUND = (Choice("torch", "float32"), Choice("onnxruntime", "float32"))

    @pytest.fixture
    def load(self, tmp_path, monkeypatch):
        """Load an engine by name alone; onnxruntime is the fastest."""
        weights = str(write_tiny_weights(tmp_path / "w.safetensors"))
        monkeypatch.setattr(selection, "candidates", lambda *_: list(self.FOUND))
        monkeypatch.setattr(selection, "_load", lambda weights, device, choice, threads: choice)
        monkeypatch.setattr(selection, "_fastest", lambda found, load: (found[1], load(found[1])))
        return lambda: selection.load_engine(PipelineConfig(weights=weights), torch.device("cpu"))

    @pytest.mark.parametrize(
        "content",
        [
            b'{"engine": "onnxruntime", "precision": "foo"}',
            b'{"engine": "foo", "precision": "float32"}',
            b'{"engine": "onnxruntime", "precision": ["float32"]}',
            b'{"engine": "onnxruntime"}',
            b"[" * 100_000,
            b"null",
            b"\xff\x00",
            b"",
        ],
    )
    def test_a_damaged_or_unknown_one_is_measured_again(self, load, tmp_path, caplog, content):
        assert load() == self.FOUND[1] and caplog.text == ""
        (note,) = (tmp_path / "cache").glob("*/fastest-*.json")
        note.write_bytes(content)
        assert load() == self.FOUND[1]
        assert len(caplog.records) == 1 and f"measured again: {note}: " in caplog.text
        assert json.loads(note.read_text()) == {"engine": "onnxruntime", "precision": "float32"}

    def test_a_good_one_is_taken_without_measuring(self, load, tmp_path, monkeypatch):
        load()
        (note,) = (tmp_path / "cache").glob("*/fastest-*.json")
        note.write_text('{"precision": "float32", "engine": "torch"}')
        monkeypatch.setattr(selection, "_fastest", None)
        assert load() == self.FOUND[0]


def test_what_a_killed_conversion_left_is_removed_by_the_next(converted):
    folder = cache_folder("random")
    folder.mkdir(parents=True)
    (folder / ".network.onnx.01234567.partial.onnx").touch()
    assert selection._graph("random") == folder / "network.onnx" and converted == [folder / "network.onnx"]
    assert [path.name for path in folder.iterdir()] == ["network.onnx"]


def test_who_waited_for_a_conversion_takes_its_graph(converted):
    path = cache_folder("random") / "network.onnx"
    path.parent.mkdir(parents=True)
    taken = []
    waiter = threading.Thread(target=lambda: taken.append(selection._graph("random")), daemon=True)
    with owned(path, is_file=True):
        waiter.start()
        waiter.join(timeout=0.2)
        assert taken == []
        path.touch()
    waiter.join(timeout=60)
    assert taken == [path] and converted == []


class TestInt8:
    @pytest.fixture
    def write(self, converted, monkeypatch):
        def pair(graph, path, inputs):
            path.write_text("graph " + inputs)
            path.with_suffix(".bin").write_text("constants " + inputs)

        monkeypatch.setattr(selection, "write_int8", pair)

    def test_a_pair_replaces_the_old_one_and_what_a_killed_writer_left(self, write, tmp_path):
        folder = tmp_path / "out"
        folder.mkdir()
        for name in (".a.xml.01234567.partial.xml", ".a.xml.01234567.partial.bin"):
            (folder / name).touch()
        make_int8("random", "one", folder / "a.xml")
        make_int8("random", "two", folder / "a.xml")
        assert {path.name: path.read_text() for path in folder.iterdir()} == {
            "a.xml": "graph two",
            "a.bin": "constants two",
        }

    def test_who_is_killed_between_the_two_files_leaves_no_mixed_pair(self, write, tmp_path, monkeypatch):
        make_int8("random", "one", tmp_path / "a.xml")
        put = selection.put_in_place

        def killed(partial, path):
            put(partial, path)
            raise KeyboardInterrupt

        monkeypatch.setattr(selection, "put_in_place", killed)
        with pytest.raises(KeyboardInterrupt):
            make_int8("random", "two", tmp_path / "a.xml")
        assert (tmp_path / "a.bin").read_text() == "constants two" and not (tmp_path / "a.xml").exists()

    @pytest.mark.parametrize("out", [True, False])
    def test_one_process_writes_it(self, write, tmp_path, out):
        target = tmp_path / "a.xml" if out else cache_folder("random") / "int8.xml"
        target.parent.mkdir(parents=True, exist_ok=True)
        with owned(target, is_file=True), pytest.raises(DataError, match="is being written by another process"):
            make_int8("random", "one", target if out else None)
        assert not target.exists()


def test_no_more_threads_than_cores_are_taken(monkeypatch, caplog):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 3})
    graph._at_most_cores.cache_clear()
    assert [graph.thread_count(wanted) for wanted in (1, 2, 3, 1024, 1024)] == [1, 2, 2, 2, 2]
    assert [record.getMessage() for record in caplog.records] == [
        f"{wanted} threads are wanted, but this process may use 2 cores: 2 are taken" for wanted in (3, 1024)
    ]
