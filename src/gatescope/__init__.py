"""gatescope reads a genome through the gates of a recurrent network."""

__version__ = "0.1.0"
