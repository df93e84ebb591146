"""A Whisper's encoder for windows with their silence merged (speech/context.py)."""

import numpy as np

from cantowhisper.export.checkpoint import Checkpoint
from cantowhisper.export.graph import CONTRIB, Graph


def encoder_graph(checkpoint: Checkpoint) -> Graph:
    """The encoder over a batch of windows.

    Inputs
    ------
    mel : float32 (batch, n_mels, n_frames)
    columns, positions : int64 (batch, n)
    log_weights : float32 (batch, n)

    Output
    ------
    encoded : float32 (batch, n, width)
    """
    config = checkpoint.config
    width, heads = config["d_model"], config["encoder_attention_heads"]
    graph = Graph(checkpoint.tensors("encoder"), width=width, heads=heads)
    graph.input("mel", np.float32, ["batch", config["num_mel_bins"], "frames"])
    for name, kind in (("columns", np.int64), ("positions", np.int64), ("log_weights", np.float32)):
        graph.input(name, kind, ["batch", "n"])
    x = _embedded(graph)
    bias = graph.bias_of_keys("log_weights", "columns")
    for layer in range(config["encoder_layers"]):
        x = _layer(graph, x, f"layers.{layer}", bias)
    graph.normalized(x, "layer_norm", "encoded")
    graph.output("encoded", ["batch", "n", width])
    return graph


def _embedded(graph: Graph) -> str:
    """The convolutions' outputs at the columns, and the embeddings of the positions; both in float32."""
    x = "mel"
    for number, stride in (("1", 1), ("2", 2)):
        inputs = [x, graph.weight(f"conv{number}.weight"), graph.weight(f"conv{number}.bias")]
        x = graph.node("Conv", inputs, f"conv{number}", kernel_shape=[3], pads=[1, 1], strides=[stride])
        x = graph.node("Gelu", [x], f"conv{number}.gelu", domain=CONTRIB)
    x = graph.node("Transpose", [x], "convolved", perm=[0, 2, 1])
    columns = graph.node("Unsqueeze", ["columns", graph.axes(2)], "columns.each")
    x = graph.node("GatherND", [x, columns], "gathered", batch_dims=1)
    places = graph.node("Gather", [graph.weight("embed_positions.weight"), "positions"], "places")
    return graph.node("Add", [x, places], "x")


def _layer(graph: Graph, x: str, name: str, bias: str) -> str:
    joined = graph.join_projections(f"{name}.self_attn")
    flat = graph.wide_linear(graph.normalized(x, f"{name}.self_attn_layer_norm"), joined, f"{name}.qkv")
    query, key, value = graph.split_in_three(flat, *(f"{name}.{p}" for p in "qkv"))
    seen = graph.attention([query, key, value, "", "", bias], f"{name}.seen")
    seen = graph.wide_linear(seen, f"{name}.self_attn.out_proj", f"{name}.own")
    x = graph.node("Add", [x, seen], f"{name}.attended")
    inner = graph.wide_linear(graph.normalized(x, f"{name}.final_layer_norm"), f"{name}.fc1", f"{name}.inner")
    inner = graph.node("Gelu", [inner], f"{name}.gelu", domain=CONTRIB)
    return graph.node("Add", [x, graph.wide_linear(inner, f"{name}.fc2", f"{name}.outer")], f"{name}.x")
