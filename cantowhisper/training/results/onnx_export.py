"""A Whisper's decoder as an ONNX graph with 8-bit weights, beside the CTranslate2 export.

A decoder writes one token at a time; for a short clip that is most of the work, and it consists of reading all its
weights for each token. CTranslate2 does that at the speed of a single core: in the shape of whisper-small 21 ms a token
on two cores where ONNX Runtime needs 6. Its encoder, beam search and alignment stay the ones that are used.

Two files: `decoder_cross.onnx` turns the encoder's output into the keys and values of each layer's cross-attention,
once a clip, and `decoder.onnx` takes tokens with all keys and values so far and gives the logits of the next one.
"""

from pathlib import Path

import numpy as np

from cantowhisper.contracts import DECODER_CROSS_FILE, DECODER_FILE, CantowhisperError

OPSET = 20  # ONNX Runtime 1.17 and newer
CONTRIB = "com.microsoft"  # ONNX Runtime's own operators
BITS, ZERO = 8, 128
BLOCKS = (32, 16)  # weights that share a scale: 32 as ONNX Runtime's kernels like it, 16 for narrow models


def export_decoder(checkpoint: Path, folder: Path) -> None:
    """Write both files for a checkpoint into an export's folder.

    Raises
    ------
    OSError, ValueError : it cannot be loaded
    CantowhisperError : it is none of the published kind
    """
    import torch
    import transformers
    from transformers import WhisperForConditionalGeneration

    transformers.utils.logging.disable_progress_bar()  # it takes a second
    model = WhisperForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32)
    config = model.config
    if config.activation_function != "gelu" or config.scale_embedding:
        raise CantowhisperError(
            "only decoders as in the published Whispers can be exported (gelu, unscaled embeddings)"
        )
    weights = {
        name.removeprefix("model.decoder."): tensor.detach().float().cpu().numpy()
        for name, tensor in model.state_dict().items()
        if name.startswith("model.decoder.")
    }
    _join_projections(weights, config.decoder_layers)
    end = {"end_token_id": str(model.generation_config.eos_token_id)}
    _cross_graph(weights, config).save(folder / DECODER_CROSS_FILE, end)
    _step_graph(weights, config).save(folder / DECODER_FILE, end)


def _join_projections(weights: dict[str, np.ndarray], layers: int) -> None:
    """Queries, keys and values of self-attention in one matrix each layer: one large product is quicker than three."""
    for layer in range(layers):
        name = f"layers.{layer}.self_attn"
        parts = [weights.pop(f"{name}.{p}_proj.weight") for p in "qkv"]
        weights[f"{name}.qkv.weight"] = np.concatenate(parts)
        biases = [weights.pop(f"{name}.{p}_proj.bias", np.zeros(len(parts[0]), np.float32)) for p in "qkv"]
        weights[f"{name}.qkv.bias"] = np.concatenate(biases)  # keys have none


def quantized(weight: np.ndarray, block: int) -> tuple[np.ndarray, np.ndarray]:
    """A matrix (n, k) in the layout of MatMulNBits: uint8 (n, k / block, block) around 128, scales (n, k / block).

    Each block of a row has its own scale, its largest absolute value / 127: rounding moves no weight by more than
    half a scale.
    """
    n, k = weight.shape
    blocks = weight.astype(np.float32).reshape(n, k // block, block)
    scales = np.abs(blocks).max(axis=-1) / 127
    steps = np.rint(blocks / np.where(scales == 0, 1, scales)[..., np.newaxis])
    return (steps + ZERO).astype(np.uint8), scales


class _Graph:
    """A graph in the making: nodes, and constants by name."""

    def __init__(self, weights: dict[str, np.ndarray], width: int, heads: int):
        self._weights, self._width, self._heads = weights, width, heads
        self._block = next((b for b in BLOCKS if width % b == 0), None)
        if self._block is None:
            raise CantowhisperError(f"a decoder {width} wide cannot be exported: its width has to be a multiple of 16")
        self._nodes, self._constants = [], {}
        self.inputs, self.outputs = [], []

    def constant(self, name: str, value: np.ndarray) -> str:
        self._constants[name] = value
        return name

    def weight(self, name: str) -> str:
        return self.constant(name, self._weights[name])

    def node(self, kind: str, inputs: list[str], *outputs: str, domain: str = "", **attributes) -> str:
        """Add an operator and return the name of its (first) output."""
        from onnx import helper

        self._nodes.append(helper.make_node(kind, inputs, list(outputs), domain=domain, **attributes))
        return outputs[0]

    def tensor(self, name: str, kind, shape: list):
        from onnx import helper

        return helper.make_tensor_value_info(name, kind, shape)

    def packed(self, name: str) -> list[str]:
        """Names of a weight matrix's quantized values and scales."""
        if f"{name}.values" not in self._constants:
            values, scales = quantized(self._weights[name], self._block)
            self.constant(f"{name}.values", values)
            self.constant(f"{name}.scales", scales)
        return [f"{name}.values", f"{name}.scales"]

    def linear(self, x: str, name: str, out: str, *, part: str = "weight") -> str:
        """x @ weight.T + bias, where there is a bias."""
        n, k = self._weights[f"{name}.{part}"].shape
        shape = {"N": n, "K": k, "bits": BITS, "block_size": self._block, "accuracy_level": 4}  # 4: 8-bit products
        biased = f"{name}.bias" in self._weights
        product = self.node(
            "MatMulNBits",
            [x, *self.packed(f"{name}.{part}")],
            f"{out}.product" if biased else out,
            domain=CONTRIB,
            **shape,
        )
        return self.node("Add", [product, self.weight(f"{name}.bias")], out) if biased else product

    def normalized(self, x: str, name: str) -> str:
        return self.node(
            "LayerNormalization",
            [x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias")],
            f"{name}.out",
            axis=-1,
        )

    def attention(self, inputs: list[str], *outputs: str, **attributes) -> str:
        return self.node("MultiHeadAttention", inputs, *outputs, domain=CONTRIB, num_heads=self._heads, **attributes)

    def save(self, path: Path, properties: dict[str, str]) -> None:
        import onnx
        from onnx import helper, numpy_helper

        constants = [numpy_helper.from_array(np.asarray(v, order="C"), k) for k, v in self._constants.items()]
        graph = helper.make_graph(self._nodes, path.stem, self.inputs, self.outputs, constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="cantowhisper")
        helper.set_model_props(model, properties)
        onnx.save(model, str(path))


def _cross_graph(weights: dict[str, np.ndarray], config) -> _Graph:
    """encoded (batch, positions, width) → key.0, value.0, key.1, … each (batch, heads, positions, width / heads)."""
    from onnx import TensorProto

    heads, width = config.decoder_attention_heads, config.d_model
    graph = _Graph(weights, width, heads)
    graph.inputs.append(graph.tensor("encoded", TensorProto.FLOAT, ["batch", "positions", width]))
    split = graph.constant("split", np.array([0, 0, heads, width // heads], np.int64))
    for layer in range(config.decoder_layers):
        for kind in ("key", "value"):
            out = f"{kind}.{layer}"
            flat = graph.linear("encoded", f"layers.{layer}.encoder_attn.{kind[0]}_proj", f"{out}.flat")
            by_head = graph.node("Reshape", [flat, split], f"{out}.heads")
            graph.node("Transpose", [by_head], out, perm=[0, 2, 1, 3])
            graph.outputs.append(graph.tensor(out, TensorProto.FLOAT, ["batch", heads, "positions", width // heads]))
    return graph


def _step_graph(weights: dict[str, np.ndarray], config) -> _Graph:
    """ids int64 (batch, n), positions int64 (n,), past and cross keys and values → logits (batch, vocabulary), keys and
    values of the past and these tokens."""
    from onnx import TensorProto

    heads, width = config.decoder_attention_heads, config.d_model
    graph = _Graph(weights, width, heads)
    graph.inputs += [
        graph.tensor("ids", TensorProto.INT64, ["batch", "n"]),
        graph.tensor("positions", TensorProto.INT64, ["n"]),
    ]
    graph.outputs.append(graph.tensor("logits", TensorProto.FLOAT, ["batch", config.vocab_size]))
    x = _embedded(graph, width)
    for layer in range(config.decoder_layers):
        for kind in ("key", "value"):
            shape = lambda length: ["batch", heads, length, width // heads]
            graph.inputs += [
                graph.tensor(f"past.{kind}.{layer}", TensorProto.FLOAT, shape("past")),
                graph.tensor(f"{kind}.{layer}", TensorProto.FLOAT, shape("encoded")),
            ]
            graph.outputs.append(graph.tensor(f"new.{kind}.{layer}", TensorProto.FLOAT, shape("all")))
        x = _layer(graph, x, layer)
    last = graph.node("Gather", [x, graph.constant("last", np.array(-1, np.int64))], "x.last", axis=1)
    graph.linear(graph.normalized(last, "layer_norm"), "embed_tokens", "logits")
    return graph


def _embedded(graph: _Graph, width: int) -> str:
    """Tokens and places as vectors. The output layer's own 8-bit matrix is looked up: the two are one in Whisper."""
    from onnx import TensorProto

    values, scales = graph.packed("embed_tokens.weight")
    steps = graph.node("Cast", [graph.node("Gather", [values, "ids"], "ids.steps")], "ids.float", to=TensorProto.FLOAT)
    centred = graph.node("Sub", [steps, graph.constant("zero", np.array(ZERO, np.float32))], "ids.centred")
    own = graph.node("Gather", [scales, "ids"], "ids.scales")
    scaled = graph.node("Unsqueeze", [own, graph.constant("inner", np.array([-1], np.int64))], "ids.scale")
    blocks = graph.node("Mul", [centred, scaled], "ids.blocks")
    vectors = graph.node("Reshape", [blocks, graph.constant("flat", np.array([0, 0, width], np.int64))], "ids.vectors")
    places = graph.node("Gather", [graph.weight("embed_positions.weight"), "positions"], "places")
    return graph.node("Add", [vectors, places], "x.0")


def _layer(graph: _Graph, x: str, layer: int) -> str:
    name = f"layers.{layer}"
    own = graph.normalized(x, f"{name}.self_attn_layer_norm")
    flat = graph.linear(own, f"{name}.self_attn.qkv", f"{name}.qkv")
    query, key, value = (
        graph.node("Split", [flat], *(f"{name}.{p}" for p in "qkv"), axis=-1, num_outputs=3),
        *(f"{name}.{p}" for p in "kv"),
    )
    seen = graph.attention(
        [query, key, value, "", "", "", f"past.key.{layer}", f"past.value.{layer}"],
        f"{name}.seen",
        f"new.key.{layer}",
        f"new.value.{layer}",
        unidirectional=1,
    )
    x = graph.node("Add", [x, graph.linear(seen, f"{name}.self_attn.out_proj", f"{name}.so")], f"{name}.x1")
    query = graph.linear(
        graph.normalized(x, f"{name}.encoder_attn_layer_norm"), f"{name}.encoder_attn.q_proj", f"{name}.cq"
    )
    heard = graph.attention([query, f"key.{layer}", f"value.{layer}"], f"{name}.heard")
    x = graph.node("Add", [x, graph.linear(heard, f"{name}.encoder_attn.out_proj", f"{name}.co")], f"{name}.x2")
    inner = graph.linear(graph.normalized(x, f"{name}.final_layer_norm"), f"{name}.fc1", f"{name}.fc1.out")
    bent = graph.node("Gelu", [inner], f"{name}.gelu", domain=CONTRIB)
    return graph.node("Add", [x, graph.linear(bent, f"{name}.fc2", f"{name}.fc2.out")], f"{name}.x3")
