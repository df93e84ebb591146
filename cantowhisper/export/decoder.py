"""A Whisper's decoder as two graphs: what it needs of a clip once, and a step for each token.

A decoder writes one token at a time; for a short clip that is half of the work, and it consists of reading all its
weights for each token, which is why they have 8 bits.
"""

import json

import numpy as np

from cantowhisper.export.checkpoint import Checkpoint
from cantowhisper.export.graph import CONTRIB, ZERO, Graph


def cross_graph(checkpoint: Checkpoint) -> Graph:
    """encoded (batch, keys, width) → key.0, value.0, key.1, … each (batch, heads, keys, width / heads)."""
    graph, config = _graph(checkpoint), checkpoint.config
    heads, width = config["decoder_attention_heads"], config["d_model"]
    graph.input("encoded", np.float32, ["batch", "keys", width])
    split = graph.constant("split", np.array([0, 0, heads, width // heads], np.int64))
    for layer in range(config["decoder_layers"]):
        for kind in ("key", "value"):
            out = f"{kind}.{layer}"
            flat = graph.wide_linear("encoded", f"layers.{layer}.encoder_attn.{kind[0]}_proj", f"{out}.flat")
            by_head = graph.node("Reshape", [flat, split], f"{out}.heads")
            graph.node("Transpose", [by_head], out, perm=[0, 2, 1, 3])
            graph.output(out, ["batch", heads, "keys", width // heads])
    return graph


def step_graph(checkpoint: Checkpoint) -> Graph:
    """Tokens with all keys and values so far → logits of the next one.

    Inputs
    ------
    ids : int64 (rows, n); the rows of a clip are neighbours, and each clip has as many (the hypotheses of a search)
    positions : int64 (n,)
    log_weights : float32 (clips, keys), of the windows
    past.key.0, … : float32 (rows, heads, past, width / heads), of self-attention
    key.0, … : float32 (clips, heads, keys, width / heads), from the cross graph

    Outputs
    -------
    logits : float32 (rows, vocabulary), of what follows the last token
    new.key.0, … : keys and values of the past and these tokens
    query.0, … : float32 (clips, rows / clips * n, width), of the cross-attention in layers with alignment heads; cost
        nothing unless they are asked for
    """
    graph, config = _graph(checkpoint), checkpoint.config
    width, layers = config["d_model"], range(config["decoder_layers"])
    graph.input("ids", np.int64, ["rows", "n"])
    graph.input("positions", np.int64, ["n"])
    graph.input("log_weights", np.float32, ["clips", "keys"])
    graph.output("logits", ["rows", config["vocab_size"]])
    x = _embedded(graph, width)
    by_clip = _by_clip(graph, x, width)
    for layer in layers:
        _declare_keys_and_values(graph, layer, config)
        x = _layer(graph, x, layer, *by_clip)
    for layer in sorted({layer for layer, _ in alignment_heads(checkpoint)}):
        graph.output(f"query.{layer}", ["clips", "queries", width])
    last = graph.node("Gather", [x, graph.constant("last", np.array(-1, np.int64))], "x.last", axis=1)
    graph.linear(graph.normalized(last, "layer_norm"), "embed_tokens", "logits")
    return graph


def alignment_heads(checkpoint: Checkpoint) -> list[tuple[int, int]]:
    """(layer, head) whose attention tells times; where nobody named them, all of the second half, as openai-whisper."""
    config = checkpoint.config
    layers, heads = config["decoder_layers"], config["decoder_attention_heads"]
    named = checkpoint.generation.get("alignment_heads")
    everyone = ((layer, head) for layer in range(layers // 2, layers) for head in range(heads))
    return [(int(layer), int(head)) for layer, head in named or everyone]


def properties(checkpoint: Checkpoint) -> dict[str, str]:
    """What whoever decodes must know besides the graph, as JSON by name."""
    generation = checkpoint.generation
    found = {
        "end_token_id": generation["eos_token_id"],
        "suppress_tokens": generation.get("suppress_tokens") or [],
        "begin_suppress_tokens": generation.get("begin_suppress_tokens") or [],
        "alignment_heads": alignment_heads(checkpoint),
        "max_positions": checkpoint.config["max_target_positions"],
    }
    return {name: json.dumps(value) for name, value in found.items()}


def _graph(checkpoint: Checkpoint) -> Graph:
    config = checkpoint.config
    return Graph(checkpoint.tensors("decoder"), width=config["d_model"], heads=config["decoder_attention_heads"])


def _declare_keys_and_values(graph: Graph, layer: int, config: dict) -> None:
    heads, width = config["decoder_attention_heads"], config["d_model"]
    for kind in ("key", "value"):
        shape = lambda many, length: [many, heads, length, width // heads]
        graph.input(f"past.{kind}.{layer}", np.float32, shape("rows", "past"))
        graph.input(f"{kind}.{layer}", np.float32, shape("clips", "keys"))
        graph.output(f"new.{kind}.{layer}", shape("rows", "all"))


def _embedded(graph: Graph, width: int) -> str:
    """Tokens and places as vectors. The output layer's own 8-bit matrix is looked up: the two are one in Whisper."""
    values, scales = graph.packed("embed_tokens.weight")
    steps = graph.cast(graph.node("Gather", [values, "ids"], "ids.steps"), np.float32, "ids.float")
    centred = graph.node("Sub", [steps, graph.constant("zero", np.array(ZERO, np.float32))], "ids.centred")
    own = graph.node("Gather", [scales, "ids"], "ids.scales")
    scaled = graph.node("Unsqueeze", [own, graph.axes(-1)], "ids.scale")
    blocks = graph.node("Mul", [centred, scaled], "ids.blocks")
    vectors = graph.node("Reshape", [blocks, graph.constant("flat", np.array([0, 0, width], np.int64))], "ids.vectors")
    places = graph.node("Gather", [graph.weight("embed_positions.weight"), "positions"], "places")
    return graph.node("Add", [vectors, places], "x.0")


def _by_clip(graph: Graph, x: str, width: int) -> tuple[str, str, str]:
    """Names of the shape (clips, queries, width) of all that is asked about a clip, of the shape of x, and of the bias.

    Rows share their clip's keys and values, which would be most of the memory of a search if each had its own.
    """
    clips = graph.node("Shape", ["log_weights"], "clips", start=0, end=1)
    shape = graph.node("Concat", [clips, graph.constant("rest", np.array([-1, width], np.int64))], "by_clip", axis=0)
    asked = graph.node("Reshape", [x, shape], "asked")
    return shape, graph.node("Shape", [x], "by_row"), graph.bias_of_keys("log_weights", asked)


def _layer(graph: Graph, x: str, layer: int, by_clip: str, by_row: str, bias: str) -> str:
    name = f"layers.{layer}"
    joined = graph.join_projections(f"{name}.self_attn")
    flat = graph.linear(graph.normalized(x, f"{name}.self_attn_layer_norm"), joined, f"{name}.qkv")
    query, key, value = graph.split_in_three(flat, *(f"{name}.{p}" for p in "qkv"))
    past = [f"past.key.{layer}", f"past.value.{layer}"]
    new = [f"new.key.{layer}", f"new.value.{layer}"]
    seen = graph.attention([query, key, value, "", "", "", *past], f"{name}.seen", *new, unidirectional=1)
    seen = graph.linear(seen, f"{name}.self_attn.out_proj", f"{name}.own")
    x = graph.node("Add", [x, seen], f"{name}.attended")
    asked = graph.normalized(x, f"{name}.encoder_attn_layer_norm")
    query = graph.linear(asked, f"{name}.encoder_attn.q_proj", f"{name}.asked")
    query = graph.node("Reshape", [query, by_clip], f"query.{layer}")
    heard = graph.attention([query, f"key.{layer}", f"value.{layer}", "", "", bias], f"{name}.told")
    heard = graph.node("Reshape", [heard, by_row], f"{name}.heard")
    heard = graph.linear(heard, f"{name}.encoder_attn.out_proj", f"{name}.cross")
    x = graph.node("Add", [x, heard], f"{name}.listened")
    inner = graph.linear(graph.normalized(x, f"{name}.final_layer_norm"), f"{name}.fc1", f"{name}.inner")
    inner = graph.node("Gelu", [inner], f"{name}.gelu", domain=CONTRIB)
    return graph.node("Add", [x, graph.linear(inner, f"{name}.fc2", f"{name}.outer")], f"{name}.x")
