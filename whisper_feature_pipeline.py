# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Recordings → features
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/cantowhisper/cantowhisper/blob/main/whisper_feature_pipeline.ipynb)
#
# | | |
# |---|---|
# | **In** | a Common Voice release, a Hub dataset, a folder of your own, or the 1,050 sample clips of this repository |
# | **Out** | log-Mel features with their sentences: a folder, and if you like a private Hub dataset |
# | **Machine** | a CPU; no GPU, and an account only to download from or push to |
# | **Time** | samples: half a minute on two cores |
#
# Whisper hears 30 seconds at a time, so the usual recipe pads every clip to 30 s and stores that. A clip lasts 4 s:
# 86 % of what it stores is one repeated number. Here a clip's features end where the clip ends.

# %%
# On Colab, fetch the repository and what it needs; elsewhere `make` or pip has done so already.
import importlib.util
import os
import subprocess
import sys

found = importlib.util.find_spec("cantowhisper")
if found is None or found.origin is None:  # no origin: only the clone's folder, which lies here and is no package
    if not os.path.isdir("cantowhisper"):
        repository = "https://github.com/cantowhisper/cantowhisper"
        subprocess.run(["git", "clone", "--depth", "1", repository], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", "cantowhisper[features]"], check=True)
    sys.path.insert(0, os.path.abspath("cantowhisper"))  # the install is seen from the next start of the kernel on
    importlib.invalidate_caches()

# %% tags=["parameters"]
import os
from pathlib import Path

# Or: a release as RELEASE.tar.gz or unpacked; "mdc:DATASET_ID" (the key in Colab's secret MDC_API_KEY);
# "hub:owner/name"; a folder with a table; several: "mdc:ID+hub:owner/name,hours=20"
SOURCE = os.environ.get("CANTOWHISPER_SOURCE", "samples")
OUT = Path(os.environ.get("CANTOWHISPER_OUT", "demo"))  # a folder on Google Drive survives the machine
SPLIT_POLICY = "official"  # the release's own train, dev and test; "validated" trains on far more clips
MAX_HOURS = None  # of training clips, by whole speakers; None takes all
PUSH = None  # "owner/name" also uploads, privately; the token is Colab's secret HF_TOKEN
TOKENIZER = None  # "openai/whisper-small" counts tokens in the histogram; None counts bytes, which are never fewer
N_MELS = 80  # whisper-tiny … large-v2; large-v3 and turbo take 128
WORKERS = None  # processes; None is one a core

# %% [markdown]
# ## The source
# Nothing is decoded yet: this reads the tables only. Splits never share a sentence or a speaker.

# %%
import pandas as pd
from IPython.display import Audio, display

from cantowhisper.features.sources.open import open_source

source = open_source(SOURCE)
clips = list(source.clips(split_policy=SPLIT_POLICY))
table = pd.DataFrame({"split": c.split, "speaker": c.speaker, "characters": len(c.sentence)} for c in clips)
display(
    table.groupby("split").agg(
        clips=("split", "size"), speakers=("speaker", "nunique"), characters=("characters", "sum")
    )
)

# %% [markdown]
# ## One clip
# What it says, what it sounds like, and what the model will be given: 80 Mel channels, a column every 10 ms.

# %%
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE, log_mel

clip = clips[0]
waveform = load_audio(clip.recording.read())
mel = log_mel(waveform, n_mels=N_MELS)
print(clip.sentence, f"({waveform.size / SAMPLE_RATE:.2f} s)")
display(Audio(waveform, rate=SAMPLE_RATE))

# %%
import librosa.display
import matplotlib.pyplot as plt

(OUT / "plots").mkdir(parents=True, exist_ok=True)
figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
picture = librosa.display.specshow(mel, sr=SAMPLE_RATE, hop_length=160, x_axis="time", ax=axes, cmap="magma")
axes.set(
    ylabel="Mel channel",
    yticks=range(0, N_MELS + 1, 20),
    title=f"{clip.id}: {mel.shape[1]} frames; 30 s would be 3,000",
)
figure.colorbar(picture, ax=axes, label="(log10 power + 4) / 4")
figure.savefig(OUT / "plots" / "spectrogram.png")
plt.show()

# %% [markdown]
# ## All clips
# Decode, resample to 16 kHz, transform, store as unpadded float16. The same cell after a crash goes on from the last
# whole file.

# %%
import time

from cantowhisper.features.pipeline import FeatureConfig, build_features

FEATURES = OUT / "features"
started = time.monotonic()
config = FeatureConfig(n_mels=N_MELS, split_policy=SPLIT_POLICY, max_hours=MAX_HOURS, workers=WORKERS)
stats = build_features(SOURCE, FEATURES, config=config)
seconds = time.monotonic() - started
print(f"{stats['n_kept']} clips in {seconds:.0f} s: {stats['n_kept'] / seconds:.0f} clips a second")

# %% [markdown]
# ## What was kept, and what was not
# Every clip of the source is either in a split or in `rejected.tsv` with its reason.

# %%
display(pd.DataFrame(stats["splits"]).T)
assert stats["n_kept"] + stats["n_rejected"] == len(clips)
rejected = pd.read_csv(FEATURES / "rejected.tsv", sep="\t")
print(f"{len(rejected)} rejected")
if len(rejected):
    display(rejected.groupby(["reason", "split"]).size().to_frame("clips"))

# %% [markdown]
# ## How long the clips are
# This is why padding hurts: the whole histogram lies left of what 30 s windows are made for.

# %%
import datasets

train = datasets.load_dataset("parquet", data_files=str(FEATURES / "data" / "train-*.parquet"), split="train")
durations = pd.Series(train["duration_s"])
speed = pd.Series([len(text) for text in train["text"]]) / durations
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
left.hist(durations, bins=40, color="tab:blue")
left.set(xlabel="seconds", ylabel="clips", title=f"duration: median {durations.median():.1f} s, 30 s is far right")
right.hist(speed, bins=40, color="tab:orange")
right.set(xlabel="characters a second", title="speed of speech: outliers are often wrong sentences")
figure.savefig(OUT / "plots" / "durations.png")
plt.show()

# %% [markdown]
# ## How many tokens the sentences are
# Whisper writes 448 at most; what would be longer is among the rejects. A token is at least one byte, so without a
# tokenizer the bytes are an upper bound.

# %%
from transformers import AutoTokenizer

encode = AutoTokenizer.from_pretrained(TOKENIZER).encode if TOKENIZER else str.encode
lengths = pd.Series([len(encode(text)) for text in train["text"]])
figure, axes = plt.subplots(figsize=(9, 2.5), layout="constrained")
axes.hist(lengths, bins=40, color="tab:green")
axes.set(xlabel="tokens" if TOKENIZER else "bytes: no more tokens than these", ylabel="clips")
axes.set(title=f"median {lengths.median():.0f}, largest {lengths.max()}; the limit is 448 tokens")
figure.savefig(OUT / "plots" / "tokens.png")
plt.show()

# %% [markdown]
# ## Listen to the outliers
# The slowest and the quickest: is that what is said?

# %%
recordings = {clip.id: clip.recording for clip in clips}
order = speed.sort_values().index
for i in [*order[:2], *order[-2:]]:
    row = train[int(i)]
    print(f"{speed[i]:.1f} characters a second: {row['text']}")
    display(Audio(load_audio(recordings[row["id"]].read()), rate=SAMPLE_RATE))

# %% [markdown]
# ## Nothing is lost
# Padding is a constant, so it can be put back. The stored clip, padded again, against what Whisper's own extractor
# gives for the clip padded to 30 s: float16 rounds in the fourth decimal, and that is all.

# %%
import numpy as np
from transformers import WhisperFeatureExtractor

from cantowhisper.speech.mel import pad_to

extractor = WhisperFeatureExtractor(feature_size=N_MELS)
reference = extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="np")["input_features"][0]
print(f"computed: largest difference {np.abs(pad_to(mel) - reference).max():.1e}")
print(f"stored:   largest difference {np.abs(pad_to(mel.astype(np.float16)) - reference).max():.1e}")

# %% [markdown]
# ## What that saves
# Against the usual recipe, which stores 30 s of float32 for each clip: measured on some clips here, in this process.

# %%
some = [load_audio(clip.recording.read()) for clip in clips[:32]]
seconds = {}
for name in ("usual", "here"):
    started = time.monotonic()
    for sound in some:
        log_mel(sound) if name == "here" else extractor(sound, sampling_rate=SAMPLE_RATE, return_tensors="np")
    seconds[name] = time.monotonic() - started
print(f"transform: {seconds['usual'] / seconds['here']:.1f} times as fast as with padding")
stored = sum(path.stat().st_size for path in (FEATURES / "data").glob("*.parquet"))
padded = stats["n_kept"] * N_MELS * 3000 * 4
print(f"padded float32: {padded / 1e6:,.0f} MB; here {stored / 1e6:,.0f} MB: {padded / stored:.0f} times less")

# %% [markdown]
# ## To the Hub
# Private, because the terms of Common Voice forbid re-hosting. Interrupted, the same cell sends what is missing.

# %%
from cantowhisper.features.push import push

print(push(FEATURES, PUSH) if PUSH else "PUSH is None: the features stay in the folder")

# %% [markdown]
# ## Next
# Open `whisper_training_pipeline.ipynb` and paste this line into its parameters.

# %%
print(f'FEATURES = "{PUSH or FEATURES.as_posix()}"')
