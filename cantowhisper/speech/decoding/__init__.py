"""From the bytes of a recording to samples: containers, codecs, channels."""
