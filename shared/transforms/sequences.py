"""Sequences of a case that may be missing."""

from __future__ import annotations

from monai.config import KeysCollection
from monai.transforms import MapTransform, RandomizableTransform


class RandDropSequencesd(RandomizableTransform, MapTransform):
    """Set channels of an image to 0, which is what a missing sequence looks like, but never all that are there.

    Every number of sequences that can be kept is equally likely. Images with a single sequence stay as they are.

    Args:
        keys: images (C, H, W, D), alike in what is missing; a channel of zeros is missing already.
        prob: share of the images from which sequences are dropped.
    """

    def __init__(self, keys: KeysCollection, prob: float = 0.5):
        MapTransform.__init__(self, keys)
        RandomizableTransform.__init__(self, prob)

    def __call__(self, data):
        item = dict(data)
        self.randomize(None)
        if not self._do_transform:
            return item
        image = item[self.keys[0]]
        there = [c for c in range(len(image)) if image[c].any()]
        if len(there) < 2:
            return item
        kept = self.R.permutation(there)[: self.R.randint(1, len(there))]
        for key in self.key_iterator(item):
            item[key] = item[key].clone()
            item[key][[c for c in there if c not in kept]] = 0
        return item
