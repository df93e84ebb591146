"""Speed and memory of recognition beside faster-whisper and openai-whisper: python -m benchmarks.transcribe --json FILE

One int8 export with the shape of whisper-small and random weights (made here, in a temporary folder), every program
with two threads, in turns on the same machine. Random weights say nothing, so each program decodes a fixed number of
tokens: what is compared is the work for the same amount of text. `--model` names a trained model, for the CER of both
ways on `--clips`. Memory is the peak of a process of its own. openai-whisper is compared with where it is installed.
Where REAL_SPEECH and REAL_WEIGHTS name folders, the stock whisper-base is compared on real clips too.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.machine import describe, ratio
from benchmarks.random_model import SHAPES, build_random
from benchmarks.transcribe_real import real_rows

THREADS = 2
# For a clip of 4 s: sentences of clips of 3.5 to 4.5 s have 12.4 tokens of Whisper's vocabulary on average in Common
# Voice's Hong Kong Cantonese and 13.4 in samples/, and the end is one more.
CLIP_TOKENS = 14
SECONDS_A_PIECE, PAUSE_S = 5.0, 0.8  # ten minutes of speech as people speak it: sentences and pauses
PROGRAMS = ("cantowhisper", "faster-whisper", "openai-whisper")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/transcribe.json"))
    parser.add_argument("--shape", default="small", choices=SHAPES)
    parser.add_argument("--rounds", type=int, default=5, help="turns of every program")
    parser.add_argument("--clips", type=int, default=5, help="clips of 4 s in a round")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the long recording")
    parser.add_argument("--model", type=Path, help="a trained model folder, for cer_difference_points")
    parser.add_argument("--peak-memory-of", choices=PROGRAMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_memory_of:
        loaders()[options.peak_memory_of](options.folder)(clip(4.0, seed=0))
        print(_peak_mib())
        return
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
        result = measure(Path(folder), options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({key: result[key] for key in result if key.endswith(("ratio", "points"))}, indent=2))


def measure(folder: Path, options) -> dict:
    """All figures, as written to the JSON file."""
    build_random(folder, options.shape)
    decode, n = {name: load(folder) for name, load in loaders().items()}, options.clips
    sounds = [clip(4.0, seed=i) for i in range(n)]
    short = in_turns({name: lambda one=one: [one(s) for s in sounds] for name, one in decode.items()}, options.rounds)
    talk = long_recording(options.minutes * 60)
    long = in_turns(long_programs(folder, talk), max(1, options.rounds // 2))
    mine = short["cantowhisper"]
    result = {
        "machine": describe(),
        "versions": {name: _version(name) for name in ("faster-whisper", "openai-whisper", "ctranslate2")},
        "shape": options.shape,
        "threads": THREADS,
        "tokens_a_clip": CLIP_TOKENS,
        "load_average_at_end": os.getloadavg()[0],
        "short_clips_s": {name: [t / n for t in times] for name, times in short.items()},
        "short_clip_ratio": ratio(short["faster-whisper"], mine),
        "short_clip_ratio_openai": ratio(short["openai-whisper"], mine) if "openai-whisper" in short else None,
        "long_form_s": long,
        "long_form_minutes": options.minutes,
        "long_form_ratio": ratio(long["faster-whisper"], long["cantowhisper"]),
        "peak_memory_mib": {name: peak_memory(name, folder) for name in decode},
        "cer_difference_points": None,
    }
    if options.model:
        result |= cer_of_both(options.model)
    speech, weights = (Path(os.environ.get(name, "")) for name in ("REAL_SPEECH", "REAL_WEIGHTS"))
    if os.environ.get("REAL_SPEECH") and (weights / "whisper-base").is_dir():
        stock = weights / "whisper-base"
        result |= real_rows(speech, stock, folder, threads=THREADS, rounds=max(1, options.rounds // 2))
    return result


def in_turns(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each work, round by round, after one round that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for round_number in range(rounds + 1):
        for name, work in works.items():
            started = time.perf_counter()
            work()
            if round_number:
                seconds[name].append(time.perf_counter() - started)
    return seconds


def clip(seconds: float, *, seed: int) -> np.ndarray:
    """Noise that swells like syllables do; float32, 16 kHz."""
    n = int(seconds * 16_000)
    syllables = 0.5 - 0.5 * np.cos(np.arange(n) * 2 * np.pi * 4 / 16_000)
    return (np.random.default_rng(seed).normal(size=n) * 0.1 * syllables).astype(np.float32)


def long_recording(seconds: float) -> np.ndarray:
    pause = np.zeros(int(PAUSE_S * 16_000), np.float32)
    pieces = int(seconds / (SECONDS_A_PIECE + PAUSE_S)) or 1
    return np.concatenate([part for i in range(pieces) for part in (clip(SECONDS_A_PIECE, seed=i), pause)])


def spans_of(n_samples: int) -> list[tuple[int, int]]:
    """Where the speech is in `long_recording`: VAD hears none in noise, so every program is told."""
    piece, step = int(SECONDS_A_PIECE * 16_000), int((SECONDS_A_PIECE + PAUSE_S) * 16_000)
    return [(start, start + piece) for start in range(0, n_samples - piece + 1, step)]


def loaders() -> dict[str, Callable[[Path], Callable[[np.ndarray], object]]]:
    """For each program that is installed: model folder → function of one clip."""
    made = {"cantowhisper": _mine, "faster-whisper": _faster}
    return made | ({"openai-whisper": _openai} if importlib.util.find_spec("whisper") else {})


def _mine(folder: Path) -> Callable[[np.ndarray], object]:
    from cantowhisper.contracts import DecodingOptions
    from cantowhisper.serving.recognizer import Recognizer
    from cantowhisper.speech.context import stack
    from cantowhisper.speech.mel import log_mel, pad_to

    recognizer = Recognizer.open(folder, threads=THREADS)
    prompt = recognizer._prompt(None)
    options = DecodingOptions(max_new_tokens=CLIP_TOKENS, suppress_tokens=_never_end(recognizer))

    def decode(*waveforms: np.ndarray):
        mels = [log_mel(w, n_mels=recognizer.engine.n_mels, engine="numpy") for w in waveforms]
        windows = stack([recognizer.context.window(mel.shape[1]) for mel in mels])
        inputs = np.stack([pad_to(mel, windows.n_frames) for mel in mels])
        return recognizer.engine.decode(inputs, windows, prompt, options)

    return decode


def _never_end(recognizer) -> tuple[int, ...]:
    """Suppressing the end token makes all outputs equally long."""
    return (*recognizer.vocabulary.suppressed, recognizer.vocabulary.ids["<|endoftext|>"])


def _faster(folder: Path) -> Callable[..., object]:
    """faster-whisper's model through its own feature extractor and encoder input of 30 s, without its fallbacks."""
    from faster_whisper import WhisperModel
    from faster_whisper.audio import pad_or_trim

    model = WhisperModel(str(folder / "ct2"), device="cpu", compute_type="int8", cpu_threads=THREADS, num_workers=1)
    tokens = _tokens(folder)

    def decode(*waveforms: np.ndarray, n_tokens: int = CLIP_TOKENS, ends: bool = False):
        features = np.stack([pad_or_trim(model.feature_extractor(w)[..., :-1]) for w in waveforms])
        return model.model.generate(
            model.encode(features),
            [tokens["prompt"]] * len(waveforms),
            beam_size=1,
            max_length=2 * n_tokens,
            suppress_tokens=[-1, *(tokens["keep"][:-1] if ends else tokens["keep"])],  # the last one is the end
        )

    return decode


def _tokens(folder: Path) -> dict[str, list[int]]:
    from cantowhisper.serving.recognizer import Recognizer

    recognizer = Recognizer.open(folder, threads=1)
    return {"prompt": recognizer._prompt(None), "keep": _never_end(recognizer)}


def _openai(folder: Path) -> Callable[[np.ndarray], object]:
    """openai-whisper's own model class in float32 with these dimensions, greedy over a fixed number of tokens."""
    import torch
    import whisper

    config = json.loads((folder / "config.json").read_text())
    width, layers, heads = config["d_model"], config["encoder_layers"], config["encoder_attention_heads"]
    text = (config["vocab_size"], config["max_target_positions"], width, heads, layers)
    torch.set_num_threads(THREADS)
    model = whisper.model.Whisper(
        whisper.model.ModelDimensions(config["num_mel_bins"], 1500, width, heads, layers, *text)
    ).eval()
    prompt = _tokens(folder)["prompt"]

    @torch.inference_mode()
    def decode(waveform: np.ndarray):
        mel = whisper.log_mel_spectrogram(whisper.pad_or_trim(waveform), n_mels=config["num_mel_bins"])
        encoded, ids, cache, hooks = (
            model.embed_audio(mel[None]),
            torch.tensor([prompt]),
            *model.install_kv_cache_hooks(),
        )
        for _ in range(CLIP_TOKENS):
            logits = model.decoder(ids if not cache else ids[:, -1:], encoded, kv_cache=cache)
            ids = torch.cat([ids, logits[:, -1:].argmax(-1)], dim=-1)
        for hook in hooks:
            hook.remove()
        return ids

    return decode


def long_programs(folder: Path, talk: np.ndarray) -> dict[str, Callable[[], object]]:
    """The whole long recording in batches: this project's pieces at their own length, faster-whisper's in 30 s windows.

    faster-whisper's batched pipeline packs neighbouring speech into windows of up to 30 s and decodes 8 at a time;
    its windows get the tokens of all the pieces in them, so that both write the same amount of text.
    """
    from cantowhisper.serving.batches import MAX_BATCH

    mine, faster = _mine(folder), _faster(folder)
    pieces = [talk[a:b] for a, b in spans_of(talk.size)]
    per_window = int(30 // SECONDS_A_PIECE)
    windows = [np.concatenate(pieces[i : i + per_window]) for i in range(0, len(pieces), per_window)]
    return {
        "cantowhisper": lambda: [mine(*pieces[i : i + MAX_BATCH]) for i in range(0, len(pieces), MAX_BATCH)],
        "faster-whisper": lambda: [
            faster(*windows[i : i + 8], n_tokens=CLIP_TOKENS * per_window) for i in range(0, len(windows), 8)
        ],
    }


def cer_of_both(model: Path) -> dict:
    """Character error rates on the longer samples: this project's input lengths, and faster-whisper's 30 s windows.

    Both hear the same pieces: faster-whisper's own packing into windows of several sentences is nothing that the
    miniature was trained for, and its vocabulary is none that faster-whisper takes for multilingual.
    """
    from cantowhisper.repository import sample_clips
    from cantowhisper.serving.recognizer import Recognizer
    from cantowhisper.serving.segments import find_segments
    from cantowhisper.speech.audio import load_audio
    from cantowhisper.speech.text import cer as error_rate

    clips = sample_clips("market_morning.mp3", "clinic_visit.flac", "phone_numbers.mp3", "two_people.mp3")
    recognizer, padded = Recognizer.open(model, threads=THREADS), _faster(model)
    heard: dict[str, list[str]] = {"cantowhisper": [], "faster-whisper": []}
    for path, _ in clips:
        waveform = load_audio(path)
        heard["cantowhisper"].append("".join(s.text for s in recognizer.transcribe(waveform)))
        # Silence up to 30 s comes before the features: faster-whisper fills up features with zeros, which are a sound.
        pieces = [np.pad(waveform[s.start : s.end], (0, 480_000 - (s.end - s.start))) for s in find_segments(waveform)]
        found = [padded(piece, n_tokens=200, ends=True)[0] for piece in pieces]
        heard["faster-whisper"].append(
            "".join(recognizer.vocabulary.tokenizer.decode(one.sequences_ids[0]) for one in found)
        )
    references = [text for _, text in clips]
    cer = {name: error_rate(texts, references).cer for name, texts in heard.items()}
    difference = 100 * (cer["cantowhisper"] - cer["faster-whisper"])
    return {"cer": cer, "cer_n_recordings": len(clips), "cer_difference_points": difference}


def peak_memory(name: str, folder: Path) -> float:
    """MiB at the peak of a fresh process that loads one program and decodes a clip."""
    command = [sys.executable, "-m", "benchmarks.transcribe", "--peak-memory-of", name, "--folder", str(folder)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def _peak_mib() -> float:
    # Not ru_maxrss: a process begins with that of the one that started it.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
