from tools.explain import command, explain, options

from ..conftest import REPOSITORY


def test_every_setting_is_listed_with_its_default(capsys):
    explain("brats_seg3d")
    printed = capsys.readouterr().out
    for line in (
        "--max_epochs = 300",
        "--finetune = null",
        "--pictures = true",
        "input image: 4 channels (T1ce, T1, T2, FLAIR)",
    ):
        assert line in printed


CONFIG = """\
# Does it:
#
#   python -m monai.bundle run \\
#     --a b
# more

# --- settings ---
n: 3  # how many
c: a#b
# --- task ---
q: 1
"""


def test_options_and_command_are_read_from_the_config(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(CONFIG)
    assert options(path) == [("n", "3", "how many"), ("c", "a#b", "")]
    assert command(path) == "  python -m monai.bundle run \\\n  --a b"


def test_every_config_of_every_bundle_opens_with_its_command():
    for path in REPOSITORY.glob("bundles/*/configs/*.yaml"):
        assert f"configs/{path.name}" in command(path)
