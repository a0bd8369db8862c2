"""A small transformer in ONNX, its tokenizer, and the same forward pass in numpy.

Word, position and type embeddings, one layer of self-attention, layer normalisation: the parts
of every sentence encoder, with weights by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

WORDS = (
    "[PAD] [UNK] [CLS] [SEP] barangay poblacion marawi city lungsod ng cotabato pamilihan rice"
    " coastal fishing village mountain coffee farm query passage : , where is the a"
).split()
SIZE, LONGEST = 24, 64
EPSILON = 1e-5


def make_weights(seed: int = 7) -> dict[str, np.ndarray[Any, Any]]:
    chance = np.random.default_rng(seed)
    shapes = {
        "word": (len(WORDS), SIZE), "position": (LONGEST, SIZE), "type": (2, SIZE),
        "query": (SIZE, SIZE), "key": (SIZE, SIZE), "value": (SIZE, SIZE),
    }  # fmt: skip
    return {name: chance.normal(size=s).astype(np.float32) for name, s in shapes.items()}


def forward(weights: dict[str, np.ndarray[Any, Any]], ids: Sequence[int]) -> np.ndarray[Any, Any]:
    """The hidden states (tokens, SIZE) of one text, in numpy alone."""
    x = weights["word"][list(ids)] + weights["position"][: len(ids)] + weights["type"][0]
    scores = (x @ weights["query"]) @ (x @ weights["key"]).T / np.sqrt(SIZE)
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    x = x + shares / shares.sum(axis=1, keepdims=True) @ (x @ weights["value"])
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)


def unit(vector: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return vector / np.linalg.norm(vector)


def make_tokenizer() -> Any:
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordLevel

    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def save(
    folder: Path,
    weights: dict[str, np.ndarray[Any, Any]],
    *,
    is_pooled: bool = False,
    inputs: Sequence[str] = ("input_ids", "attention_mask", "token_type_ids"),
    integer: str = "INT64",
    is_open: bool = False,
) -> Path:
    """Write model.onnx and tokenizer.json, and return the folder.

    Args:
        is_pooled: The model's one output is a vector per text, its first token's.
        inputs: Names of the inputs, in the order of ids, mask and types.
        integer: Their type.
        is_open: The output does not say how many components it has.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kind = getattr(TensorProto, integer)
    ids, mask, types = inputs
    node = helper.make_node
    nodes = [
        node("Gather", ["word", ids], ["w"]),
        node("Shape", [ids], ["shape"]),
        node("Gather", ["shape", "one"], ["length"]),
        node("Range", ["zero", "length", "one"], ["places"]),
        node("Gather", ["position", "places"], ["p"]),
        node("Gather", ["type", types], ["t"]),
        node("Add", ["w", "p"], ["wp"]),
        node("Add", ["wp", "t"], ["x"]),
        node("MatMul", ["x", "query"], ["q"]),
        node("MatMul", ["x", "key"], ["k"]),
        node("MatMul", ["x", "value"], ["v"]),
        node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["qk"]),
        node("Div", ["qk", "root"], ["scaled"]),
        node("Cast", [mask], ["mask"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["mask", "axes"], ["wide"]),
        node("Sub", ["one_float", "wide"], ["hidden"]),
        node("Mul", ["hidden", "far"], ["bias"]),
        node("Add", ["scaled", "bias"], ["masked"]),
        node("Softmax", ["masked"], ["shares"], axis=-1),
        node("MatMul", ["shares", "v"], ["attended"]),
        node("Add", ["x", "attended"], ["sum"]),
        node("LayerNormalization", ["sum", "scale"], ["states"], axis=-1, epsilon=EPSILON),
    ]
    size = "components" if is_open else SIZE
    output = helper.make_tensor_value_info("states", TensorProto.FLOAT, ["b", "n", size])
    if is_pooled:
        nodes.append(node("Gather", ["states", "zero"], ["pooled"], axis=1))
        output = helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["b", size])
    constants = {
        "zero": np.array(0, np.int64), "one": np.array(1, np.int64),
        "axes": np.array([1], np.int64), "root": np.array(np.sqrt(SIZE), np.float32),
        "one_float": np.array(1, np.float32), "far": np.array(-1e9, np.float32),
        "scale": np.ones(SIZE, np.float32),
    }  # fmt: skip
    stored = [numpy_helper.from_array(each, name) for name, each in (weights | constants).items()]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(name, kind, ["b", "n"]) for name in inputs],
        [output],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    make_tokenizer().save(str(folder / "tokenizer.json"))
    return folder
