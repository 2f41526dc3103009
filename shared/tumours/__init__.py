"""Tumours grown into real anatomy and painted in the contrasts of MR sequences, on whatever device the tensors are."""
