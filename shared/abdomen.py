"""Tissues of an abdomen by number, the organs they make up, and how bright they are in MR and CT."""

from __future__ import annotations

from .errors import InputError

AIR, FAT, MUSCLE, VISCERAL_FAT, LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN, WALL, FLUID, FOOD, GAS, PANCREAS = range(13)
GALLBLADDER, ARTERY, VEIN, LUNG, HEART, BONE, MARROW, CANAL, HEPATIC_VESSEL, LESION, RIGHT_MEDULLA, LEFT_MEDULLA = range(13, 25)
OTHER = 25  # soft tissue of a real anatomy that nobody has labelled
TISSUES = OTHER + 1

ORGANS = {  # tissue numbers of each organ, in the order of the network's channels
    "liver": (LIVER, HEPATIC_VESSEL, LESION),
    "right_kidney": (RIGHT_KIDNEY, RIGHT_MEDULLA),
    "left_kidney": (LEFT_KIDNEY, LEFT_MEDULLA),
    "spleen": (SPLEEN,),
}

SEQUENCES = ("in_phase", "out_phase", "t2_spir", "t2", "ct_venous", "ct_plain")
BRIGHTNESS = {  # about how bright a tissue is in each of SEQUENCES, 0 to 1; CT in a window from -160 to 240 HU
    AIR: (0.00, 0.00, 0.00, 0.00, 0.00, 0.00),
    FAT: (0.85, 0.65, 0.12, 0.80, 0.15, 0.15),
    MUSCLE: (0.38, 0.38, 0.13, 0.15, 0.54, 0.53),
    VISCERAL_FAT: (0.85, 0.65, 0.12, 0.80, 0.16, 0.16),
    LIVER: (0.50, 0.50, 0.25, 0.28, 0.69, 0.55),
    RIGHT_KIDNEY: (0.38, 0.38, 0.55, 0.45, 0.86, 0.48),
    LEFT_KIDNEY: (0.38, 0.38, 0.55, 0.45, 0.86, 0.48),
    SPLEEN: (0.35, 0.36, 0.50, 0.38, 0.70, 0.52),
    WALL: (0.40, 0.40, 0.30, 0.30, 0.60, 0.51),
    FLUID: (0.15, 0.15, 0.90, 0.95, 0.44, 0.43),
    FOOD: (0.35, 0.35, 0.45, 0.50, 0.52, 0.52),
    GAS: (0.00, 0.00, 0.00, 0.00, 0.00, 0.00),
    PANCREAS: (0.48, 0.46, 0.35, 0.35, 0.65, 0.50),
    GALLBLADDER: (0.25, 0.25, 0.90, 0.95, 0.43, 0.42),
    ARTERY: (0.30, 0.30, 0.10, 0.08, 0.80, 0.50),
    VEIN: (0.30, 0.30, 0.12, 0.10, 0.80, 0.50),
    LUNG: (0.04, 0.04, 0.04, 0.04, 0.00, 0.00),
    HEART: (0.35, 0.35, 0.20, 0.20, 0.74, 0.50),
    BONE: (0.10, 0.10, 0.08, 0.10, 1.00, 1.00),
    MARROW: (0.50, 0.35, 0.18, 0.40, 0.88, 0.84),
    CANAL: (0.15, 0.15, 0.85, 0.85, 0.46, 0.46),
    HEPATIC_VESSEL: (0.32, 0.32, 0.20, 0.15, 0.80, 0.49),
    LESION: (0.35, 0.35, 0.50, 0.50, 0.55, 0.48),
    RIGHT_MEDULLA: (0.30, 0.30, 0.65, 0.50, 0.84, 0.47),
    LEFT_MEDULLA: (0.30, 0.30, 0.65, 0.50, 0.84, 0.47),
    OTHER: (0.40, 0.40, 0.25, 0.30, 0.55, 0.50),
}
CONTRASTS = {name: tuple(row[i] for row in BRIGHTNESS.values()) for i, name in enumerate(SEQUENCES)}
FATTY = (FAT, VISCERAL_FAT)
DARK = (AIR, GAS, LUNG)

MASK_VALUES = {  # grey values of organs in the PNG masks of the CHAOS release by modality, first and last of each range
    "MR": {"liver": [(55, 70)], "right_kidney": [(110, 135)], "left_kidney": [(175, 200)], "spleen": [(240, 255)]},
    "CT": {"liver": [(1, 1), (255, 255)]},
}
ORGAN_VALUES = {name: number for number, name in enumerate(ORGANS, 1)}  # of label maps


def organs_of(organ: str) -> list[str]:
    """The organs that a choice means: one of them by name, or "all".

    Raises:
        InputError: another word.
    """
    if organ != "all" and organ not in ORGANS:
        raise InputError(f"organ is '{organ}', expected all or one of {', '.join(ORGANS)}")
    return list(ORGANS) if organ == "all" else [organ]


def organ_channels(organ: str) -> list[int]:
    """The network's channels that a choice means."""
    return [ORGAN_VALUES[name] - 1 for name in organs_of(organ)]


def organ_tissues(organ: str) -> dict[str, tuple[int, ...]]:
    """Tissue numbers of each organ that a choice means."""
    return {name: ORGANS[name] for name in organs_of(organ)}


def organ_values(organ: str) -> dict[str, list[int]]:
    """Label values of each organ that a choice means."""
    return {name: [ORGAN_VALUES[name]] for name in organs_of(organ)}


def organ_paint(organ: str) -> dict[str, int]:
    """The label value of each organ that a choice means."""
    return {name: ORGAN_VALUES[name] for name in organs_of(organ)}
