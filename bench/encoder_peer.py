"""A peer: the encoder as others compute it, on the same token ids. encoder_peer.py KIND MODEL
IDS WORK [--once]

KIND: single (torch, one sequence at a time: the pipeline's default), batches (torch, sorted,
padded batches of 8), bf16 (the same in bfloat16),
onnx (onnxruntime, such batches; needs the package onnx to convert), ct2-float32, ct2-int8
(CTranslate2, such batches; its encoder without the head). Two threads. Prints JSON: seconds of a
run (after one to warm up, without --once), seconds of loading, peak resident MB. WORK keeps
converted models.
"""

import json
import os
import resource
import sys
import time
from pathlib import Path

KIND, MODEL, IDS, WORK = sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])
ONCE = "--once" in sys.argv
THREADS = 2
os.environ["OMP_NUM_THREADS"] = str(THREADS)

import numpy  # noqa: E402


def sequences():
    words = numpy.fromfile(IDS, numpy.int32)
    lengths = words[1 : 1 + words[0]]
    starts = numpy.concatenate([[0], numpy.cumsum(lengths)]) + 1 + words[0]
    ids = [words[a:b] for a, b in zip(starts, starts[1:])]
    types = [words[a + lengths.sum() : b + lengths.sum()] for a, b in zip(starts, starts[1:])]
    return sorted(zip(ids, types), key=lambda pair: len(pair[0]))


def batches(size):
    """ids, types, mask: int64, padded with 0."""
    every = sequences()
    for i in range(0, len(every), size):
        some = every[i : i + size]
        longest = max(len(ids) for ids, _ in some)
        ids, types, mask = (numpy.zeros((len(some), longest), numpy.int64) for _ in range(3))
        for row, (sequence, kinds) in enumerate(some):
            ids[row, : len(sequence)], types[row, : len(sequence)], mask[row,
                    : len(sequence)] = sequence, kinds, 1
        yield ids, types, mask


def torch_run(size, dtype):
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(THREADS)
    model = AutoModelForSequenceClassification.from_pretrained(MODEL, dtype=dtype).eval()

    def run():
        with torch.inference_mode():
            for ids, types, mask in batches(size):
                model(
                    input_ids=torch.from_numpy(ids),
                    token_type_ids=torch.from_numpy(types),
                    attention_mask=torch.from_numpy(mask),
                )

    return run


def onnx_run():
    import onnxruntime

    file = WORK / "model.onnx"
    if not file.exists():
        import torch
        from transformers import AutoModelForSequenceClassification

        model = AutoModelForSequenceClassification.from_pretrained(MODEL,
                dtype=torch.float32).eval()
        example = tuple(torch.from_numpy(a) for a in next(batches(8)))
        names = ["input_ids", "token_type_ids", "attention_mask"]
        axes = {name: {0: "batch", 1: "length"} for name in names}
        # By position: input_ids, attention_mask, token_type_ids.
        ids, types, mask = example
        names = ["input_ids", "attention_mask", "token_type_ids"]
        torch.onnx.export(
            model, (ids, mask, types), str(file), input_names=names, dynamic_axes=axes, dynamo=False
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def run():
        for ids, types, mask in batches(8):
            session.run(None, {"input_ids": ids, "token_type_ids": types, "attention_mask": mask})

    return run


def ct2_run(kind):
    import ctranslate2

    folder = WORK / "ct2"
    if not folder.exists():
        from transformers import BertConfig

        # Gone from transformers 5; CTranslate2 4.8's converter asks for it.
        BertConfig.position_embedding_type = "absolute"
        ctranslate2.converters.TransformersConverter(MODEL).convert(str(folder))
    encoder = ctranslate2.Encoder(str(folder), compute_type=kind, inter_threads=1,
                                  intra_threads=THREADS)

    def run():
        every = sequences()
        for i in range(0, len(every), 8):
            some = every[i : i + 8]
            encoder.forward_batch(
                [ids.tolist() for ids, _ in some],
                token_type_ids=[types.tolist() for _, types in some]
            )

    return run


def main():
    start = time.monotonic()
    if KIND.startswith("ct2-"):
        run = ct2_run(KIND[4:])
    elif KIND == "onnx":
        run = onnx_run()
    else:
        run = torch_run(1 if KIND == "single" else 8, "bfloat16" if KIND == "bf16" else "float32")
    loaded = time.monotonic()
    if KIND != "single" and not ONCE:
        run()
    began = time.monotonic()
    run()
    ended = time.monotonic()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    result = {"load": loaded - start, "run": ended - began, "peak_mb": peak}
    print(json.dumps({name: round(value, 3) for name, value in result.items()}))


main()
