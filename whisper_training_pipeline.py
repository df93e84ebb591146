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
# # Features → a Whisper that knows the language
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/cantowhisper/cantowhisper/blob/main/whisper_training_pipeline.ipynb)
#
# | | |
# |---|---|
# | **In** | the folder that the feature notebook wrote |
# | **Out** | a model folder: a stock Whisper checkpoint, and an int8 copy for the web page |
# | **Machine** | a GPU for `whisper-small`; two CPU cores for the demo, a miniature Whisper trained from scratch |
#
# Training computes each clip at its own length; the silence of its 30 s window is merged into a few positions. If the
# machine goes away, run the notebook again: it goes on from the last checkpoint.

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
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", "cantowhisper[training,serving]"], check=True)
    sys.path.insert(0, os.path.abspath("cantowhisper"))  # the install is seen from the next start of the kernel on
    importlib.invalidate_caches()

# %% tags=["parameters"]
import json
import os
from pathlib import Path

OUT = Path(os.environ.get("CANTOWHISPER_OUT", "demo"))  # a folder on Google Drive survives the machine
FEATURES = os.environ.get("CANTOWHISPER_FEATURES") or str(OUT / "features")  # or the Hub id of a feature dataset
PRESET = os.environ.get("CANTOWHISPER_PRESET", "demo")  # "t4" fine-tunes whisper-small on a free Colab GPU
MODEL = os.environ.get("CANTOWHISPER_MODEL")  # None: what the preset says; or "openai/whisper-tiny" …
CHANGES = json.loads(os.environ.get("CANTOWHISPER_CHANGES", "{}"))  # to the preset, such as {"max_steps": 8000}
CLIPS = os.environ.get("CANTOWHISPER_CLIPS", "")  # folder of the recordings, to hear the worst; "": the samples' own
PUSH_TO = os.environ.get("CANTOWHISPER_PUSH_TO", "")  # "owner/name": the finished model goes to this private repository

# %%
from cantowhisper.training.run import processes
from cantowhisper.training.presets import PRESETS

processes.quiet_unless_main()  # `accelerate launch whisper_training_pipeline.py` runs these cells once a GPU
config = PRESETS[PRESET].with_overrides(**({"model": MODEL} if MODEL else {}), **CHANGES)
print(f"{config.model}: {config.max_steps} steps of {config.batch_size} clips")

# %% [markdown]
# ## The data in one look
# Only the train and validation splits: the test split stays closed until the end.

# %%
from IPython.display import display

from cantowhisper.training.data.languages import with_language
from cantowhisper.training.data.load import load_split

# with {"streaming": true} among the CHANGES, features of `train` stay on the Hub: only its sentences are read here
train_split = load_split(FEATURES, "train", streaming=config.streaming)
validation = load_split(FEATURES, "validation")
config = with_language(config, train_split)  # which the features say
hours = sum(train_split["duration_s"]) / 3600
print(f"train {len(train_split)} clips, {hours:.2f} h; validation {len(validation)} clips")
display(train_split.select_columns(["text", "duration_s"]).select(range(3)).to_pandas())

# %% [markdown]
# ## The model before training

# %%
from cantowhisper.training.trainer import prepare_model

model, processor = prepare_model(config, train_split["text"])
print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {len(processor.tokenizer)} tokens")
sentence = train_split["text"][0]
print(sentence, "→", processor.tokenizer.convert_ids_to_tokens(processor.tokenizer(sentence).input_ids)[:4], "…")

# %% [markdown]
# ## A batch
# Clips of like length share a batch. After the end of each clip comes a short margin of silence.

# %%
import matplotlib.pyplot as plt

from cantowhisper.training.data.collator import Collator
from cantowhisper.training.data.sampling import BucketBatchSampler, frame_counts
from cantowhisper.training.data.streaming import training_rows

train_rows = training_rows(train_split, config)
sampler = BucketBatchSampler(frame_counts(train_split), config, n_batches=20, parts=train_rows.parts)
keys = next(batch for batch in sampler if not batch[0].full)
collate = Collator(processor, config, start_token_id=model.config.decoder_start_token_id)
batch = collate(train_rows.__getitems__(keys))
n_mels, frames = batch["input_features"].shape[1:]
clips, positions = batch["positions"].shape
print(f"{clips} clips × {positions} positions; padded to 30 s there would be {1500 / positions:.1f} times as many")

# %%
(OUT / "plots").mkdir(parents=True, exist_ok=True)
figure, axes = plt.subplots(figsize=(9, 3), layout="constrained")
rows = batch["input_features"][:4].permute(1, 0, 2).reshape(n_mels, -1)
axes.imshow(rows, origin="lower", aspect="auto", cmap="magma")
axes.set(xlabel=f"four clips of the batch, {frames} frames each", ylabel="Mel channel", yticks=[])
for edge in range(1, 4):
    axes.axvline(edge * frames, color="white", linewidth=1)
figure.savefig(OUT / "plots" / "batch.png")
plt.show()

# %% [markdown]
# ## A run that is killed
# Colab takes machines away. To see what that costs, six steps of the miniature are trained twice: once in peace, and
# once by a process that is killed as soon as it has written a checkpoint, after which the same call goes on. On a CPU
# both end with the same weights to the last bit; on a GPU nearly so.

# %%
import shutil
import signal
import time

import torch

from cantowhisper.training.run.checkpoints import is_whole
from cantowhisper.training.trainer import train

KILLED, WHOLE = OUT / "resume" / "killed", OUT / "resume" / "whole"
SHORT = {"max_steps": 6, "save_every_steps": 2, "evaluate_every_steps": 6, "log_every_steps": 1, "warmup_steps": 1}
SHORT |= {"batch_size": 4, "validation_clips": 2, "streaming": config.streaming}
SHOWN = processes.count() == 1 and n_mels == 80  # the miniature takes 80 Mel channels
if SHOWN:
    shutil.rmtree(OUT / "resume", ignore_errors=True)
    words = [word for key, value in SHORT.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    command = [sys.executable, "-m", "cantowhisper.cli", "train", FEATURES, str(KILLED), "--preset", "demo", *words]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while run.poll() is None and not is_whole(KILLED / "checkpoints" / "checkpoint-2"):
        time.sleep(0.05)
    run.kill()
    code = run.wait()
    assert code == -signal.SIGKILL, f"the run was to be killed, and ended by itself with code {code}"
    assert is_whole(KILLED / "checkpoints" / "checkpoint-2"), "the run was to leave a whole checkpoint"
    print(f"killed with code {code}, after a whole checkpoint")

# %%
if SHOWN:
    curves = {}
    for folder in (KILLED, WHOLE):
        entries = train(FEATURES, folder, config=PRESETS["demo"].with_overrides(**SHORT), progress=False)["curve"]
        curves[folder.name] = [entry["loss"] for entry in entries if "loss" in entry]
        print(f"{folder.name:8}", *(f"{loss:.4f}" for loss in curves[folder.name]))
    same = (KILLED / "model.safetensors").read_bytes() == (WHOLE / "model.safetensors").read_bytes()
    assert same or torch.cuda.is_available(), "a run that went on has other weights than one in peace"
    print("the same weights to the last bit" if same else "other weights: on a GPU sums come in any order")
    shutil.rmtree(OUT / "resume")

# %% [markdown]
# ## Training
# Validation is the character error rate of real transcripts, every few hundred steps; the best checkpoint is kept.
# Interrupt it and run the cell again: it goes on.

# %%
MODEL_FOLDER = OUT / "model"
metrics = train(FEATURES, MODEL_FOLDER, config=config)
processes.leave_unless_main()  # what follows is the work of one
print(f"best at step {metrics['best_step']} after {metrics['train_seconds'] / 60:.1f} min")

# %%
from cantowhisper.training.results.plots import plot_curve

figure = plot_curve(metrics)
figure.savefig(OUT / "plots" / "learning_curve.png")
plt.show()

# %% [markdown]
# ## Before and after, on the test split
# Unseen sentences by unseen speakers, read here for the first time. CER counts wrong characters; punctuation and spaces
# are left out of it. In brackets is the interval that holds 95 % of the CERs of other draws of as many clips. A
# pretrained model is scored before training in the 30 s windows that it knows; after it, at both contexts. The samples
# have one voice that occurs nowhere in training: it has a row of its own.

# %%
from cantowhisper.repository import sample_voices
from cantowhisper.training.model import load_model
from cantowhisper.files import write_json
from cantowhisper.training.results.scoring import SCORED_CONTEXTS, score_model, score_table, write_transcripts

test = load_split(FEATURES, "test")
tuned, _ = load_model(MODEL_FOLDER, language=config.language_token or config.language)
known = "variable" if config.model == "miniature" else "full"
transcripts, given = {}, {"config": config, "groups": sample_voices(test["id"])}

before = score_model(model, processor, test, contexts=[known], **given)
tuned, keep = tuned.to(model.device), transcripts.__setitem__
after = score_model(tuned, processor, test, contexts=SCORED_CONTEXTS, keep=keep, **given)
scores = {"before": before[known], "after": after["variable"], "after, 30 s windows": after["full"]}
write_json({"split": "test", "view": "no_punctuation", "scores": scores}, OUT / "scores.json")
print(score_table(scores))

# %% [markdown]
# ## The mistakes
# Which characters it takes for which others, and the worst clips. The model folder keeps these scores, and counts how
# often the test split has been read for them: choosing between models by them would make them worthless.

# %%
from cantowhisper.training.results.analysis import confusions
from cantowhisper.training.results.scoring import record_test_scores

mistakes = confusions(transcripts["variable"])
reads = record_test_scores(MODEL_FOLDER, after, mistakes, before=before)
write_transcripts(transcripts["variable"], MODEL_FOLDER / "test_transcripts.tsv")
print("said → written:", ", ".join(f"{said or '∅'}→{written or '∅'} {n}×" for said, written, n in mistakes))
print(f"the test split was read {reads} time(s) for this model")

# %%
import pandas as pd
from IPython.display import Audio

from cantowhisper.repository import repository_file

folder = Path(CLIPS) if CLIPS else repository_file("samples/corpus/clips")
worst = pd.read_csv(MODEL_FOLDER / "test_transcripts.tsv", sep="\t", quoting=3).head(5)
display(worst)
for clip in worst["id"].head(3):
    recording = folder / f"{clip}.mp3"
    if recording.exists():
        display(Audio(filename=str(recording)))
    else:
        print(f"{recording} is not here: set CLIPS in the parameters to hear it")

# %% [markdown]
# ## For the web page
# ONNX graphs with weights of 8 bits: a quarter of the size, several times the speed of PyTorch on a CPU. Rounded
# weights may write another character here and there; a few validation clips through both say how often. The same in
# CTranslate2's format, in `ct2/`, is for users of faster-whisper.

# %%
from cantowhisper.training.results.export import export_model

for export in export_model(MODEL_FOLDER):
    megabytes = sum(path.stat().st_size for path in export.iterdir()) / 1e6
    print(f"{export}: {megabytes:.0f} MB")

# %%
from cantowhisper.serving.engines.open import open_engine
from cantowhisper.training.results.parity import export_parity

same = export_parity(MODEL_FOLDER, FEATURES, open_engine(MODEL_FOLDER, threads=2))
print(f"{same['identical']} of {same['n']} clips give the same text; {same['cer']:.1%} of the characters differ")

# %% [markdown]
# ## Three longer recordings, from sound to text
# Several sentences with pauses, as people would upload them. The recogniser finds the speech by itself.

# %%
from cantowhisper.repository import sample_clips
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.metric import CharacterErrorRate

recognizer, metric = Recognizer.open(MODEL_FOLDER), CharacterErrorRate()  # a metric of the `evaluate` library
for path, reference in sample_clips("market_morning.mp3", "voice_memo.m4a", "street_noise.mp3"):
    text = "".join(segment.text for segment in recognizer.transcribe(load_audio(path)))
    rate = metric.compute(predictions=[text], references=[reference])["cer_no_punctuation"]
    print(f"{path.name} (CER {rate:.1%})\n  heard   {text}\n  written {reference}")

# %% [markdown]
# ## To the Hub
# With a model card that is written from what was measured above. Transcripts, checkpoints and the names of folders
# stay here.

# %%
from cantowhisper.training.results.publish import push_model

if PUSH_TO:
    print(push_model(MODEL_FOLDER, PUSH_TO))
else:
    print('not pushed: PUSH_TO names no repository; give it one, such as "you/whisper-small-yue", and set HF_TOKEN')

# %% [markdown]
# ## Next
# Open the page on this model:

# %%
print(f"cantowhisper serve offline --model {MODEL_FOLDER.as_posix()}")
