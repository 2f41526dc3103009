"""How predictions get their names and reach the disk."""

from __future__ import annotations

from monai.data import NibabelWriter

from ..paths import atomic_write


class AtomicNibabelWriter(NibabelWriter):
    """MONAI's NIfTI writer, but the file states its unit (mm) and appears under its name only once it is whole."""

    @classmethod
    def create_backend_obj(cls, data_array, *args, **kwargs):
        image = super().create_backend_obj(data_array, *args, **kwargs)
        image.header.set_xyzt_units("mm")
        return image

    def write(self, filename, verbose: bool = False, **kwargs):
        with atomic_write(filename) as temporary:
            super().write(temporary, verbose=verbose, **kwargs)


def case_name(meta: dict, saver) -> dict:
    """Name an output after its case ("BraTS20_Training_001"), for the `output_name_formatter` of SaveImage."""
    return {"subject": f"{meta['case']}.nii.gz", "idx": None}
