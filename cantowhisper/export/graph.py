"""ONNX graphs in the making: operators, constants, and matrices of 8 bits."""

from pathlib import Path

import numpy as np

from cantowhisper.contracts import CantowhisperError

OPSET = 20
IR_VERSION = 10  # ONNX Runtime 1.19 and newer
CONTRIB = "com.microsoft"  # ONNX Runtime's own operators
BLOCKS = (32, 16)  # weights that share a scale in `linear`: 32 as its kernels like it, 16 for narrow models
ZERO = 128  # of unsigned bytes
WEIGHT_STEPS = 63  # on either side of zero in `wide_linear`
_LEAST = np.float32(1e-20)  # in place of 0, for rows of zeros


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


class Graph:
    """A graph over the weights of one half of a Whisper. Every name is given once, and is an operator's or constant's.

    weights : matrices as torch has them, (out, in)
    """

    def __init__(self, weights: dict[str, np.ndarray], *, width: int, heads: int):
        self._weights, self._heads = weights, heads
        self._block = next((b for b in BLOCKS if width % b == 0), None)
        if self._block is None or width % heads:
            raise CantowhisperError(
                f"a Whisper {width} wide with {heads} heads cannot be exported: the width has to be a multiple of "
                "16 and of the number of heads"
            )
        self._nodes, self._constants = [], {}
        self._inputs, self._outputs = [], []
        self._rounded: set[str] = set()

    def input(self, name: str, kind: type, shape: list) -> str:
        self._inputs.append((name, kind, shape))
        return name

    def output(self, name: str, shape: list) -> None:
        self._outputs.append((name, np.float32, shape))

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

    def packed(self, name: str) -> list[str]:
        """Names of a weight matrix's values and scales as `quantized` makes them."""
        if f"{name}.values" not in self._constants:
            values, scales = quantized(self._weights[name], self._block)
            self.constant(f"{name}.values", values)
            self.constant(f"{name}.scales", scales)
        return [f"{name}.values", f"{name}.scales"]

    def linear(self, x: str, name: str, out: str, *, part: str = "weight") -> str:
        """x @ weight.T + bias, where there is a bias; for few rows, whose time is that of reading the weights."""
        n, k = self._weights[f"{name}.{part}"].shape
        shape = {"N": n, "K": k, "bits": 8, "block_size": self._block, "accuracy_level": 4}  # 4: 8-bit products
        biased = f"{name}.bias" in self._weights
        product = f"{out}.product" if biased else out
        self.node("MatMulNBits", [x, *self.packed(f"{name}.{part}")], product, domain=CONTRIB, **shape)
        return self._biased(product, name, out) if biased else out

    def wide_linear(self, x: str, name: str, out: str) -> str:
        """x @ weight.T + bias for many rows, in products of integers, twice as quick as float32 without AVX-512.

        Each row of x is rounded to 127 steps on either side of zero of its own size, so that no row depends on another
        one. A processor without VNNI adds up pairs of products in 16 bits and cuts off what is larger. Therefore
        weights have 63 steps: 2 × 255 × 63 fits, and every processor computes the same.
        """
        steps, row_scales = self._rounded_rows(x)
        weight = self._weights[f"{name}.weight"]
        scales = np.maximum(np.abs(weight).max(axis=1) / WEIGHT_STEPS, _LEAST)
        values = np.rint(weight / scales[:, np.newaxis]).astype(np.int8)
        product = self.node(
            "MatMulIntegerToFloat",
            [
                steps,
                self.constant(f"{name}.values", values.T),
                self.constant("one", np.array(1, np.float32)),
                self.constant(f"{name}.scales", scales),
                self.constant("zero", np.array(ZERO, np.uint8)),
            ],
            f"{out}.steps",
            domain=CONTRIB,
        )
        biased = f"{name}.bias" in self._weights
        product = self.node("Mul", [product, row_scales], f"{out}.product" if biased else out)
        return self._biased(product, name, out) if biased else out

    def _rounded_rows(self, x: str) -> list[str]:
        """Names of x in bytes, and of what a step is worth in each of its rows."""
        if x not in self._rounded:
            self._rounded.add(x)
            sizes = self.node("ReduceMax", [self.node("Abs", [x], f"{x}.sizes"), self.axes(-1)], f"{x}.largest")
            sizes = self.node("Max", [sizes, self.constant("least", np.array(_LEAST))], f"{x}.size")
            scale = self.node("Mul", [sizes, self.constant("step", np.array(1 / 127, np.float32))], f"{x}.scale")
            steps = self.node("Div", [x, scale], f"{x}.steps")
            # Half a step more: a cast to bytes cuts fractions off.
            steps = self.node("Add", [steps, self.constant("up", np.array(ZERO + 0.5, np.float32))], f"{x}.up")
            self.cast(steps, np.uint8, f"{x}.bytes")
        return [f"{x}.bytes", f"{x}.scale"]

    def cast(self, x: str, kind: type, out: str) -> str:
        return self.node("Cast", [x], out, to=_kind(kind))

    def _biased(self, x: str, name: str, out: str) -> str:
        return self.node("Add", [x, self.weight(f"{name}.bias")], out)

    def axes(self, *axes: int) -> str:
        return self.constant("axes." + ".".join(map(str, axes)), np.array(axes, np.int64))

    def normalized(self, x: str, name: str, out: str | None = None) -> str:
        weights = [self.weight(f"{name}.weight"), self.weight(f"{name}.bias")]
        return self.node("LayerNormalization", [x, *weights], out or f"{name}.out", axis=-1)

    def attention(self, inputs: list[str], *outputs: str, **attributes) -> str:
        return self.node("MultiHeadAttention", inputs, *outputs, domain=CONTRIB, num_heads=self._heads, **attributes)

    def bias_of_keys(self, log_weights: str, queries_like: str) -> str:
        """log_weights (batch, keys) as the bias of every query: (batch, 1, n, keys); n is that of (batch, n, …)."""
        row = self.node("Unsqueeze", [log_weights, self.axes(1, 2)], "bias.row")
        n = self.node("Shape", [queries_like], "bias.n", start=1, end=2)
        shape = self.node("Concat", [self.axes(1, 1), n, self.axes(1)], "bias.shape", axis=0)
        return self.node("Expand", [row, shape], "bias")

    def join_projections(self, attention: str) -> str:
        """Queries, keys and values of a self-attention in one matrix: one large product is quicker than three."""
        parts = [self._weights.pop(f"{attention}.{p}_proj.weight") for p in "qkv"]
        self._weights[f"{attention}.qkv.weight"] = np.concatenate(parts)
        nothing = np.zeros(len(parts[0]), np.float32)  # keys have no bias
        biases = [self._weights.pop(f"{attention}.{p}_proj.bias", nothing) for p in "qkv"]
        self._weights[f"{attention}.qkv.bias"] = np.concatenate(biases)
        return f"{attention}.qkv"

    def split_in_three(self, x: str, *outputs: str) -> tuple[str, ...]:
        self.node("Split", [x], *outputs, axis=-1, num_outputs=3)
        return outputs

    def save(self, path: Path, properties: dict[str, str] | None = None) -> None:
        import onnx
        from onnx import helper, numpy_helper

        constants = [numpy_helper.from_array(np.asarray(v, order="C"), k) for k, v in self._constants.items()]
        ends = ([helper.make_tensor_value_info(n, _kind(k), s) for n, k, s in e] for e in (self._inputs, self._outputs))
        graph = helper.make_graph(self._nodes, path.stem, *ends, constants)
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="cantowhisper")
        helper.set_model_props(model, properties or {})
        onnx.save(model, str(path))


def _kind(dtype: type) -> int:
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
