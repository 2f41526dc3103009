"""Noise schedules and ways to sample, by name; DPM-Solver++, which MONAI lacks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from monai.networks.schedulers import DDIMScheduler, DDPMScheduler, PNDMScheduler
from monai.networks.schedulers.scheduler import Scheduler

from ..errors import InputError


class DPMSolverPPScheduler(Scheduler):
    """DPM-Solver++(2M), a multistep solver of second order for the data prediction (Lu et al. 2022, arXiv:2211.01095).

    Timesteps are spaced evenly in half the log signal-to-noise ratio, lambda = log(alpha / sigma), from the noisiest to the
    cleanest of training; a last step leads to no noise. The first and the last step are of first order.

    Args:
        num_train_timesteps: of training.
        schedule: a name of MONAI's NoiseSchedules.
        prediction_type: what the network tells: epsilon, sample or v_prediction.
        schedule_args: of the schedule.

    Raises:
        ValueError: another prediction type.
    """

    def __init__(
        self,
        num_train_timesteps: int = 1000,
        schedule: str = "linear_beta",
        prediction_type: str = "epsilon",
        **schedule_args,
    ):
        super().__init__(num_train_timesteps, schedule, **schedule_args)
        if prediction_type not in ("epsilon", "sample", "v_prediction"):
            raise ValueError(f"prediction_type is '{prediction_type}', expected epsilon, sample or v_prediction")
        self.prediction_type = prediction_type
        self.previous: tuple[float, torch.Tensor] | None = None  # lambda and data prediction of the step before
        self.set_timesteps(num_train_timesteps)

    def _lambda(self, timestep: int) -> float:
        """log(alpha / sigma) at a timestep of training."""
        kept = float(self.alphas_cumprod[timestep])
        return 0.5 * float(torch.log(torch.tensor(kept / (1 - kept), dtype=torch.float64)))

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str | None = None) -> None:
        """Choose the timesteps; where two would be the same, there are fewer than asked for.

        Raises:
            ValueError: not between 1 and the timesteps of training.
        """
        if not 1 <= num_inference_steps <= self.num_train_timesteps:
            raise ValueError(f"{num_inference_steps} steps, expected 1 to {self.num_train_timesteps}")
        self.num_inference_steps, self.previous = num_inference_steps, None
        kept = self.alphas_cumprod.double().cpu()
        of_all = 0.5 * torch.log(kept / (1 - kept))  # falls from the first timestep to the last
        wanted = torch.linspace(float(of_all[-1]), float(of_all[0]), num_inference_steps, dtype=torch.float64)
        nearest = (of_all[None] - wanted[:, None]).abs().argmin(1)
        self.timesteps = torch.unique(nearest).flip(0).to(device)

    def step(self, model_output: torch.Tensor, timestep: int, sample: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One step towards the image.

        Args:
            model_output: what the network tells of `sample`.
            timestep: one of `timesteps`, taken in their order.
            sample: at that timestep.

        Returns:
            the sample at the next timestep, and the predicted image.
        """
        place = int((self.timesteps == int(timestep)).nonzero()[0, 0])
        if place == 0:
            self.previous = None
        kept = float(self.alphas_cumprod[int(timestep)])
        alpha, sigma = kept**0.5, (1 - kept) ** 0.5
        if self.prediction_type == "v_prediction":
            image = alpha * sample - sigma * model_output
        elif self.prediction_type == "epsilon":
            image = (sample - sigma * model_output) / alpha
        else:
            image = model_output
        if place == len(self.timesteps) - 1:
            return image, image
        here, then = self._lambda(int(timestep)), self._lambda(int(self.timesteps[place + 1]))
        step = then - here
        direction = image
        if self.previous is not None:
            before, image_before = self.previous
            ratio = (here - before) / step
            direction = image + (image - image_before) / (2 * ratio)
        self.previous = (here, image)
        kept = float(self.alphas_cumprod[int(self.timesteps[place + 1])])
        alpha, sigma_next = kept**0.5, (1 - kept) ** 0.5
        factor = float(torch.expm1(torch.tensor(-step, dtype=torch.float64)))
        return (sigma_next / sigma) * sample - alpha * factor * direction, image


KINDS = {"ddpm": DDPMScheduler, "ddim": DDIMScheduler, "pndm": PNDMScheduler, "dpm++": DPMSolverPPScheduler}
WITHOUT = {  # what the classes call what must not be done: values of latents are not limited to -1..1
    "ddpm": {"clip_sample": False},
    "ddim": {"clip_sample": False},
    "pndm": {"skip_prk_steps": True},
    "dpm++": {},
}


def noise_scheduler(name: str, noise: Mapping, steps: int | None = None) -> Scheduler:
    """A scheduler by name, for latents.

    Args:
        name: ddpm, ddim, pndm or dpm++ (DPM-Solver++ multistep).
        noise: num_train_timesteps, schedule, prediction_type and the schedule's arguments, as in training.
        steps: of sampling; None takes all timesteps of training.

    Raises:
        InputError: another name; a number of steps that is not between 1 and the timesteps of training, or for ddpm not these.
    """
    if name not in KINDS:
        raise InputError(f"scheduler is '{name}', expected one of {', '.join(KINDS)}")
    scheduler = KINDS[name](**noise, **WITHOUT[name])
    if steps is not None:
        most = noise["num_train_timesteps"]
        if not 1 <= steps <= most:
            raise InputError(f"{steps} steps, expected 1 to {most}")
        if name == "ddpm" and steps != most:  # its step in MONAI always leads to the timestep before
            raise InputError(f"{steps} steps of ddpm, which takes all {most}; the others take fewer")
        scheduler.set_timesteps(steps)
    return scheduler
