"""ZeroGPU Spaces: a GPU for the seconds of a call, and none in between (huggingface.co/docs/hub/spaces-zerogpu).

The GPU is there only inside functions given to `spaces.GPU`, each call in a process of its own, on the account of the
visitor whose request it belongs to. ONNX Runtime does not see this device, so a model runs on it through transformers.
"""

try:
    import spaces  # replaces parts of torch, so it must come before it
except ImportError:
    spaces = None

CALL_S = 20  # the most that a call may take; a batch takes a second or two, and what is not used is not charged


def here() -> bool:
    """Whether this program runs in a ZeroGPU Space."""
    return spaces is not None and spaces.config.Config.zero_gpu


def backend() -> str:
    """The backend for recordings: "transformers" where a GPU can be borrowed, else "auto"."""
    return "transformers" if here() else "auto"


def borrow(function):
    """`function` as one that gets a GPU while it runs, on ZeroGPU; itself everywhere else."""
    return spaces.GPU(duration=CALL_S)(function) if here() else function
