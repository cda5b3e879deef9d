"""The container engine of this machine, which both places need: one runs images on it, the other sends them from it."""
