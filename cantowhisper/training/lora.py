"""LoRA: small matrices beside the frozen ones are trained, and added to them in the end."""

import torch
from transformers import WhisperForConditionalGeneration

from cantowhisper.contracts import CantowhisperError

# All linear layers: adapters in the attention alone do not reach full fine-tuning (Dettmers et al. 2023, figure 2).
LAYERS = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]


def add_lora(model: WhisperForConditionalGeneration, *, rank: int, seed: int) -> None:
    """Put adapters of `rank` beside every linear layer of a Whisper, in place; all other weights are frozen.

    The model stays what it was for everything around it (Hu et al. 2021; peft). Checkpoints hold it with its
    adapters, without optimizer states for the frozen weights; `merge_lora` makes it a stock Whisper again.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import Linear

        torch.manual_seed(seed)
        # Twice the rank for alpha, as in the usual recipe: the learning rate then suits any rank.
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LAYERS)
        # Named by us, the class is not looked for: peft asks every quantisation library in turn, and ends with an
        # ImportError where one is too old, such as the torchao 0.10 that Colab brings.
        config._register_custom_module({torch.nn.Linear: Linear})
        inject_adapter_in_model(config, model)
    except ImportError as error:
        raise CantowhisperError(f"lora_rank needs a working peft: pip install -U peft ({error})") from error


def merge_lora(model: WhisperForConditionalGeneration) -> None:
    """Add the adapters to the layers beside which they stand, and take them away: a stock Whisper is left."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            layer.merge(safe_merge=True)
            model.set_submodule(name, layer.get_base_layer())
    model.requires_grad_(True)
