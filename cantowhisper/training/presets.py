"""Sets of training options for machines: demo and cpu, t4, gpu."""

from cantowhisper.training.config import TrainConfig

PRESETS = {
    # A miniature Whisper from scratch on samples/: three quarters of an hour on a CPU, to see the whole path work.
    "demo": TrainConfig(
        model="miniature",
        # Silence is cut off: fresh weights that hear all of it, merged or not, take twice as long to find the speech.
        context_kind="plain",
        context_margin_frames=64,  # short sentences: 128 would make every third position silence
        context_bucket_frames=100,  # whole seconds: few shapes
        min_context_frames=200,
        full_context_share=0.15,  # a third of that costs a point or two more in 30 s windows
        packed_share=0.0,  # tried, and dropped with the times: fresh weights then learn to listen later
        timestamps_share=0.0,
        batch_size=16,
        full_context_batch_size=4,
        max_steps=5000,
        learning_rate=2e-3,  # 2 M fresh parameters
        warmup_steps=100,
        schedule="cosine",
        adam_beta2=0.98,  # gradients of fresh weights change quickly
        weight_decay=0.01,
        dropout=0.1,
        precision="fp32",  # on every processor, so that machines with and without bf16 train alike
        # 50 minutes of seven voices: without variations clips are learned by heart. With them from the start, it takes
        # much longer until the decoder finds the place in the recording that it has come to.
        augment_from=0.25,
        stretch=0.03,
        warp=0.03,
        equalizer_db=12.0,  # all clips are MP3 without their highest tones; recordings of other kinds have them
        token_dropout=0.15,
        evaluate_every_steps=600,
        save_every_steps=600,
        log_every_steps=50,
        data_workers=0,  # two cores: a worker would take one from the model
    ),
    # A pretrained model without a GPU: a second a clip for whisper-base on two cores, half of it where the processor
    # multiplies bf16, so a quarter of an hour at the most.
    "cpu": TrainConfig(
        model="openai/whisper-base",
        max_clips_heard=1000,
        validation_clips=30,
        data_workers=0,
    ),
    # whisper-small on a free Colab T4 (16 GB, fp16, no bf16): all defaults are made for it.
    "t4": TrainConfig(),
    # One Ampere or newer card with at least 40 GB: a larger batch keeps it busy.
    "gpu": TrainConfig(
        max_batch_frames=64 * 1000,  # 64 clips
        max_batch_tokens=64 * 128,
        max_clips_heard=128_000,
        data_workers=6,
    ),
}
