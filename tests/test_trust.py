"""What a stranger's bundle cannot do. (Weights with code in them: tests/shared/test_weights.py.)"""

import http.server
import threading
import zipfile

import pytest
from monai.bundle import download, run

from .conftest import REPOSITORY, config


def test_a_zip_that_leaves_its_folder_is_refused(tmp_path):
    served, bundles = tmp_path / "served", tmp_path / "bundles"
    served.mkdir()
    bundles.mkdir()
    with zipfile.ZipFile(served / "toy.zip", "w") as archive:
        archive.writestr("toy/configs/metadata.json", "{}")
        archive.writestr("../../evil.txt", "evil")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(served), **kwargs)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(Exception, match=r"\.\./\.\./evil\.txt|[Uu]nsafe"):
            download("toy", url=f"http://127.0.0.1:{server.server_port}/toy.zip", bundle_dir=str(bundles), progress=False)
        server.shutdown()
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
