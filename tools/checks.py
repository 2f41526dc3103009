"""What `verify` checks: every function takes a bundle's folder and raises what is wrong; its docstring is its title."""

from __future__ import annotations

import ast
import json
import pydoc
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import jsonschema
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, ckpt_export, verify_net_in_out
from monai.bundle.scripts import _get_fake_spatial_shape as smallest_shape

from shared.handlers.weights import sha256

from . import bundles

SCHEMAS = Path(__file__).parent / "schema"
METADATA = "configs/metadata.json"
FILES = ("LICENSE", METADATA, "docs/README.md", "docs/data_license.txt")
EXPRESSION_LENGTH = 80
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
# a path from the root of a disk; not part of a URL, a fraction or a longer path, not text that is added to a path: x + '/y'
ABSOLUTE_PATH = re.compile(r"""(?<![\w.:/~<>)\]}*@-])(?<!\+ ["'])(/[A-Za-z][\w.-]*/[\w.-]*|[A-Z]:\\{1,2}\w+)""")


def config_file(root: Path, name: str) -> str:
    """Path of the config "train", "evaluate" or "inference", YAML or JSON."""
    for suffix in (".yaml", ".json"):
        if (root / "configs" / (name + suffix)).is_file():
            return str(root / "configs" / (name + suffix))
    raise FileNotFoundError(f"no configs/{name}.yaml or configs/{name}.json")


def config(root: Path, name: str) -> dict:
    """Content of a config, as it stands."""
    return ConfigParser.load_config_file(config_file(root, name))


def strings(root: Path) -> Iterator[tuple[str, str, str]]:
    """All strings in a bundle's configs: the file's name, the key they stand under ("" in a list), the string."""
    for path in sorted([*root.glob("configs/*.yaml"), *root.glob("configs/*.json")]):
        waiting = [("", ConfigParser.load_config_file(path))] if path != root / METADATA else []
        while waiting:
            key, item = waiting.pop()
            if isinstance(item, str):
                yield path.name, key, item
            elif isinstance(item, dict):
                waiting += item.items()
            elif isinstance(item, list):
                waiting += [("", value) for value in item]


def expect(condition: bool, message: str) -> None:
    """Raise ValueError with the message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def complete(root: Path) -> None:
    """The files are there: licences, card, metadata, weights, train and inference config."""
    needed = (*FILES, *(part.weights for part in bundles.parts(root)))
    missing = [file for file in needed if not (root / file).is_file()]
    expect(not missing, f"missing {', '.join(missing)}")
    expect(bool(bundles.trainings(root)), "no configs/train.yaml or configs/train_autoencoder.yaml")
    config_file(root, "inference")


def metadata_schema(root: Path) -> None:
    """metadata.json follows the official schema."""
    metadata = bundles.metadata(root)
    schema = SCHEMAS / str(metadata.get("schema")).rpartition("/")[2]
    known = sorted(path.name for path in SCHEMAS.glob("*.json"))
    expect(schema.name in known, f"schema is '{metadata.get('schema')}', expected a URL that ends in {' or '.join(known)}")
    try:
        jsonschema.validate(metadata, json.loads(schema.read_text()))
    except jsonschema.ValidationError as error:
        raise ValueError(f"{error.json_path}: {error.message}") from None


def changelog(root: Path) -> None:
    """The version is in the changelog."""
    metadata = bundles.metadata(root)
    expect(
        metadata["version"] in metadata.get("changelog", {}),
        f"version {metadata['version']} is none of {', '.join(metadata.get('changelog', {})) or 'nothing'}",
    )


def network_in_out(root: Path) -> None:
    """The network takes and gives the channels and types of metadata.json (verify_net_in_out)."""
    verify_net_in_out(
        "network_def", meta_file=str(root / METADATA), config_file=config_file(root, "inference"), bundle_root=str(root)
    )


def torchscript(root: Path) -> None:
    """The weights can be exported to TorchScript (ckpt_export), and a model.ts can be loaded."""
    with tempfile.TemporaryDirectory() as temporary:
        ckpt_export(
            "network_def",
            filepath=str(Path(temporary) / "model.ts"),
            ckpt_file=str(root / "models" / "model.pt"),
            meta_file=str(root / METADATA),
            config_file=config_file(root, "inference"),
            bundle_root=str(root),
        )
    if (root / "models" / "model.ts").is_file():
        torch.jit.load(root / "models" / "model.ts", map_location="cpu")


def properties(root: Path, name: str, workflow_type: str, *data: str) -> None:
    """Build every property that MONAI's workflows know (check_properties); no case is read."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        values = {"bundle_root": str(root), "output_dir": temporary, "dataset_dir": temporary, "cache": "none"}
        values = {key: value for key, value in values.items() if key in config(root, name)}
        workflow = ConfigWorkflow(
            config_file(root, name),
            meta_file=str(root / METADATA),
            logging_file=False,
            workflow_type=workflow_type,
            **values,
            **{section: [{"case": "none"}] for section in data},
        )
        workflow.initialize()
        wrong = workflow.check_properties()
    expect(not wrong, f"missing, or not referred to by its name: {', '.join(wrong or ())}")


def train_properties(root: Path) -> None:
    """The training workflow has MONAI's properties (check_properties)."""
    for name in bundles.trainings(root):
        properties(root, name, "train", "train::dataset::data", "validate::dataset::data")


def inference_properties(root: Path) -> None:
    """The inference workflow has MONAI's properties (check_properties)."""
    properties(root, "inference", "infer", "dataset::data")


def network(root: Path, definition: str = "network_def") -> torch.nn.Module:
    """A network of the inference config, without weights."""
    parser = ConfigParser(config(root, "inference"))
    parser["bundle_root"] = str(root)
    return parser.get_parsed_content(definition).cpu().eval()


def channels_and_shapes(root: Path) -> None:
    """Config and metadata agree on channels, shapes and classes."""
    for part in bundles.parts(root):
        inputs, outputs = (part.data_format[side] for side in ("inputs", "outputs"))
        tensors = {name: t for side in (inputs, outputs) for name, t in side.items() if "num_channels" in t}
        for name, tensor in tensors.items():
            expected = [str(number) for number in range(tensor["num_channels"])]
            found = list(tensor.get("channel_def", {}))
            expect(found == expected, f"{name}: channel_def has {found}, expected {expected}")
        image, pred = inputs.get("image") or inputs["latent"], outputs["pred"]
        parser = ConfigParser(config(root, "inference"))
        for key, tensor in {"in_channels": image, "out_channels": pred}.items():
            said = parser.get_parsed_content(f"{part.definition}::{key}", default=tensor["num_channels"])
            expect(said == tensor["num_channels"], f"{part.definition} has {key} {said}, metadata {tensor['num_channels']}")
        more = ()
        if "condition" in inputs:  # a timestep, and features of a text
            condition = inputs["condition"]
            more = (torch.zeros(1), torch.rand(1, *condition["spatial_shape"], condition["num_channels"]))
        with torch.no_grad():
            output = network(root, part.definition)(
                torch.rand(1, image["num_channels"], *smallest_shape(image["spatial_shape"])), *more
            )
        output = output[0] if isinstance(output, tuple) else output  # an autoencoder gives its latents, too
        expected = (1, pred["num_channels"], *smallest_shape(pred["spatial_shape"]))
        expect(output.shape == expected, f"{part.definition} gives {tuple(output.shape)}, metadata says {expected}")


def train_inference_agree(root: Path) -> None:
    """Training and inference share network, image preprocessing and what stands under "the task"."""
    definitions = {part.definition for part in bundles.parts(root)}
    stages = bundles.trainings(root)
    # a generator starts from noise: only its stages have images, of which all make the same
    pairs = [(stage, "inference", definitions) for stage in stages]
    pairs += [(stages[0], stage if stages[1:] else "inference", {"image_preprocessing"}) for stage in stages[1:] or stages]
    for first, second, needed in pairs:
        one, other = config(root, first), config(root, second)
        if bundles.is_generator(root):
            needed = needed & ({*one} | {"image_preprocessing"})
        missing = [key for key in sorted(needed) if key not in one or key not in other]
        expect(not missing, f"not in both {first} and {second}: {', '.join(missing)}")
        for key in sorted(needed | (_task(root, first) | _task(root, second)) & {*one} & {*other}):
            expect(one[key] == other[key], f"{key} is {one[key]} in {first}, {other[key]} in {second}")


def _task(root: Path, name: str) -> set[str]:
    """Keys of a config that stand under "the task"."""
    text = Path(config_file(root, name)).read_text(encoding="utf-8")
    sections = re.findall(r"^# --- the task ---$(.*?)(?=^# ---|\Z)", text, re.MULTILINE | re.DOTALL)
    return {key for section in sections for key in re.findall(r"^(\w+):", section, re.MULTILINE)}


def weights(root: Path) -> None:
    """Every file of weights is a plain CPU state_dict that fits its network."""
    for part in bundles.parts(root):
        state = torch.load(root / part.weights, weights_only=True)
        other = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
        expect(not other, f"a state_dict holds nothing but tensors, not {', '.join(other)}")
        elsewhere = sorted({str(value.device) for value in state.values()} - {"cpu"})
        expect(not elsewhere, f"tensors lie on {', '.join(elsewhere)}")
        network(root, part.definition).load_state_dict(state, strict=True)


def checksums(root: Path) -> None:
    """metadata.json states the SHA-256 of every file of weights."""
    stated = bundles.metadata(root).get("weights", {})
    for path in sorted((root / "models").glob("*.pt")):
        name = path.relative_to(root).as_posix()
        expect(name in stated, f"no weights/{name} in metadata; `python -m tools ship` writes it")
        expect(stated[name] == sha256(path), f"{name} has {sha256(path)}, metadata says {stated[name]}")


def links(root: Path) -> None:
    """Every link and picture of the card is there, and every picture in docs/figures is in the card."""
    text = re.sub(r"```.*?```", "", (root / "docs" / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"", re.sub(r"`[^`\n]*`", "", text))
    targets = [target for pair in found for target in pair if target and not re.match(r"\w+:", target)]
    titles = re.findall(r"^#+ (.+?)\s*$", text, re.MULTILINE)
    anchors = {"#" + re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
    broken = [
        target
        for target in targets
        if not (target in anchors if target[0] == "#" else (root / "docs" / target.partition("#")[0]).exists())
    ]
    expect(not broken, f"broken: {', '.join(broken)}")
    used = {(root / "docs" / target).resolve() for target in targets}
    unused = [path.name for path in sorted(root.glob("docs/figures/*")) if path.resolve() not in used]
    expect(not unused, f"unused: {', '.join(unused)}")


def absolute_paths(root: Path) -> None:
    """No text file holds an absolute path."""
    for path in sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        content = path.read_bytes()
        if b"\0" in content:
            continue
        for number, line in enumerate(content.decode(errors="replace").splitlines(), 1):
            match = ABSOLUTE_PATH.search(line)
            expect(match is None, f"{path.relative_to(root)} line {number}: {match and match[1]}")


def versions(root: Path) -> None:
    """The package versions of metadata.json are those of requirements.txt or pyproject.toml."""
    pinned: dict[str, list[str]] = {}
    for name in ("requirements.txt", "pyproject.toml"):
        for package, version in re.findall(r"([\w.-]+)==([\w.]+)", (bundles.REPOSITORY / name).read_text()):
            pinned.setdefault(package.lower(), []).append(version)
    metadata = bundles.metadata(root)
    named = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    said = {package: metadata[key] for package, key in named.items()} | metadata.get("required_packages_version", {})
    said |= metadata.get("optional_packages_version", {})  # of the schema for generators
    for package, version in said.items():
        expected = pinned.get(package.lower(), [])
        expect(version in expected, f"{package} {version}, expected {' or '.join(expected) or 'no such package'}")


def segments(root: Path) -> None:
    """Values of a label map have names and codes, where metadata.json tells them under "segments"."""
    for value, segment in bundles.metadata(root).get("segments", {}).items():
        expect(value.isdigit() and int(value) > 0, f"value '{value}', expected a whole number above 0")
        expect(0 < len(segment.get("label", "")) <= 64, f"{value}: label of 1 to 64 characters expected, as in DICOM")
        for key in ("category", "type"):
            code = segment.get(key, [])
            expect(len(code) == 3 and all(code), f"{value}: {key} is {code}, expected value, scheme and meaning")


def expressions(root: Path) -> None:
    """`$` expressions in configs are short and hold no comprehension."""
    for file, _, text in strings(root):
        if not text.startswith("$"):
            continue
        expect(len(text) <= EXPRESSION_LENGTH, f"{file}: {len(text)} characters, at most {EXPRESSION_LENGTH}: {text}")
        tree = ast.parse(re.sub(r"@[\w:#]+", "reference", text[1:].strip()))
        expect(not any(isinstance(node, COMPREHENSIONS) for node in ast.walk(tree)), f"{file}: comprehension: {text}")


def own_code(root: Path) -> None:
    """All own code that the configs name can be imported."""
    for file, _, text in strings(root):
        if re.fullmatch(r"(\w+_)?shared(\.\w+)+", text):
            expect(pydoc.locate(text) is not None, f"{file}: no {text}")


OFFICIAL = (complete, metadata_schema, changelog, network_in_out, torchscript, train_properties, inference_properties)
OURS = (
    channels_and_shapes,
    train_inference_agree,
    weights,
    checksums,
    links,
    absolute_paths,
    versions,
    segments,
    expressions,
    own_code,
)
CHECKS = (*OFFICIAL, *OURS)
# the official tools know one network that takes an image; the official zoo leaves its generators out, too
NOT_OF_GENERATORS = (network_in_out, torchscript)


def checks_of(root: Path) -> list[Callable[[Path], None]]:
    """The checks that apply to a bundle."""
    return [check for check in CHECKS if not (bundles.is_generator(root) and check in NOT_OF_GENERATORS)]
