"""Registration of heads: affine alignment, displacement fields, files that other programs apply."""
