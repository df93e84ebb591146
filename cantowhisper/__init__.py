"""cantowhisper: teach Whisper a language that it does not know well, starting with Cantonese.

Four rooms, in the order in which data flows: `speech` (what a recording and a sentence are), `features`
(recordings → feature dataset), `training` (feature dataset → model), `serving` (model → text). The three
later rooms import `speech` and `contracts` and never each other.
"""

__version__ = "0.1.0"
