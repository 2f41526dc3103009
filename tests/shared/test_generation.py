"""FID, diversity and nearest films; the losses of the autoencoder."""

import numpy as np
import pytest
import torch
from monai.metrics.fid import get_fid_score
from monai.networks.nets import resnet50 as monai_resnet50
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from shared.errors import InputError
from shared.losses import (
    AutoencoderInferer,
    AutoencoderLoss,
    Critic,
    DiscriminatorLoss,
    FilmPerceptualLoss,
    GeneratorLoss,
    perceptual,
    perceptual_loss,
)
from shared.metrics import frechet_distance, nearest, pairwise_similarity
from shared.networks import FilmFeatures
from tools.bundles import REPOSITORY

WEIGHTS = REPOSITORY / "bundles" / "cxr_ldm" / "models" / "features.pt"


@pytest.fixture(scope="module")
def features():
    return FilmFeatures("local", WEIGHTS)


@pytest.fixture(scope="module")
def films():
    """Soft random films (24, 1, 64, 64)."""
    rough = torch.rand(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(rough, scale_factor=8, mode="bilinear").clamp(0, 1)


def test_frechet_distance_agrees_with_monai_and_with_one_dimension():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 1, (200, 5)), rng.normal(0.3, 2, (300, 5)) @ rng.normal(0, 1, (5, 5))
    expected = float(get_fid_score(torch.from_numpy(a), torch.from_numpy(b)))
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    x, y = a[:, :1], b[:, :1]
    by_hand = (x.mean() - y.mean()) ** 2 + (x.std(ddof=1) - y.std(ddof=1)) ** 2
    assert frechet_distance(x, y) == pytest.approx(by_hand)


def test_fid_of_a_set_with_itself_is_0_and_grows_with_noise(features, films):
    def vectors(noise):
        drawn = torch.randn(films.shape, generator=torch.Generator().manual_seed(1))
        return features((films + noise * drawn).clamp(0, 1)).numpy()

    distances = [frechet_distance(vectors(0), vectors(noise)) for noise in (0, 0.05, 0.1, 0.3)]
    assert distances[0] == pytest.approx(0, abs=1e-3)  # 24 films, 128 features: covariances of low rank
    assert all(b > a + 0.01 for a, b in zip(distances, distances[1:], strict=False))


def test_films_of_another_range_are_refused(features, films):
    with pytest.raises(ValueError, match="values from .* expected 0 to 1"):
        features(films * 255)
    with pytest.raises(ValueError, match="expected|images"):
        features(films[:, 0])


def resnet50(state, image, keras):
    """The last activations of ResNet50, from the names and the order in which torchvision or Keras has them."""

    def norm(x, name):
        names = ("running_mean", "running_var", "weight", "bias")
        eps = 1.001e-5 if keras else 1e-5
        return F.batch_norm(x, *(state[f"{name}.{n}"] for n in names), eps=eps)

    def conv(x, name, stride=1, padding=0):
        return F.conv2d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), stride, padding)

    x = F.max_pool2d(norm(conv(image, "conv1", 2, 3), "bn1").relu(), 3, 2, 1)
    for layer, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            name, stride = f"layer{layer}.{block}", 2 if layer > 1 and block == 0 else 1
            first, second = (stride, 1) if keras else (1, stride)
            y = norm(conv(x, f"{name}.conv1", first), f"{name}.bn1").relu()
            y = norm(conv(y, f"{name}.conv2", second, 1), f"{name}.bn2").relu()
            y = norm(conv(y, f"{name}.conv3"), f"{name}.bn3")
            if block == 0:
                x = norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
            x = (x + y).relu()
    return x


@pytest.fixture(scope="module")
def resnet_state():
    """Random weights by torchvision's names, with normalisations that do something."""
    torch.manual_seed(0)
    network = monai_resnet50(spatial_dims=2, n_input_channels=3, feed_forward=False, bias_downsample=False)
    state = network.state_dict()
    for name, value in state.items():
        if "running_mean" in name or name.endswith("bias"):
            value.normal_(std=0.1)
        elif "running_var" in name:
            value.uniform_(0.5, 1.5)
    return state


def test_radimagenets_own_file_gives_the_features_of_torchvisions_network(resnet_state, films, tmp_path):
    order = ("conv1", "bn1", "", "", "layer1", "layer2", "layer3", "layer4")
    numbers = {name: str(number) for number, name in enumerate(order)}
    parts = {name: name.partition(".")[::2] for name in resnet_state}
    saved = {f"backbone.{numbers[first]}.{rest}": resnet_state[name] for name, (first, rest) in parts.items()}
    torch.save(saved, tmp_path / "ResNet50.pt")
    found = FilmFeatures("radimagenet", tmp_path / "ResNet50.pt")(films[:2])
    expected = resnet50(resnet_state, (films[:2].expand(-1, 3, -1, -1) * 255 - 127.5) * 2 / 255, keras=False)
    vectors = expected.mean((2, 3))
    torch.testing.assert_close(found, vectors, rtol=1e-4, atol=2e-5 * float(vectors.max()))


def test_radimagenets_converted_keras_weights_give_the_features_of_keras_network(resnet_state, films, tmp_path):
    torch.manual_seed(1)
    places = [name for name in resnet_state if "conv" in name or "downsample.0" in name]
    biases = {name.replace("weight", "bias"): torch.randn(len(resnet_state[name])) * 0.2 for name in places}
    torch.save({**resnet_state, **biases}, tmp_path / "RadImageNet-ResNet50_notop.pth")
    found = FilmFeatures("radimagenet", tmp_path / "RadImageNet-ResNet50_notop.pth")(films[:2])
    blue_green_red = films[:2] - torch.tensor([0.406, 0.456, 0.485]).reshape(3, 1, 1)
    expected = resnet50({**resnet_state, **biases}, blue_green_red, keras=True)
    vectors = expected.mean((2, 3))
    torch.testing.assert_close(found, vectors, rtol=1e-4, atol=2e-5 * float(vectors.max()))


def test_features_stay_frozen(features, films):
    features.train()
    before = {name: value.clone() for name, value in features.state_dict().items()}
    features(films)
    assert not features.training and all(torch.equal(v, features.state_dict()[n]) for n, v in before.items())


@pytest.mark.parametrize(
    ("kind", "path", "reason"),
    [
        ("vgg", WEIGHTS, "features are 'vgg'"),
        ("local", "nowhere.pt", "it comes with the bundle"),
        ("radimagenet", None, "download RadImageNet"),
        ("inception", "nowhere.pt", "download inception-2015-12-05.pt"),
        ("radimagenet", WEIGHTS, "no weights of 'radimagenet': missing"),
    ],
)
def test_a_missing_feature_network_is_an_error_with_the_remedy(kind, path, reason):
    with pytest.raises(InputError, match=reason):
        FilmFeatures(kind, path)


def test_pairs_of_equal_films_are_equal_and_of_others_less(films):
    twins = films[:1].expand(4, -1, -1, -1)
    assert pairwise_similarity(twins, 3) == pytest.approx(np.ones(6), abs=1e-4)
    assert pairwise_similarity(films, 3, pairs=20).mean() < 0.9
    assert len(pairwise_similarity(films, 3, pairs=20)) == 20
    with pytest.raises(ValueError, match="1 images"):
        pairwise_similarity(films[:1], 3)


def test_a_copied_film_is_its_own_nearest(features, films):
    known = features(films).numpy()
    assert nearest(known[[5, 17]], known, 3)[:, 0].tolist() == [5, 17]


def test_divergence_of_the_latents_is_that_of_normal_distributions():
    class Net(torch.nn.Module):
        def forward(self, x):
            return x, x, x.abs() + 0.5

    x = torch.randn(3, 2, 4, 4)
    inferer = AutoencoderInferer()
    assert torch.equal(inferer(x, Net().train()), x)
    expected = kl_divergence(Normal(x, x.abs() + 0.5), Normal(0.0, 1.0)).sum((1, 2, 3)).mean()
    torch.testing.assert_close(inferer.kl, expected)
    loss = AutoencoderLoss(inferer, torch.nn.MSELoss(), 0.5, 0.1)(x, x + 2)
    assert float(loss) == pytest.approx(2 + 0.5 * 4 + 0.1 * float(expected), rel=1e-5)


def test_perceptual_distance_is_0_for_the_same_film_and_its_gradient_reaches_it(features, films):
    loss = FilmPerceptualLoss(features)
    assert float(loss(films[:2], films[:2])) == pytest.approx(0, abs=1e-6)
    film = films[:2].clone().requires_grad_()
    value = loss(film, films[2:4])
    value.backward()
    assert float(value) > 0.01 and film.grad.abs().max() > 0 and all(p.grad is None for p in features.parameters())


@pytest.mark.parametrize(
    ("kind", "reason"), [("style", "perceptual is 'style'"), ("lpips", "pip install lpips"), ("radimagenet", "download")]
)
def test_a_missing_perceptual_network_is_an_error_with_the_remedy(kind, reason):
    with pytest.raises(InputError, match=reason):
        perceptual_loss(kind)


def test_lpips_gets_the_range_that_its_package_wants(films, monkeypatch):
    """The package needs torchvision and downloads weights; here a loss that keeps what it is given stands in for it."""
    given = []

    class Kept(torch.nn.Module):
        def __init__(self, **options):
            super().__init__()
            assert options == {"spatial_dims": 2, "network_type": "squeeze", "is_fake_3d": False}

        def forward(self, pred, truth):
            given.extend([pred, truth])
            return (pred - truth).abs().mean()

    monkeypatch.setattr(perceptual, "PerceptualLoss", Kept)
    monkeypatch.setattr(perceptual.importlib.util, "find_spec", lambda name: name)
    assert float(perceptual_loss("lpips")(films[:2], films[2:4])) > 0
    torch.testing.assert_close(torch.cat(given), films[:4] * 2 - 1)


def test_the_critic_is_silent_and_costs_nothing_until_its_epoch():
    class State:
        epoch = 0

    class Engine:
        state = State()

    critic, calls = Critic(start=2), []

    def network(x):
        calls.append(len(x))
        return [x, x.mean((1, 2, 3), keepdim=True)]

    x = torch.full((2, 1, 4, 4), 0.25, requires_grad=True)
    for epoch, speaks in ((1, False), (2, False), (3, True)):
        Engine.state.epoch = epoch
        critic.note(Engine)
        told = critic(x, network)
        generator = GeneratorLoss(critic, weight=0.1)(told)
        assert float(generator) == pytest.approx(0.1 * 0.75**2 if speaks else 0)
        DiscriminatorLoss()(told, told).backward()  # MONAI's trainer does so, whoever speaks
    assert calls == [2]
    assert float(DiscriminatorLoss()(torch.full((2, 1), 0.5), torch.zeros(2, 1))) == pytest.approx(0.125)
