"""What a recording and a sentence are: waveforms, log-Mel spectrograms, text, language tokens."""
