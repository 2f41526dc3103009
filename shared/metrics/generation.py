"""How good, how different and how new images are that a model has made."""

from __future__ import annotations

import numpy as np
import torch

from ..transforms.reconstruct import ms_ssim


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Squared Frechet distance of Gaussians fitted to two sets of features, which FID is (Heusel et al. 2017).

    The trace of the root of the covariances' product comes from a symmetric matrix, so that it is real and exists also where
    there are fewer images than features; then the distance is still biased upwards, and only equal numbers can be compared.

    Args:
        a: (N, F).
        b: (M, F).

    Raises:
        ValueError: the features differ in number, or a set has fewer than two images.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"features of shapes {a.shape} and {b.shape}, expected (N, F) and (M, F), N and M above 1")
    means = [x.astype(np.float64).mean(0) for x in (a, b)]
    first, second = (np.atleast_2d(np.cov(x.astype(np.float64), rowvar=False)) for x in (a, b))
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    both = np.sqrt(np.linalg.eigvalsh(root @ second @ root).clip(0)).sum()
    return float(((means[0] - means[1]) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * both)


def pairwise_similarity(images: torch.Tensor, kernel: int, pairs: int = 1000, seed: int = 0) -> np.ndarray:
    """MS-SSIM of random pairs of different images: the smaller, the more they vary.

    Args:
        images: (N, 1, H, W), 0..1.
        kernel: see `ms_ssim`.
        pairs: how many; all where there are no more.
        seed: of the draw.

    Raises:
        ValueError: fewer than two images.
    """
    count = len(images)
    if count < 2:
        raise ValueError(f"{count} images, expected two or more")
    i, j = np.triu_indices(count, 1)
    chosen = np.random.default_rng(seed).permutation(len(i))[:pairs]
    parts = [ms_ssim(images[i[part]], images[j[part]], kernel) for part in np.array_split(chosen, -(-len(chosen) // 64))]
    return torch.cat(parts).numpy()


def nearest(samples: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
    """For every row of features the other set's most similar rows by cosine similarity, the most similar first.

    Args:
        samples: (N, F).
        others: (M, F).
        count: how many; all where there are no more.

    Returns:
        (N, count) indices into `others`.
    """
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12) for x in (samples, others))
    return np.argsort(-(a @ b.T), axis=1, kind="stable")[:, :count]
