"""Training steps in parts: the batches that a schedule adds up, and batches that memory takes only in pieces."""

import gc
from collections.abc import Iterator

import torch
from transformers import Seq2SeqTrainer

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.mel import FRAMES_PER_POSITION
from cantowhisper.speech.torch_context import ContextSeam
from cantowhisper.training.data.collator import IGNORED, windows_and_inputs


class PartwiseTrainer(Seq2SeqTrainer):
    """A Trainer whose steps may consist of several batches, and which halves what does not fit into memory.

    When memory runs out, the gradients of the step are dropped, and its batches are computed again in parts of at most
    half the frames; so are all batches after it. A part counts by its label tokens: the step's gradient is that of
    the whole batch, and learning goes on as it would have gone with more memory.
    """

    frames_a_pass: int | None = None  # clips × context at most in one pass, since memory ran out
    part_weight = 1.0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._batches_of_the_step: list[dict] = []
        self.seam = ContextSeam.on(self.model)

    def training_step(self, model, inputs, num_items_in_batch=None):
        self._batches_of_the_step.append(inputs)
        waiting = [inputs]
        while True:
            try:
                losses = [self._one(model, batch, num_items_in_batch) for batch in waiting]
                break
            except torch.OutOfMemoryError:
                self._halve()  # and retry outside of this block, which keeps everything alive that the step had made
            model.zero_grad()  # the backward pass may have come half the way
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            waiting = self._batches_of_the_step
        if self.accelerator.sync_gradients:
            self._batches_of_the_step = []
        return losses[-1]

    def _one(self, model, inputs: dict, num_items_in_batch) -> torch.Tensor:
        """Forward and backward of one item of the sampler; its mean loss."""
        batches = inputs.get("batches", [inputs])
        total = torch.zeros((), device=self.args.device)
        for batch in batches:
            for part, share in parts_of(batch, self.frames_a_pass):
                self.part_weight, self._part = share / len(batches), part
                windows, own = windows_and_inputs(part)
                try:
                    with self.seam.of(windows):
                        total = total + super().training_step(model, own, num_items_in_batch)
                finally:
                    self.part_weight = 1.0
        return total

    def compute_loss(self, *args, **kwargs):
        loss = super().compute_loss(*args, **kwargs)
        return loss if self.part_weight == 1.0 else loss * self.part_weight

    def _halve(self) -> None:
        clips, frames = context_size(self._part)
        if clips == 1 or self.accelerator.num_processes > 1:
            raise CantowhisperError(
                f"out of memory with {clips} clips of {frames / 100:g} s in a pass; set gradient_checkpointing=true, "
                "a smaller batch_size and max_batch_frames, or lora_rank=32, or take a smaller model"
            )
        self.frames_a_pass = clips * frames // 2
        print(
            f"out of memory with {clips} clips of {frames / 100:g} s in a pass: going on with half "
            f"({self.frames_a_pass} frames); the step still sees the same clips",
            flush=True,
        )


def context_size(batch: dict) -> tuple[int, int]:
    """(clips, frames that the encoder computes for each), of a batch."""
    clips, positions = batch["positions"].shape
    return clips, positions * FRAMES_PER_POSITION


def parts_of(batch: dict, frames_a_pass: int | None) -> Iterator[tuple[dict, float]]:
    """A batch in parts of at most `frames_a_pass` (but of one clip at least), and the share of label tokens in each."""
    clips, frames = context_size(batch)
    size = clips if frames_a_pass is None else max(1, min(clips, frames_a_pass // frames))
    if size == clips:
        yield batch, 1.0
        return
    tokens = (batch["labels"] != IGNORED).sum().item()
    for start in range(0, clips, size):
        part = {name: tensor[start : start + size] for name, tensor in batch.items()}
        yield part, (part["labels"] != IGNORED).sum().item() / tokens
