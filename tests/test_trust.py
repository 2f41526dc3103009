"""What a stranger's bundle cannot do. (Weights with code in them: tests/shared/test_weights.py.)"""

import zipfile

import pytest
from monai.bundle import download, run

from .conftest import REPOSITORY, config, served


def test_a_zip_that_leaves_its_folder_is_refused(tmp_path):
    served_dir, bundles = tmp_path / "served", tmp_path / "bundles"
    served_dir.mkdir()
    bundles.mkdir()
    with zipfile.ZipFile(served_dir / "toy.zip", "w") as archive:
        archive.writestr("toy/configs/metadata.json", "{}")
        archive.writestr("../../evil.txt", "evil")

    with served(served_dir) as url, pytest.raises(Exception, match=r"\.\./\.\./evil\.txt|[Uu]nsafe"):
        download("toy", url=f"{url}/toy.zip", bundle_dir=str(bundles), progress=False)
    assert not list(tmp_path.rglob("evil.txt")) and not (tmp_path.parent / "evil.txt").exists()


def test_a_logging_config_with_an_expression_is_refused(tmp_path):
    text = (REPOSITORY / "shared" / "configs" / "logging.conf").read_text()
    assert "args = (sys.stdout,)" in text
    evil = tmp_path / "logging.conf"
    evil.write_text(text.replace("args = (sys.stdout,)", f"args = (open('{tmp_path}/evil', 'w'),)"))
    with pytest.raises(ValueError, match="args"):
        run(config_file=config("inference"), logging_file=str(evil), dataset_dir=str(tmp_path))
    assert not (tmp_path / "evil").exists()


def test_the_shipped_logging_config_is_accepted(tmp_path):
    from shared.errors import InputError

    with pytest.raises(InputError, match="no case below"):
        run(
            config_file=config("inference"),
            logging_file=str(REPOSITORY / "shared" / "configs" / "logging.conf"),
            dataset_dir=str(tmp_path),
            output_dir=str(tmp_path / "out"),
        )
