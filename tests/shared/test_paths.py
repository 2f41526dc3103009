import pytest

from shared.errors import InputError
from shared.paths import atomic_write, bundle_root, writable_dir


def test_bundle_root_does_not_depend_on_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bundle_root("brats_seg3d").endswith("bundles/brats_seg3d")


def test_bundle_root_of_no_bundle_says_what_was_expected():
    with pytest.raises(FileNotFoundError, match="no bundle 'nothing'.*metadata.json"):
        bundle_root("nothing")


def test_atomic_write_keeps_the_old_file_when_the_writer_fails(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_replaces_the_file_when_the_writer_ends_well(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_an_output_folder_below_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write into the output folder .*file/out"):
        writable_dir(tmp_path / "file" / "out")
