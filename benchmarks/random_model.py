"""Models with random weights in the shapes of the published Whispers: what a pass costs depends on shapes alone."""

from pathlib import Path

from cantowhisper.contracts import ModelFacts

FULL_VOCABULARY = 51_865
# width, layers on either side, heads, and the heads whose attention tells times
SHAPES = {
    "tiny": (384, 4, 6, [[2, 2], [3, 0], [3, 2], [3, 3], [3, 4], [3, 5]]),
    "small": (768, 12, 12, [[5, 3], [5, 9], [8, 0], [8, 4], [8, 7], [8, 8], [9, 0], [9, 7], [9, 9], [10, 5]]),
}

# An input as long as the clip and 1.28 s, in whole seconds, as models were trained before silence was merged.
PLAIN = {"kind": "plain", "margin_frames": 128, "bucket_frames": 100, "min_frames": 200}


def build_random(folder: Path, shape: str = "small", *, context: dict | None = None) -> Path:
    """A folder with random weights in the shape of whisper-small or another, and its int8 export; made once.

    context : what it was trained with; by default nothing, as a stock model
    """
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    from cantowhisper.training.miniature import build_miniature
    from cantowhisper.training.model import save_model
    from cantowhisper.training.results.export import export_model

    if (folder / "ct2" / "model.bin").exists():
        return folder
    miniature, processor = build_miniature(["你好"])
    tokenizer = processor.tokenizer
    tokenizer.add_tokens([f"<unused{i}>" for i in range(FULL_VOCABULARY - len(tokenizer))])
    width, layers, heads, times = SHAPES[shape]
    settings = {**miniature.config.to_dict(), "d_model": width, "vocab_size": FULL_VOCABULARY}
    for side in ("encoder", "decoder"):
        settings |= {f"{side}_layers": layers, f"{side}_attention_heads": heads, f"{side}_ffn_dim": 4 * width}
    torch.manual_seed(0)
    model = WhisperForConditionalGeneration(WhisperConfig(**settings))
    model.generation_config = miniature.generation_config
    model.generation_config.alignment_heads = times
    save_model(model, processor, folder)
    if context:
        ModelFacts(trained_contexts="variable", context=context).save(folder)
    export_model(folder)
    return folder


def build_miniature_export(folder: Path, *, seed: int = 20) -> Path:
    """A folder with a miniature Whisper of random weights, trained on nothing, and its export; for what serves it."""
    from cantowhisper.training.miniature import build_miniature
    from cantowhisper.training.model import save_model
    from cantowhisper.training.results.export import export_onnx

    model, processor = build_miniature(["你好呀我哋今日去邊度食飯", "電話係二三四五六七八九"], seed=seed)
    save_model(model, processor, folder)
    ModelFacts(language="yue", language_token="<|zh|>", trained_contexts="variable", context=PLAIN).save(folder)
    export_onnx(folder, folder / "onnx")
    return folder


def build_talker(folder: Path, recording: bytes) -> Path:
    """The same, with the first weights drawn that write anything about a recording: text, events and times to check."""
    from cantowhisper.serving.recognizer import Recognizer
    from cantowhisper.speech.audio import load_audio

    for seed in range(50):
        model = build_miniature_export(folder / str(seed), seed=seed)
        if any(segment.text for segment in Recognizer.open(model, threads=1).stream(load_audio(recording))):
            return model
    raise RuntimeError("none of 50 models writes anything")
