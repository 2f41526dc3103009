"""Schedulers, guidance and the noise of samples."""

import pytest
import torch
from generative.networks.nets import AutoencoderKL as OldAutoencoder
from generative.networks.nets import DiffusionModelUNet as OldUNet
from monai.networks.nets import AutoencoderKL, DiffusionModelUNet
from torch import nn

from shared.data import DrawNoised, PromptBatches, prompt_cases
from shared.errors import InputError
from shared.handlers.weights import converted
from shared.inferers import DPMSolverPPScheduler, TextToFilmInferer, noise_scheduler
from shared.networks import GuidedDiffusion, TextDiffusion, WordTextEncoder

NOISE = {"num_train_timesteps": 1000, "schedule": "scaled_linear_beta", "beta_start": 0.0015, "beta_end": 0.0205}
VELOCITY = {**NOISE, "prediction_type": "v_prediction"}
MEAN, DEVIATION = 0.7, 0.5


def gaussian_output(scheduler, sample, timestep):
    """What a perfect network tells of noisy samples of a normal distribution with MEAN and DEVIATION."""
    kept = scheduler.alphas_cumprod[int(timestep)].double()
    alpha, sigma = kept.sqrt(), (1 - kept).sqrt()
    image = MEAN + alpha * DEVIATION**2 / (alpha**2 * DEVIATION**2 + sigma**2) * (sample - alpha * MEAN)
    noise = (sample - alpha * image) / sigma
    return {"v_prediction": alpha * noise - sigma * image, "epsilon": noise, "sample": image}[scheduler.prediction_type]


def solve(name, steps, prediction="v_prediction", last=True):
    """Largest error of samples against the exact solution of the probability flow, for a normal distribution.

    Without the last step, which leads from little noise to none, the error is that of the method alone.
    """
    scheduler = noise_scheduler(name, {**NOISE, "prediction_type": prediction}, steps)
    start = torch.linspace(-3, 3, 61, dtype=torch.float64)
    sample = start.clone()
    for timestep in scheduler.timesteps if last else scheduler.timesteps[:-1]:
        sample, _ = scheduler.step(gaussian_output(scheduler, sample, timestep), timestep, sample)
    first, kept = (scheduler.alphas_cumprod[int(scheduler.timesteps[i])].double() for i in (0, -1))
    end = torch.ones(()).double() if last else kept
    spread = [(part * DEVIATION**2 + 1 - part).sqrt() for part in (first, end)]
    exact = end.sqrt() * MEAN + spread[1] * (start - first.sqrt() * MEAN) / spread[0]
    return float((sample - exact).abs().max())


@pytest.mark.parametrize("prediction", ["v_prediction", "epsilon", "sample"])
def test_dpm_solver_finds_the_exact_solution_at_second_order(prediction):
    errors = [solve("dpm++", steps, prediction, last=False) for steps in (10, 20, 40)]
    assert errors[0] / errors[2] > 5 and errors[1] / errors[2] > 3  # in the limit, twice the steps are a quarter of the error
    assert solve("dpm++", 20, prediction) < 0.02 < solve("ddim", 20, prediction) / 5


def test_twenty_steps_of_dpm_solver_are_as_good_as_200_of_ddim():
    assert solve("dpm++", 20) < solve("ddim", 200)


@pytest.mark.parametrize("name", ["ddim", "pndm"])
def test_the_other_schedulers_get_there_too(name):
    assert solve(name, 200) < 0.08


def test_timesteps_are_even_in_the_log_of_signal_to_noise():
    scheduler = noise_scheduler("dpm++", VELOCITY, 20)
    kept = scheduler.alphas_cumprod[scheduler.timesteps]
    gaps = torch.diff(0.5 * torch.log(kept / (1 - kept)))
    assert scheduler.timesteps[0] == 999 and scheduler.timesteps[-1] == 0 and len(scheduler.timesteps) == 20
    assert gaps.min() > 0 and float(gaps.median()) == pytest.approx(float(gaps.mean()), rel=0.1)


@pytest.mark.parametrize(
    ("name", "steps", "reason"),
    [
        ("euler", 20, "scheduler is 'euler'"),
        ("dpm++", 0, "0 steps"),
        ("ddim", 1001, "1001 steps"),
        ("ddpm", 50, "50 steps of ddpm"),
    ],
)
def test_unknown_schedulers_and_steps_are_refused(name, steps, reason):
    with pytest.raises(InputError, match=reason.replace("+", r"\+")):
        noise_scheduler(name, VELOCITY, steps)


def test_another_prediction_type_is_refused():
    with pytest.raises(ValueError, match="prediction_type is 'score'"):
        DPMSolverPPScheduler(prediction_type="score")


class Counted(nn.Module):
    """Adds the mean of the text's features to the latents, and counts its calls."""

    calls = 0

    def forward(self, x, timesteps, context):
        self.calls += 1
        return x + context.mean((1, 2)).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("guidance", [0.0, 1.0, 7.0])
def test_guidance_is_one_pass_with_the_right_sum(guidance):
    network = Counted()
    x, empty, told = torch.rand(3, 1, 2, 2), torch.full((1, 4, 2), 2.0), torch.full((3, 4, 2), 5.0)
    output = GuidedDiffusion(network, empty, guidance)(x, torch.zeros(1), told)
    torch.testing.assert_close(output, x + 2 + guidance * 3)
    assert network.calls == 1


def small_unet():
    return DiffusionModelUNet(
        2, 3, 3, num_res_blocks=1, channels=(8, 8), attention_levels=(False, True), norm_num_groups=8, num_head_channels=8,
        with_conditioning=True, cross_attention_dim=8,
    )  # fmt: skip


def small_autoencoder():
    return AutoencoderKL(
        2, 1, 1, num_res_blocks=[1, 1], channels=(8, 8), attention_levels=(False, False), latent_channels=3, norm_num_groups=8,
        with_encoder_nonlocal_attn=False, with_decoder_nonlocal_attn=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    text = WordTextEncoder(words=8, length=6, width=8, heads=2)
    text.learn(["pneumonia no finding"])
    network = TextDiffusion(small_unet(), text).eval()
    for parameter in network.unet.parameters():  # MONAI starts some with zeros, through which no text passes
        nn.init.normal_(parameter, std=0.1)
    return network, small_autoencoder().eval()


@pytest.mark.parametrize(("name", "steps"), [("dpm++", 3), ("ddim", 3), ("pndm", 5), ("ddpm", 1000)])
def test_the_same_seed_gives_the_same_film_whatever_the_random_state(networks, name, steps):
    network, autoencoder = networks
    if name == "ddpm":
        steps, noise = 20, {**VELOCITY, "num_train_timesteps": 20}
    else:
        noise = VELOCITY
    inferer = TextToFilmInferer(autoencoder, noise, name, steps, guidance=2.0, verbose=False)
    make = DrawNoised(network.text.tokenize, (3, 8, 8))

    def film(prompt, seed):
        torch.rand(7)
        state = torch.get_rng_state()
        item = make({"prompt": prompt, "seed": seed})
        made = inferer(item["image"][None], network, item["tokens"][None], torch.tensor([seed]))
        assert torch.equal(state, torch.get_rng_state())
        return made

    first = film("pneumonia", 3)
    assert first.shape == (1, 1, 16, 16) and first.min() >= 0 and first.max() <= 1
    assert torch.equal(first, film("pneumonia", 3))
    assert not torch.equal(first, film("pneumonia", 4)) and not torch.equal(first, film("no finding", 3))


def test_guidance_below_zero_is_refused(networks):
    with pytest.raises(InputError, match="guidance is -1"):
        TextToFilmInferer(networks[1], VELOCITY, guidance=-1)
    with pytest.raises(ValueError, match="guidance is -1"):
        GuidedDiffusion(networks[0], torch.zeros(1, 6, 8), -1)


def test_cases_are_prompts_times_seeds_and_batches_hold_one_prompt(tmp_path):
    (tmp_path / "p.txt").write_text("pneumonia.\nPneumonia!\npneumonia.\n")
    settings = {"guidance": 7.0}
    cases = prompt_cases("x", tmp_path / "p.txt", 3, 5, settings, [tmp_path / "p.txt"], tmp_path)
    assert [item["case"] for item in cases[:3]] == ["pneumonia_seed5", "pneumonia_seed6", "pneumonia_seed7"]
    assert len({item["case"] for item in cases}) == len(cases) == 6  # the repeated prompt counts once
    assert [[cases[i]["prompt"] for i in batch] for batch in PromptBatches(cases, 2)] == [
        ["pneumonia."] * 2, ["pneumonia."], ["Pneumonia!"] * 2, ["Pneumonia!"]]  # fmt: skip
    with pytest.raises(InputError, match="number is 0"):
        prompt_cases("x", None, 0, 0, settings, [], tmp_path)


def test_weights_of_the_generative_package_give_the_same_output(networks):
    """Both networks against those of monai-generative 0.2.3."""
    torch.manual_seed(1)
    common = {"num_res_blocks": 1, "attention_levels": (False, True), "norm_num_groups": 8}
    old = OldAutoencoder(
        2, 1, 1, num_channels=(8, 8), latent_channels=3, with_encoder_nonlocal_attn=False, with_decoder_nonlocal_attn=False,
        **{**common, "num_res_blocks": (1, 1), "attention_levels": (False, False)},
    ).eval()  # fmt: skip
    new, image = small_autoencoder().eval(), torch.rand(2, 1, 16, 16)
    new.load_state_dict(converted(new, old.state_dict()))
    with torch.no_grad():
        torch.testing.assert_close(new.reconstruct(image), old.reconstruct(image), atol=1e-5, rtol=0)

    old = OldUNet(
        2, 3, 3, num_channels=(8, 8), num_head_channels=8, with_conditioning=True, cross_attention_dim=8, **common
    ).eval()
    for parameter in old.parameters():  # some start with zeros
        nn.init.normal_(parameter, std=0.2)
    network = TextDiffusion(small_unet(), networks[0].text, scale_factor=0.3).eval()
    network.load_state_dict(converted(network, old.state_dict()))
    x, context, timesteps = torch.rand(2, 3, 8, 8), torch.rand(2, 6, 8), torch.tensor([3, 700])
    with torch.no_grad():
        torch.testing.assert_close(network(x, timesteps, context), old(x, timesteps, context), atol=1e-5, rtol=0)
    assert float(network.scale_factor) == pytest.approx(0.3)


def test_weights_of_another_configuration_stay_an_error(networks):
    other = OldUNet(2, 3, 3, num_res_blocks=1, num_channels=(16, 16), attention_levels=(False, False), norm_num_groups=8)
    network, _ = networks
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(RuntimeError):
        network.load_state_dict(converted(network, other.state_dict()))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
