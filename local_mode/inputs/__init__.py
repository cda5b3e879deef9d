"""One module for each way data comes in: a channel and a place give a mount, or the reason why not. Pure."""
