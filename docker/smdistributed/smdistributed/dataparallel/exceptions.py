"""What the emulation raises. SageMaker's toolkit looks for these names in a job's stderr, to tell why it failed.

AWS does not document the names of the real library's own.
"""


class SMDDPError(RuntimeError):
    """Something that the library refuses."""


class SMDDPInitError(SMDDPError):
    """init() was called twice, or not at all."""


class SMDDPNotSupportedError(SMDDPError, NotImplementedError):
    """An argument or a call that exists for the sake of another library's API, and that SMDDP does not support."""
