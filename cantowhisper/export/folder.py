"""A model folder's export: three graphs, and what else a recogniser reads, so that it can be served alone."""

import shutil
from pathlib import Path

from cantowhisper.contracts import (
    DECODER_CROSS_FILE,
    DECODER_FILE,
    ENCODER_FILE,
    LANGUAGE_MODEL_FILE,
    MODEL_FACTS_FILE,
)
from cantowhisper.export.checkpoint import Checkpoint
from cantowhisper.export.decoder import cross_graph, properties, step_graph
from cantowhisper.export.encoder import encoder_graph

COPIED = (
    "tokenizer.json",
    "preprocessor_config.json",
    "generation_config.json",
    MODEL_FACTS_FILE,
    LANGUAGE_MODEL_FILE,
)


def write_export(model: Path, out: Path) -> None:
    """Write the export of the checkpoint in `model` into `out`, which is made and holds nothing yet.

    Raises
    ------
    CantowhisperError : `model` holds no Whisper that can be exported
    """
    checkpoint = Checkpoint.open(model)
    out.mkdir(parents=True, exist_ok=True)
    encoder_graph(checkpoint).save(out / ENCODER_FILE)
    cross_graph(checkpoint).save(out / DECODER_CROSS_FILE)
    step_graph(checkpoint).save(out / DECODER_FILE, properties(checkpoint))
    for name in COPIED:
        if (model / name).exists():
            shutil.copyfile(model / name, out / name)
