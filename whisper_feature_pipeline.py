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
# [![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/cantowhisper/cantowhisper/blob/main/whisper_feature_pipeline.ipynb)
#
# | | |
# |---|---|
# | **You learn** | what a log-Mel spectrogram is, what padding costs, and how to check training data |
# | **In** | a Common Voice release, a Hub dataset, a folder of your own, or the 1,050 sample clips of this repository |
# | **Out** | log-Mel features with their sentences: a folder, and if you like a private Hub dataset |
# | **Machine** | any CPU. On Kaggle, switch the internet on first |
# | **Time, disk** | samples: half a minute on two cores, 40 MB. One hour of speech: about 60 MB |
#
# **If the machine is taken away**, open the notebook again and run all cells: work resumes after the last complete
# file. Set `DRIVE = True` on Colab, so that the files outlive the machine.

# %%
# On Colab and Kaggle, fetch the repository and what it needs; elsewhere `make` or pip has done so already.
import importlib.util
import os
import subprocess
import sys

NEEDED = ("datasets", "librosa", "indexed_gzip", "datacollective")
found = importlib.util.find_spec("cantowhisper")
origin = found and found.origin  # None: nothing is installed; or the clone's folder lies here, which is no package
if not origin or not all(map(importlib.util.find_spec, NEEDED)):
    clone = os.path.dirname(os.path.dirname(origin)) if origin else os.path.abspath("cantowhisper")
    if not os.path.isdir(clone):
        subprocess.run(["git", "clone", "-q", "--depth=1", "https://github.com/cantowhisper/cantowhisper"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", f"{clone}[features]"], check=True)
    sys.path.insert(0, clone)  # the install is seen from the next start of the kernel on
    importlib.invalidate_caches()

# %% tags=["parameters"]
import os

# Or: a release as RELEASE.tar.gz or unpacked; "mdc:DATASET_ID" (the key in Colab's secret MDC_API_KEY);
# "hub:owner/name"; a folder with a table; several: "mdc:ID+hub:owner/name,hours=20"
SOURCE = os.environ.get("CANTOWHISPER_SOURCE", "samples")
OUT = os.environ.get("CANTOWHISPER_OUT", "demo")  # folder for everything that is made
DRIVE = False  # True on Colab: OUT is a folder of your Google Drive
SPLIT_POLICY = "official"  # the release's own train, dev and test; "validated" trains on far more clips
MAX_HOURS = None  # of training clips, by whole speakers; None takes all
PUSH = None  # "owner/name" also uploads, privately; the token is the secret HF_TOKEN
TOKENIZER = None  # "openai/whisper-small" counts tokens in the histogram; None counts bytes, which are never fewer
N_MELS = 80  # whisper-tiny … large-v2; large-v3 and turbo take 128
WORKERS = None  # processes; None is one a core

# %% [markdown]
# ## The source
# **Goal:** see what there is, before any work. Only tables are read, nothing is decoded yet.

# %%
import pandas as pd
from IPython.display import display

from cantowhisper.features.sources.open import open_source
from cantowhisper.notebook import output_folder, play

OUT = output_folder(OUT, drive=DRIVE)
source = open_source(SOURCE)
clips = list(source.clips(split_policy=SPLIT_POLICY))
table = pd.DataFrame({"split": c.split, "speaker": c.speaker, "characters": len(c.sentence)} for c in clips)
wanted = {"clips": ("split", "size"), "speakers": ("speaker", "nunique"), "characters": ("characters", "sum")}
display(table.groupby("split").agg(**wanted))

# %% [markdown]
# **Notice:** for the samples there are 850 clips to train, 100 to validate and 100 to test. No speaker and no sentence
# is in two splits. A model that has heard a test speaker before would look better than it is.

# %% [markdown]
# ## One clip, three pictures
# **Goal:** understand what the model is given. The waveform is pressure over time, 16,000 numbers a second. A short
# Fourier transform every 10 ms turns it into frequencies. The log-Mel spectrogram keeps 80 of them, spaced as we hear
# (close together at low pitch, far apart at high pitch), on a logarithmic scale of loudness.

# %%
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE, log_mel, pad_to

clip = clips[0]
waveform = load_audio(clip.recording.read())
mel = log_mel(waveform, n_mels=N_MELS)
print(f"{clip.sentence}: {waveform.size:,} samples, {waveform.size / SAMPLE_RATE:.2f} s")
print(f"log-Mel: {mel.shape[0]} channels × {mel.shape[1]} frames")
play(waveform, rate=SAMPLE_RATE)

# %%
import librosa
import matplotlib.pyplot as plt
import numpy as np

(OUT / "plots").mkdir(parents=True, exist_ok=True)
seconds = waveform.size / SAMPLE_RATE
power = librosa.amplitude_to_db(np.abs(librosa.stft(waveform, n_fft=400, hop_length=160)), ref=np.max)
figure, (top, middle, bottom) = plt.subplots(3, figsize=(9, 7), sharex=True, layout="constrained")
top.plot(np.linspace(0, seconds, waveform.size), waveform, linewidth=0.4)
top.set(title="1. waveform", ylabel="pressure")
middle.imshow(power, origin="lower", aspect="auto", extent=(0, seconds, 0, 8), cmap="magma")
middle.set(title="2. spectrogram: 201 frequencies, evenly spaced", ylabel="kHz")
bottom.imshow(mel, origin="lower", aspect="auto", extent=(0, mel.shape[1] / 100, 0, N_MELS), cmap="magma")
bottom.set(title="3. log-Mel: what Whisper hears", ylabel="Mel channel", xlabel="seconds", xlim=(0, seconds))
figure.savefig(OUT / "plots" / "spectrogram.png")
plt.show()

# %% [markdown]
# **Notice:** bright bands are formants, the resonances that tell vowels apart. They fill the lower half of
# picture 2 and most of picture 3: that is what the Mel scale is for. Thin vertical gaps are stops such as p, t and k.

# %% [markdown]
# ## What padding costs
# **Goal:** see why clips are not stored as Whisper's own extractor gives them. It pads each clip to 30 seconds.

# %%
from transformers import WhisperFeatureExtractor

extractor = WhisperFeatureExtractor(feature_size=N_MELS)
usual = extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="np")["input_features"][0]  # (80, 3000)
share = 1 - mel.shape[1] / usual.shape[1]
figure, axes = plt.subplots(figsize=(9, 2.5), layout="constrained")
axes.imshow(usual, origin="lower", aspect="auto", extent=(0, 30, 0, N_MELS), cmap="magma")
axes.axvline(mel.shape[1] / 100, color="white", linestyle="--")
axes.set(title=f"the same clip padded: {share:.0%} is one repeated number", xlabel="seconds", ylabel="Mel channel")
figure.savefig(OUT / "plots" / "padding.png")
plt.show()
print(f"padded again, the stored clip differs by {np.abs(pad_to(mel) - usual).max():.1e} at most")
print(f"rounded to float16, as on disk:        {np.abs(pad_to(mel.astype(np.float16)) - usual).max():.1e}")

# %% [markdown]
# **Notice:** right of the dashed line there is nothing to learn, yet it is stored, trained on and transcribed. The
# differences are about 1e-7 and 5e-4, so nothing is lost by leaving it out.

# %% [markdown]
# ## All clips
# **Goal:** decode, resample to 16 kHz, transform and store every clip. Run the cell again after a crash: it resumes.

# %%
import time

from cantowhisper.features.pipeline import FeatureConfig, build_features

FEATURES = OUT / "features"
started = time.monotonic()
config = FeatureConfig(n_mels=N_MELS, split_policy=SPLIT_POLICY, max_hours=MAX_HOURS, workers=WORKERS)
stats = build_features(SOURCE, FEATURES, config=config)
taken = time.monotonic() - started
stored = sum(path.stat().st_size for path in (FEATURES / "data").glob("*.parquet"))
padded = stats["n_kept"] * N_MELS * 3000 * 4
print(f"{stats['n_kept']} clips in {taken:.0f} s: {stats['n_kept'] / taken:.0f} clips a second")
print(f"padded float32: {padded / 1e6:,.0f} MB; here {stored / 1e6:,.0f} MB: {padded / stored:.0f} times less")

# %% [markdown]
# **Expect** a few hundred clips a second and core, and a size about 25 times smaller.

# %% [markdown]
# ## What was kept, and what was not
# **Goal:** account for every clip. Each one is in a split, or in `rejected.tsv` with its reason.

# %%
display(pd.DataFrame(stats["splits"]).T)
assert stats["n_kept"] + stats["n_rejected"] == len(clips)
rejected = pd.read_csv(FEATURES / "rejected.tsv", sep="\t")
print(f"{len(rejected)} rejected")
if len(rejected):
    display(rejected.groupby(["reason", "split"]).size().to_frame("clips"))

# %% [markdown]
# **Notice:** the samples are clean, so nothing is rejected. Of a real release some clips are empty, silent, too long
# or voted down. If half of yours are gone, look at the reasons before you train.

# %% [markdown]
# ## How long, how fast, how many tokens
# **Goal:** find wrong sentences without listening to all of them.

# %%
import datasets
from transformers import AutoTokenizer

train = datasets.load_dataset("parquet", data_files=str(FEATURES / "data" / "train-*.parquet"), split="train")
durations, texts = pd.Series(train["duration_s"]), list(train["text"])
speed = pd.Series([len(text) for text in texts]) / durations
encode = AutoTokenizer.from_pretrained(TOKENIZER).encode if TOKENIZER else str.encode
lengths = pd.Series([len(encode(text)) for text in texts])

# %%
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3), layout="constrained")
left.hist(durations, bins=40, color="tab:blue")
left.set(xlabel="seconds", ylabel="clips", title=f"median {durations.median():.1f} s", xlim=(0, None))
middle.hist(speed, bins=40, color="tab:orange")
middle.set(xlabel="characters a second", title="speed of speech", xlim=(0, None))
right.hist(lengths, bins=40, color="tab:green")
right.set(xlabel="tokens" if TOKENIZER else "bytes (tokens are fewer)", title="limit: 448 tokens", xlim=(0, None))
figure.savefig(OUT / "plots" / "lengths.png")
plt.show()

# %% [markdown]
# **Notice:** clips of two to six seconds are far from 30. Speed should be one hill; what lies far outside of it is
# often a sentence that was not said. The next cell plays the two slowest and the two fastest clips.

# %%
recordings = {clip.id: clip.recording for clip in clips}
order = speed.sort_values().index
for i in [*order[:2], *order[-2:]]:
    row = train[int(i)]
    print(f"{speed[i]:.1f} characters a second: {row['text']}")
    play(load_audio(recordings[row["id"]].read()), rate=SAMPLE_RATE)

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
