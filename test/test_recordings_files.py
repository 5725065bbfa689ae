# SPDX-License-Identifier: Apache-2.0
"""Files of recordings: paths, splits, compression, sqlite3 damage, and what metadata.yaml says of them."""

import os
import shutil
import sqlite3

import pytest
import yaml
from recordings import IMAGE, camera, numbers, stamps, write_bag, write_mcap

from monodvps_ros.data import open_source
from monodvps_ros.data.bag import BagReader, is_bag
from monodvps_ros.errors import DataError

ODD_NAMES = ["run #3", "a%20b", "why?", "50% off", "x&mode=rw", "dé", os.fsdecode(b"latin\xe9")]


def check_whole(path, count=5):
    source = open_source(path)
    assert len(source) == count
    assert numbers(source) == list(range(count))
    assert list(source.damage) == []


def sqlite_file(path, count=5):
    """A single .db3 file, so that no metadata.yaml says what should be in it."""
    return shutil.copy(write_bag(path / "made", camera(stamps(count)), "sqlite3"), path / "drive.db3")


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_any_name_of_a_folder(tmp_path, storage, name):
    write_bag(tmp_path / "bag", camera(stamps(5)), storage)
    try:
        (tmp_path / "bag").rename(tmp_path / name)
    except OSError:
        pytest.skip("this file system refuses the name")
    check_whole(tmp_path / name)


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("mode", ["FILE", "MESSAGE"])
@pytest.mark.parametrize("with_metadata", [True, False])
def test_compressed_by_rosbag2(tmp_path, storage, mode, with_metadata):
    file = write_bag(tmp_path / "bag", camera(stamps(5)), storage, mode)
    assert file.name.endswith(".zstd") == (mode == "FILE")
    if not with_metadata:
        (tmp_path / "bag/metadata.yaml").unlink()
    assert is_bag(tmp_path / "bag") and is_bag(file)
    check_whole(tmp_path / "bag")
    check_whole(file)
    assert next(iter(open_source(file))).sequence == "bag"


def test_a_compressed_file_without_its_end(tmp_path):
    file = write_bag(tmp_path / "bag", camera(stamps(5)), "mcap", "FILE")
    (tmp_path / "bag/metadata.yaml").unlink()
    file.write_bytes(file.read_bytes()[:-30])
    try:
        source = open_source(file)
    except DataError as error:
        assert "contains no camera images" in str(error) or "does not begin like" in str(error)
        return
    assert numbers(source) == list(range(len(source))) and source.damage


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
@pytest.mark.parametrize("with_metadata", [True, False])
def test_split_files_that_overlap_in_time_are_merged(tmp_path, storage, with_metadata):
    whole, names = tmp_path / "split", []
    whole.mkdir()
    every = list(camera(stamps(6)))
    for part in range(2):  # even frames in one file, odd ones in the other
        found = [entry for number, entry in enumerate(every) if number // 2 % 2 == part]
        file = write_bag(tmp_path / f"part_{part}", found, storage)
        names.append(f"split_{part}{file.suffix}")
        shutil.move(file, whole / names[-1])
    if with_metadata:
        described = yaml.safe_load((tmp_path / "part_0/metadata.yaml").read_text())
        described["rosbag2_bagfile_information"]["relative_file_paths"] = names
        (whole / "metadata.yaml").write_text(yaml.safe_dump(described))
    check_whole(whole, 6)


@pytest.mark.parametrize(("names", "is_told"), [(["a_0.mcap", "a_1.mcap"], False), (["a.mcap", "b.mcap"], True)])
def test_files_that_may_be_several_recordings_are_told(tmp_path, caplog, names, is_told):
    every = list(camera(stamps(4)))
    for part, name in enumerate(names):
        write_mcap(tmp_path / name, every[4 * part : 4 * part + 4])
    check_whole(tmp_path, 4)
    assert (f"{tmp_path}: has no metadata.yaml; a.mcap, b.mcap are read as one recording" in caplog.text) == is_told


def test_a_file_that_metadata_does_not_name_is_read_and_named(tmp_path, caplog):
    write_bag(tmp_path / "bag", camera(stamps(3)))
    later = write_bag(tmp_path / "later", list(camera(stamps(5)))[6:])
    shutil.move(later, tmp_path / "bag/bag_1.mcap")
    check_whole(tmp_path / "bag")
    assert "metadata.yaml does not name" in caplog.text and "bag_1.mcap" in caplog.text


def test_a_file_that_cannot_be_opened_costs_itself(tmp_path):
    write_bag(tmp_path / "bag", camera(stamps(5)))
    (tmp_path / "bag/other.mcap").symlink_to(tmp_path / "absent.mcap")
    source = open_source(tmp_path / "bag")
    assert numbers(source) == [0, 1, 2, 3, 4]
    assert list(source.damage) == [f"{tmp_path}/bag/other.mcap: No such file or directory"]
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/a.mcap").symlink_to(tmp_path / "absent.mcap")
    with pytest.raises(DataError, match=r"alone/a\.mcap: No such file or directory"):
        open_source(tmp_path / "alone")


@pytest.mark.parametrize(("storage", "compression"), [("mcap", None), ("sqlite3", None), ("mcap", "FILE")])
def test_names_in_capitals(tmp_path, storage, compression):
    file = write_bag(tmp_path / "bag", camera(stamps(5)), storage, compression)
    (tmp_path / "copy").mkdir()
    for path in (tmp_path / "copy" / file.name.upper(), tmp_path / file.name.upper()):
        shutil.copy(file, path)
        check_whole(path)
        assert next(iter(open_source(path))).sequence == "BAG"
    check_whole(tmp_path / "copy")


@pytest.mark.parametrize(
    ("storage", "compression", "name"),
    [("sqlite3", None, "a.mcap"), ("mcap", None, "a.db3"), ("mcap", "FILE", "a.mcap"), ("mcap", None, "a.mcap.zstd")],
)
def test_what_a_file_begins_with_counts_not_its_name(tmp_path, storage, compression, name):
    check_whole(shutil.copy(write_bag(tmp_path / "bag", camera(stamps(5)), storage, compression), tmp_path / name))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS, .*`git lfs pull`"),
        (b"\x1f\x8b\x08\0", "is compressed with gzip; decompress it"),
        (b"#ROSBAG V2.0\n", "is a recording of ROS 1; convert it: rosbags-convert"),
        (b"", "is 0 bytes long and does not begin like an MCAP file"),
    ],
)
def test_what_is_no_recording_is_named(tmp_path, content, words):
    (tmp_path / "a.mcap").write_bytes(content)
    with pytest.raises(DataError, match=rf"a\.mcap: {words}"):
        open_source(tmp_path / "a.mcap")


@pytest.mark.parametrize("names", [["bag.mcap", "bag.mcap"], ["C:\\drives\\bag.mcap"], ["/elsewhere/bag.mcap"]])
def test_names_that_metadata_gives(tmp_path, names):
    write_bag(tmp_path / "bag", camera(stamps(5)))
    file = tmp_path / "bag/metadata.yaml"
    described = yaml.safe_load(file.read_text())
    described["rosbag2_bagfile_information"]["relative_file_paths"] = names
    file.write_text(yaml.safe_dump(described))
    check_whole(tmp_path / "bag")


def test_an_empty_metadata_counts_as_none(tmp_path, caplog):
    write_bag(tmp_path / "bag", camera(stamps(3)))
    (tmp_path / "bag/metadata.yaml").write_bytes(b"")
    check_whole(tmp_path / "bag", 3)
    assert "metadata.yaml: is empty" in caplog.text
    (tmp_path / "bag/metadata.yaml").write_bytes(b"{}")
    with pytest.raises(DataError, match=r"metadata\.yaml: does not describe a recording; remove it"):
        open_source(tmp_path / "bag")


def test_messages_that_metadata_promises_and_the_files_lack_are_told(tmp_path):
    write_bag(tmp_path / "bag", camera(stamps(5)))
    file = tmp_path / "bag/metadata.yaml"
    described = yaml.safe_load(file.read_text())
    for topic in described["rosbag2_bagfile_information"]["topics_with_message_count"]:
        topic["message_count"] = 8
    file.write_text(yaml.safe_dump(described))
    source = open_source(tmp_path / "bag")
    assert (len(source), numbers(source)) == (5, [0, 1, 2, 3, 4])
    assert any(f"5 of 8 messages on {IMAGE} can be read" in sentence for sentence in source.damage)


def test_a_bag_of_ros_1_is_named_with_the_command_that_converts_it(tmp_path):
    (tmp_path / "old.bag").write_bytes(b"#ROSBAG V2.0\n")
    for path in (tmp_path / "old.bag", tmp_path):
        with pytest.raises(DataError, match=r"of ROS 1; convert it: rosbags-convert --src .*old\.bag --dst .*old_ros2"):
            open_source(path)


def test_rows_without_the_index_of_times(tmp_path):
    file = sqlite_file(tmp_path)
    with sqlite3.connect(file) as database:
        database.execute("DROP INDEX timestamp_idx")
    check_whole(file)


def test_rows_that_were_deleted_are_no_damage(tmp_path):
    file = sqlite_file(tmp_path)
    with sqlite3.connect(file) as database:
        database.execute("DELETE FROM messages WHERE id BETWEEN 3 AND 4")
    source = open_source(file)
    assert numbers(source) == [0, 2, 3, 4] and list(source.damage) == []


def test_rows_out_of_order_come_in_order_of_time(tmp_path):
    file = sqlite_file(tmp_path)
    with sqlite3.connect(file) as database:
        database.execute("UPDATE messages SET id = -id")
        database.execute("UPDATE messages SET id = id + 100")
    check_whole(file)


def test_topics_of_another_encoding_do_not_matter(tmp_path):
    file = sqlite_file(tmp_path)
    with sqlite3.connect(file) as database:
        database.execute(
            "INSERT INTO topics SELECT 77, '/proto', 'x', 'protobuf', offered_qos_profiles, '' FROM topics LIMIT 1"
        )
        database.execute("INSERT INTO messages SELECT NULL, 77, timestamp, x'08' FROM messages LIMIT 1")
    check_whole(file)
    with BagReader(file) as reader:
        assert reader.foreign == {"/proto": "protobuf"}


@pytest.mark.parametrize("share", [0.4, 0.7, 0.95])
def test_sqlite_without_its_end(tmp_path, share):
    file = sqlite_file(tmp_path, 20)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    try:
        source = open_source(file)
    except DataError as error:
        assert "drive.db3" in str(error)
        return
    found = numbers(source)
    assert "its end is cut off" in source.damage[0] and len(found) == len(source) < 20
    assert found == sorted(set(found))


def test_a_page_of_rows_that_is_lost_costs_its_rows(tmp_path):
    file = sqlite_file(tmp_path, 20)
    data = bytearray(file.read_bytes())
    page = int.from_bytes(data[16:18], "big")
    leaves = [at for at in range(page, len(data), page) if data[at] == 0x0D]  # table leaves, of messages mostly
    at = leaves[len(leaves) // 2]
    data[at : at + page] = bytes(page)
    file.write_bytes(data)
    source = open_source(file)
    found = numbers(source)
    assert 0 < len(found) < 20 and found == sorted(set(found)) and found[-1] == 19
    assert any("is damaged" in sentence for sentence in source.damage)


def test_a_folder_that_cannot_be_written_to(tmp_path):
    write_bag(tmp_path / "bag", camera(stamps(5)), "sqlite3")
    (tmp_path / "bag").chmod(0o500)
    try:
        check_whole(tmp_path / "bag")
    finally:
        (tmp_path / "bag").chmod(0o700)


def test_files_that_a_copy_left_are_passed_over(tmp_path):
    path = write_mcap(tmp_path / "drive.mcap", camera(stamps(5)))
    path.with_name("._drive.mcap").write_bytes(b"\0\5\26\7")
    check_whole(tmp_path)
