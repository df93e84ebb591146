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
# [![Open in Kaggle](https://kaggle.com/static/images/open-in-kaggle.svg)](https://kaggle.com/kernels/welcome?src=https://github.com/cantowhisper/cantowhisper/blob/main/whisper_training_pipeline.ipynb)
#
# | | |
# |---|---|
# | **You learn** | what a model is trained on, three mistakes that ruin it unnoticed, and how to read its scores |
# | **In** | the folder that the feature notebook wrote, or its Hub id |
# | **Out** | a model folder: a stock Whisper checkpoint, and 8-bit copies for the web page |
# | **Machine** | a GPU for `whisper-small`; two CPU cores for the demo, a miniature Whisper trained from scratch |
# | **Time, disk** | demo: 45 minutes, 200 MB. `whisper-small`: checkpoints of 2.9 GB, of which three are kept |
#
# **If the machine is taken away**, open the notebook again and run all cells: training resumes from the last complete
# checkpoint. It must outlive the machine: set `DRIVE = True` on Colab, or `hub_checkpoints` among the `CHANGES`.

# %%
# On Colab and Kaggle, fetch the repository and what it needs; elsewhere `make` or pip has done so already.
import importlib.util
import os
import subprocess
import sys

NEEDED = ("evaluate", "peft", "onnx", "ctranslate2", "onnxruntime", "gradio")
found = importlib.util.find_spec("cantowhisper")
origin = found and found.origin  # None: nothing is installed; or the clone's folder lies here, which is no package
if not origin or not all(map(importlib.util.find_spec, NEEDED)):
    clone = os.path.dirname(os.path.dirname(origin)) if origin else os.path.abspath("cantowhisper")
    if not os.path.isdir(clone):
        subprocess.run(["git", "clone", "-q", "--depth=1", "https://github.com/cantowhisper/cantowhisper"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", f"{clone}[training,serving]"], check=True)
    sys.path.insert(0, clone)  # the install is seen from the next start of the kernel on
    importlib.invalidate_caches()

# %% tags=["parameters"]
import json
import os

OUT = os.environ.get("CANTOWHISPER_OUT", "demo")  # folder for everything that is made
DRIVE = False  # True on Colab: OUT is a folder of your Google Drive
FEATURES = os.environ.get("CANTOWHISPER_FEATURES", "")  # folder or Hub id; "": OUT/features
PRESET = os.environ.get("CANTOWHISPER_PRESET", "demo")  # "t4": whisper-small on a free GPU; "cpu": whisper-base
MODEL = os.environ.get("CANTOWHISPER_MODEL")  # None: what the preset says; or "openai/whisper-tiny" …
CHANGES = json.loads(os.environ.get("CANTOWHISPER_CHANGES", "{}"))  # to the preset, such as {"epochs": 10}
CLIPS = os.environ.get("CANTOWHISPER_CLIPS", "")  # folder of the recordings, to hear some; "": the samples' own
PUSH_TO = os.environ.get("CANTOWHISPER_PUSH_TO", "")  # "owner/name": the finished model goes to this private repository

# %%
from cantowhisper.notebook import find_recording, output_folder, play
from cantowhisper.training.presets import PRESETS
from cantowhisper.training.run import processes

processes.quiet_unless_main()  # `accelerate launch whisper_training_pipeline.py` runs these cells once a GPU
OUT = output_folder(OUT, drive=DRIVE)
FEATURES = FEATURES or str(OUT / "features")
config = PRESETS[PRESET].with_overrides(**({"model": MODEL} if MODEL else {}), **CHANGES)
print(f"preset {PRESET} trains {config.model}")

# %% [markdown]
# ## The data in one look
# **Goal:** know what the model will see. Only the train and validation splits: the test split stays closed to the end.

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
# **Notice** the four special tokens before the text: start, language, task, and "no timestamps". Whisper was trained
# with them, and writes what they ask for.

# %%
from cantowhisper.training.trainer import prepare_model

model, processor = prepare_model(config, train_split["text"])
tokens = processor.tokenizer.convert_ids_to_tokens
print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M parameters, {len(processor.tokenizer)} tokens")
sentence = train_split["text"][0]
labels = processor.tokenizer(sentence).input_ids
print(sentence, "→", tokens(labels)[:4], "…")

# %% [markdown]
# ## A batch
# **Goal:** look at what one step computes. Clips of like length share a batch.

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
(OUT / "plots").mkdir(parents=True, exist_ok=True)
figure, axes = plt.subplots(1, 4, figsize=(9, 3), sharey=True, layout="constrained")
for axis, rows in zip(axes, batch["input_features"], strict=False):
    axis.imshow(rows, origin="lower", aspect="auto", cmap="magma")
figure.suptitle(f"four of {clips} clips in a batch: Mel channels over {frames} frames")
figure.savefig(OUT / "plots" / "batch.png")
plt.show()

# %% [markdown]
# ## Three mistakes, and how they look
# **Goal:** recognise them in other programs. None raises an error, the loss falls, and the model is bad.
#
# **1. A second start token.** The model's inputs are the labels moved right, with a start token in front. Labels that
# keep their own start token give two of them, which Whisper has never seen.

# %%
start = model.config.decoder_start_token_id
print("wrong:", tokens([start, *labels][:3]))
print("right:", tokens(batch["decoder_input_ids"][0][:3].tolist()))

# %% [markdown]
# **2. Cantonese becomes "translate".** Tokenizers before large-v3 have no `<|yue|>`, and count one past the last
# language: the model is asked to translate to English. Use Chinese's token for these models.

# %%
import copy

from cantowhisper.speech.language import language_token

asked = copy.deepcopy(processor.tokenizer)
asked.set_prefix_tokens(language="cantonese", task="transcribe")
print("wrong:", tokens(asked.prefix_tokens))
print("right:", language_token(processor.tokenizer.get_vocab(), "zh"), "for Cantonese on such a model")

# %% [markdown]
# **3. Thirty seconds for everything.** The usual collator pads each clip to 1,500 encoder positions. **Expect** below
# four to six times fewer for the samples; `<|startoftranscript|>` twice in 1, and `<|translate|>` in 2.

# %%
print(f"wrong: {clips} clips × 1500 positions; right: × {positions}, {1500 / positions:.1f} times fewer")

# %% [markdown]
# ## A run that is killed
# **Goal:** see what a lost machine costs. Six steps of the miniature are trained twice: by a process that is killed
# after its first checkpoint and then resumed, and without interruption. Both rows of losses will be equal.

# %%
import torch
from cantowhisper.training.killed import kill_and_resume

shown = kill_and_resume(FEATURES, OUT / "resume", streaming=config.streaming)
if shown:  # not with several processes, nor for 128 Mel channels
    assert shown.code == -9, f"the run was to be killed, and ended by itself with code {shown.code}"
    assert shown.checkpoint, "the run was to leave a whole checkpoint"
    print(f"killed with code {shown.code}, after a whole checkpoint")
    print("killed and resumed", *(f"{loss:.4f}" for loss in shown.resumed_losses))
    print("not interrupted   ", *(f"{loss:.4f}" for loss in shown.whole_losses))
    assert shown.same_weights or torch.cuda.is_available(), "the resumed run has other weights"
    print("the same weights to the last bit" if shown.same_weights else "other weights: a GPU adds in any order")

# %% [markdown]
# ## Training
# **Goal:** a low validation CER. Validation clips are scored about eight times, and of the checkpoints near the lowest
# CER the last is taken, or the model as it was. Interrupt the cell and run it again: it resumes.

# %%
from cantowhisper.training.results.plots import plot_curve
from cantowhisper.training.trainer import train

MODEL_FOLDER = OUT / "model"
metrics = train(FEATURES, MODEL_FOLDER, config=config)
processes.leave_unless_main()  # what follows is the work of one
print(f"weights of step {metrics['best_step']}, after {metrics['train_seconds'] / 60:.1f} min")
plot_curve(metrics).savefig(OUT / "plots" / "learning_curve.png")
plt.show()

# %% [markdown]
# **Expect**, for the demo, CER 100 % at first and below 6 % at the end. A pretrained model begins near its stock CER.
# If the CER rises again while the loss falls, the model memorises: stop earlier, or add data. **Change first** the
# data, then `epochs`, then `learning_rate`.
#
# ## CER, and why not WER
# Chinese has no spaces, so WER takes a sentence for one word: one wrong character of nine counts as 100 %.

# %%
from cantowhisper.speech.text import cer, wer

said, written = "我哋今日去邊度食飯", "我哋今日去邊到食飯"
print(f"CER {cer([written], [said]).cer:.0%}, WER {wer([written], [said]).wer:.0%}")

# %% [markdown]
# ## Before and after, on the test split
# **Goal:** an honest number: unseen sentences by unseen speakers, read here for the first time. Punctuation and spaces
# do not count. The brackets hold the CER of 95 % of other draws of as many clips. A pretrained model is scored before
# training in the 30 s windows that it knows. One voice of the samples is never trained on and has its own row.

# %%
from cantowhisper.files import write_json
from cantowhisper.repository import sample_voices
from cantowhisper.training.model import load_model
from cantowhisper.training.results.scoring import SCORED_CONTEXTS, score_model, write_transcripts
from cantowhisper.training.results.tables import score_table

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
# **Goal:** know what to mend. The model folder keeps these scores, and counts how often the test split has been read
# for them: choosing between models by them would make them worthless.

# %%
from cantowhisper.training.results.analysis import confusions
from cantowhisper.training.results.report import record_test_scores

mistakes = confusions(transcripts["variable"])
reads = record_test_scores(MODEL_FOLDER, after, mistakes, before=before)
write_transcripts(transcripts["variable"], MODEL_FOLDER / "test_transcripts.tsv")
print("said → written:", ", ".join(f"{said or '∅'}→{written or '∅'} {n}×" for said, written, n in mistakes))
print(f"the test split was read {reads} time(s) for this model")

# %%
import pandas as pd

display(worst := pd.read_csv(MODEL_FOLDER / "test_transcripts.tsv", sep="\t", quoting=3).head(5))
for clip in worst["id"].head(3):
    play(find_recording(clip, CLIPS) or f"{clip} is not here: set CLIPS in the parameters to hear it")

# %% [markdown]
# ## For the web page
# ONNX graphs with weights of 8 bits: a quarter of the size, and faster than PyTorch on a CPU. Rounded weights may write
# another character here and there; a few validation clips show how often. `ct2/` is for users of faster-whisper.

# %%
from cantowhisper.serving.engines.open import open_engine
from cantowhisper.training.results.export import export_model
from cantowhisper.training.results.parity import export_parity

print(*export_model(MODEL_FOLDER))
same = export_parity(MODEL_FOLDER, FEATURES, open_engine(MODEL_FOLDER, threads=2))
print(f"{same['identical']} of {same['n']} clips give the same text; {same['cer']:.1%} of the characters differ")

# %% [markdown]
# ## Three recordings, from sound to text
# Of the samples, longer ones of several sentences with pauses, as people would upload them; else three test clips.

# %%
from cantowhisper.notebook import three_recordings
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.metric import CharacterErrorRate

recognizer, metric = Recognizer.open(MODEL_FOLDER), CharacterErrorRate()
for path, reference in three_recordings(test, CLIPS):
    text = "".join(segment.text for segment in recognizer.transcribe(load_audio(path)))
    rate = metric.compute(predictions=[text], references=[reference])["cer_no_punctuation"]
    print(f"{path.name} (CER {rate:.1%})\n  heard   {text}\n  written {reference}")

# %% [markdown]
# ## To the Hub
# With a model card made from what was measured above. Transcripts, checkpoints and names of folders stay here.

# %%
from cantowhisper.training.results.publish import push_model

hint = 'not pushed: PUSH_TO names no repository; give it one, such as "you/whisper-small-yue", and set HF_TOKEN'
print(push_model(MODEL_FOLDER, PUSH_TO) if PUSH_TO else hint)
print(f"open the page on this model: cantowhisper serve offline --model {MODEL_FOLDER.as_posix()}")
