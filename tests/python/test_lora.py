"""mergecraft.lora, without PEFT: adapters of tests/data/adapters. With PEFT: tests/real/lora.py."""

import copy
import json
import pathlib
import shutil

import numpy
import pytest

import mergecraft
import mergecraft.lora

DATA = pathlib.Path(__file__).parent.parent / "data" / "adapters"


def array(tensor):
    return numpy.asarray(tensor, dtype=numpy.float64)


def test_bake_is_what_peft_merges():
    baked = mergecraft.lora.bake(DATA / "plain" / "adapter", DATA / "plain" / "base")
    expected = mergecraft.StateDict.from_hf(str(DATA / "plain" / "merged.safetensors"))
    assert set(baked) == set(expected)
    for name in expected:
        numpy.testing.assert_allclose(array(baked[name]), array(expected[name]), atol=2e-6)


def test_merge_and_save(tmp_path):
    adapter = DATA / "plain" / "adapter"
    merged = mergecraft.lora.merge("cat", [adapter, adapter], weights=[0.5, 0.5])
    assert merged.config["r"] == 4 and merged.config["lora_alpha"] == 4
    merged.save(tmp_path / "lora")
    again = mergecraft.lora.bake(tmp_path / "lora", DATA / "plain" / "base")
    once = mergecraft.lora.bake(adapter, DATA / "plain" / "base")
    for name in once:
        numpy.testing.assert_allclose(array(again[name]), array(once[name]), atol=2e-6)


def test_extract_is_the_difference():
    tuned = {"a.weight": numpy.outer([1.0, 2.0], [3.0, 4.0, 5.0]).astype("float32")}
    base = {"a.weight": numpy.zeros((2, 3), "float32")}
    adapter = mergecraft.lora.extract(tuned, base, rank=1)
    tensors = {name: array(tensor) for name, tensor in adapter.tensors.items()}
    a = tensors["base_model.model.a.lora_A.weight"]
    b = tensors["base_model.model.a.lora_B.weight"]
    numpy.testing.assert_allclose(b @ a, tuned["a.weight"], atol=1e-5)


def test_overflow_is_reported(tmp_path):
    tuned = {"a.weight": numpy.full((2, 2), 1e12, "float32")}
    base = {"a.weight": numpy.zeros((2, 2), "float32")}
    beyond = "beyond the range of float16"
    out = tmp_path / "lora"
    with pytest.warns(mergecraft.MergeWarning, match=beyond):
        mergecraft.lora.extract(tuned, base, rank=1, dtype="f16", out=out)
    with pytest.raises(mergecraft.MismatchError, match=beyond):
        mergecraft.lora.extract(tuned, base, rank=1, dtype="f16", out=tmp_path / "no", strict=True)
    assert not (tmp_path / "no").exists()
    adapter = mergecraft.lora.extract(tuned, base, rank=1)
    with pytest.warns(mergecraft.MergeWarning, match=beyond):
        mergecraft.lora.bake(adapter, base, dtype="f16", out=tmp_path / "baked")


def test_errors():
    with pytest.raises(mergecraft.UsageError, match="did you mean 'svd'"):
        mergecraft.lora.merge("sv", [DATA / "plain" / "adapter"])
    with pytest.raises(mergecraft.ArgumentError, match="adapters"):
        mergecraft.lora.merge("svd", [3])


# ---- PEFT models ---------------------------------------------------------------------------------


def tiny(**settings):
    """A PEFT model of a tiny Llama, with random factors."""
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    base = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=24, hidden_size=8, intermediate_size=12, num_hidden_layers=1,
            num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=False,
        )
    )
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, lora_alpha=3, **settings))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data + torch.randn(parameter.shape) * 0.3
    return model


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "up_proj"]},
        {"target_modules": ["q_proj"], "use_dora": True},
        {"target_modules": {"k_proj"}, "modules_to_save": ["lm_head", "norm"]},
    ],
)
def test_bake_of_a_peft_model(settings, tmp_path):
    model = tiny(**settings)
    # PEFT merges in place, and `baked` reads the model's tensors when they are asked for.
    expected = copy.deepcopy(model).merge_and_unload().state_dict()
    baked = mergecraft.lora.bake(model)
    path = mergecraft.lora.bake(model, out=tmp_path / "baked")
    assert set(baked) == set(expected) and path == str(tmp_path / "baked")
    for name, tensor in expected.items():
        numpy.testing.assert_allclose(array(baked[name]), tensor.double().numpy(), atol=2e-6)
    written = mergecraft.StateDict.from_hf(str(tmp_path / "baked" / "model.safetensors"))
    for name in expected:
        numpy.testing.assert_array_equal(array(written[name]), array(baked[name]))


def test_merge_of_peft_models_and_their_folders(tmp_path):
    model = tiny(target_modules=["q_proj", "down_proj"])
    model.save_pretrained(tmp_path / "saved")
    own = mergecraft.lora.merge("svd", [model, tmp_path / "saved"], weights=[0.5, 0.25], rank=2)
    folders = mergecraft.lora.merge("svd", [tmp_path / "saved"] * 2, weights=[0.5, 0.25], rank=2)
    for name, tensor in folders.tensors.items():
        numpy.testing.assert_array_equal(array(own.tensors[name]), array(tensor))
    nested = mergecraft.lora.merge("cat", [own, folders], weights=1)
    assert nested.config["r"] == 4


def test_extract_from_modules():
    model = tiny(target_modules=["q_proj", "down_proj"])
    base = {name: tensor.clone() for name, tensor in model.get_base_model().state_dict().items()}
    plain = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in base.items() if "lora_" not in name
    }
    tuned = model.merge_and_unload()
    adapter = mergecraft.lora.extract(tuned, plain, rank=2)
    assert sorted(adapter.config["target_modules"]) == ["down_proj", "q_proj"]
    again = mergecraft.lora.bake(adapter, plain)
    for name, tensor in tuned.state_dict().items():
        numpy.testing.assert_allclose(array(again[name]), tensor.double().numpy(), atol=5e-6)


def test_two_active_adapters_are_refused():
    model = tiny(target_modules=["q_proj"])
    model.add_adapter("other", model.peft_config["default"])
    model.base_model.set_adapter(["default", "other"])
    with pytest.raises(mergecraft.UsageError, match="one active adapter"):
        mergecraft.lora.bake(model)


def test_notes_are_warnings(tmp_path):
    """An adapter for another base: what the command prints, Python warns of."""
    shutil.copytree(DATA / "plain" / "adapter", tmp_path / "lora")
    config = tmp_path / "lora" / "adapter_config.json"
    values = json.loads(config.read_text())
    config.write_text(json.dumps({**values, "base_model_name_or_path": "org/another"}))
    with pytest.warns(UserWarning, match="was made for the base model 'org/another'"):
        mergecraft.lora.bake(tmp_path / "lora", DATA / "plain" / "base")


# ---- files of kohya's scripts --------------------------------------------------------------------

ENCODER = "text_model_encoder_layers_0_self_attn_q_proj"
# Both text encoders of Stable Diffusion XL have modules of the same names, of other widths.
KOHYA = {
    "lora_unet_down_blocks_0_attentions_0_proj_in": (6, 5),
    "lora_te1_" + ENCODER: (4, 4),
    "lora_te2_" + ENCODER: (8, 8),
}


def write(path, tensors, metadata=None):
    """A safetensors file of float32."""
    header, data = {}, b""
    for name, value in tensors.items():
        value = numpy.asarray(value, dtype="<f4")
        end = len(data) + value.nbytes
        header[name] = {
            "dtype": "F32", "shape": list(value.shape), "data_offsets": [len(data), end]
        }
        data += value.tobytes()
    if metadata:
        header["__metadata__"] = metadata
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def read(path):
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:end]).items():
        if name != "__metadata__":
            first, last = (end + offset for offset in entry["data_offsets"])
            values = numpy.frombuffer(data[first:last], "<f4").astype(float)
            tensors[name] = values.reshape(entry["shape"])
    return tensors


def make_kohya(path, seed, alpha, rank=3):
    random = numpy.random.default_rng(seed)
    tensors = {}
    for module, (rows, columns) in KOHYA.items():
        tensors[module + ".lora_down.weight"] = random.standard_normal((rank, columns))
        tensors[module + ".lora_up.weight"] = random.standard_normal((rows, rank))
        tensors[module + ".alpha"] = alpha
    return read(write(path, tensors))


def factors(tensors, module):
    a, b = (tensors[f"{module}.lora_{side}.weight"] for side in ("down", "up"))
    return a, b, float(tensors[module + ".alpha"]) / len(a)


def update(tensors, module):
    a, b, scale = factors(tensors, module)
    return scale * b @ a


def prune(x, density):
    kept = numpy.sort(numpy.abs(x), axis=None)[::-1][int(density * x.size) - 1]
    return numpy.where(numpy.abs(x) >= kept, x, 0)


def ties(arrays, weights, density):
    """TIES as PEFT defines it: signs without weights, the mean of those that agree."""
    pruned = numpy.stack([prune(x, density) for x in arrays])
    elected = numpy.where(pruned.sum(axis=0) >= 0, 1, -1)
    agrees = numpy.sign(pruned) == elected
    sums = (numpy.reshape(weights, (-1, 1, 1)) * pruned * agrees).sum(axis=0)
    return sums / numpy.maximum(agrees.sum(axis=0), 1)


def expected_update(method, files, module, weights):
    updates = [update(tensors, module) for tensors in files]
    total = sum(weight * one for weight, one in zip(weights, updates))
    if method == "cat":
        return total
    if method == "svd":
        u, s, vt = numpy.linalg.svd(total, full_matrices=False)
        return (u[:, :2] * s[:2]) @ vt[:2]
    roots = [[], []]
    shares = []
    for tensors, weight in zip(files, weights):
        a, b, scale = factors(tensors, module)
        roots[0].append(a)
        roots[1].append(b)
        shares.append(numpy.sqrt(weight * scale))
    if method == "linear":
        a, b = (sum(share * x for share, x in zip(shares, side)) for side in roots)
    else:
        a, b = (ties(side, shares, 0.5) for side in roots)
    return b @ a


@pytest.mark.parametrize("method", ["cat", "svd", "linear", "ties"])
def test_merge_of_kohya_files(method, tmp_path):
    paths = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    files = [make_kohya(path, seed, seed + 2.0) for seed, path in enumerate(paths)]
    weights, more = [0.75, 0.5], {"density": 0.5} if method == "ties" else {}
    rank = 2 if method == "svd" else None
    merged = mergecraft.lora.merge(method, paths, weights=weights, rank=rank, **more)
    assert merged.config is None
    merged.save(tmp_path / "out")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "README.md", "mergecraft.json", "pytorch_lora_weights.safetensors"
    ]
    found = read(tmp_path / "out" / "pytorch_lora_weights.safetensors")
    assert set(found) == set(files[0])
    for module in KOHYA:
        expected = expected_update(method, files, module, weights)
        numpy.testing.assert_allclose(update(found, module), expected, rtol=1e-5, atol=1e-5)


def make_pipeline(folder):
    """A folder with two text encoders, whose tensors have the same names."""
    random = numpy.random.default_rng(7)
    weights = {}
    for name, width in (("text_encoder", 4), ("text_encoder_2", 8)):
        weights[name] = random.standard_normal((width, width)).astype("f4")
        tensor = "text_model.encoder.layers.0.self_attn.q_proj.weight"
        write(folder / name / "model.safetensors", {tensor: weights[name]})
        (folder / name / "config.json").write_text('{"model_type": "clip_text_model"}')
    (folder / "model_index.json").write_text("{}")
    return weights


def test_each_text_encoder_gets_its_own_modules(tmp_path):
    file = make_kohya(tmp_path / "lora.safetensors", 1, 2.0)
    weights = make_pipeline(tmp_path / "sdxl")
    # Under another name, the widths of the tensors decide.
    (tmp_path / "clip").symlink_to(tmp_path / "sdxl" / "text_encoder_2")
    for folder, prefix in (
        ("sdxl/text_encoder", "lora_te1_"), ("sdxl/text_encoder_2", "lora_te2_"),
        ("clip", "lora_te2_"),
    ):
        with pytest.warns(UserWarning, match="2 of 3 modules belong to another component"):
            baked = mergecraft.lora.bake(tmp_path / "lora.safetensors", tmp_path / folder)
        encoder = "text_encoder" if prefix == "lora_te1_" else "text_encoder_2"
        (tensor,) = baked.values()
        expected = weights[encoder] + update(file, prefix + ENCODER)
        numpy.testing.assert_allclose(array(tensor), expected, atol=1e-5)
    with pytest.raises(mergecraft.UnsupportedError, match="sdxl/unet"):
        mergecraft.lora.bake(tmp_path / "lora.safetensors", tmp_path / "sdxl")


def test_text_encoders_that_cannot_be_told_apart(tmp_path):
    random = numpy.random.default_rng(3)
    write(
        tmp_path / "lora.safetensors",
        {
            f"lora_{encoder}_{ENCODER}.{factor}": random.standard_normal((4, 4))
            for encoder in ("te1", "te2")
            for factor in ("lora_down.weight", "lora_up.weight")
        },
    )
    make_pipeline(tmp_path / "sdxl")
    (tmp_path / "sdxl" / "text_encoder").rename(tmp_path / "encoder")
    with pytest.raises(mergecraft.MismatchError, match="several components that fit"):
        mergecraft.lora.bake(tmp_path / "lora.safetensors", tmp_path / "encoder")


def test_conventions_are_not_mixed(tmp_path):
    make_kohya(tmp_path / "kohya.safetensors", 1, 2.0)
    one, two = numpy.ones((2, 5)), numpy.ones((6, 2))
    names = {
        "diffusers": "unet.down_blocks.0.attentions.0.proj_in.lora_{}.weight",
        "published": "lora_unet_input_blocks_1_1_proj_in.lora_{}.weight",
    }
    for name, pattern in names.items():
        sides = "AB" if name == "diffusers" else ("down", "up")
        write(
            tmp_path / f"{name}.safetensors",
            {pattern.format(side): value for side, value in zip(sides, (one, two))},
        )
    for other in (DATA / "plain" / "adapter", *(tmp_path / f"{n}.safetensors" for n in names)):
        with pytest.raises(mergecraft.MismatchError, match="convention of"):
            mergecraft.lora.merge("cat", [tmp_path / "kohya.safetensors", other], weights=1)


def write_factors(path, pattern, factors, seed):
    """Factors [2, 5] and [6, 2] under two names of one pattern; returns their product."""
    random = numpy.random.default_rng(seed)
    one, two = random.standard_normal((2, 5)), random.standard_normal((6, 2))
    write(path, {pattern.format(name): value for name, value in zip(factors, (one, two))})
    return two @ one


NEW, KOHYAS = ("lora_A", "lora_B"), ("lora_down", "lora_up")


@pytest.mark.parametrize(
    "one, two",
    [
        (
            ("transformer.blocks.0.attn.to_q.{}.weight", NEW),
            ("diffusion_model.blocks.0.attn.to_q.{}.weight", NEW),
        ),
        (
            ("unet.down_blocks.0.attn1.to_q.{}.weight", NEW),
            ("unet.down_blocks.0.attn1.processor.to_q_lora.{}.weight", ("down", "up")),
        ),
        (
            (f"lora_te_{ENCODER}.{{}}.weight", KOHYAS),
            (f"lora_te1_{ENCODER}.{{}}.weight", KOHYAS),
        ),
    ],
)
@pytest.mark.parametrize("swapped", [False, True])
def test_different_names_of_one_module(one, two, swapped, tmp_path):
    paths = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    names = [two, one] if swapped else [one, two]
    updates = [write_factors(path, *names[i], seed=i) for i, path in enumerate(paths)]
    mergecraft.lora.merge("cat", paths, weights=0.5).save(tmp_path / "out")
    merged = tmp_path / "out" / "pytorch_lora_weights.safetensors"
    found = read(merged)
    pattern, factors = names[1]
    a, b = (found.pop(pattern.format(factor)) for factor in factors)
    alpha = found.pop(pattern.split("{}")[0] + "alpha", len(a))
    assert not found
    numpy.testing.assert_allclose(alpha / len(a) * b @ a, sum(updates) / 2, rtol=1e-5, atol=1e-5)
    mergecraft.lora.merge("cat", [merged], weights=1)


def test_prefixed_and_other_names_are_not_mixed(tmp_path):
    paths = [tmp_path / "one.safetensors", tmp_path / "two.safetensors"]
    for path, prefix in zip(paths, ("transformer.", "")):
        write_factors(path, prefix + "blocks.0.attn.to_q.{}.weight", NEW, 1)
    for order in (paths, paths[::-1]):
        with pytest.raises(mergecraft.MismatchError, match="diffusers', without prefixes"):
            mergecraft.lora.merge("cat", order, weights=0.5)


def test_names_with_and_without_prefixes_in_one_file(tmp_path):
    plain, mixed = tmp_path / "plain.safetensors", tmp_path / "mixed.safetensors"
    name = "blocks.0.attn.{}.lora_{}.weight"
    factors = {"A": numpy.ones((2, 5)), "B": numpy.ones((6, 2))}
    write(plain, {"transformer." + name.format("to_q", k): v for k, v in factors.items()})
    write(
        mixed,
        {
            prefix + name.format(module, k): v
            for prefix, module in (("transformer.", "to_k"), ("", "to_q"))
            for k, v in factors.items()
        },
    )
    for files in ([plain, mixed], [mixed, plain], [mixed, mixed]):
        with pytest.raises(mergecraft.MismatchError, match="in all names or in none"):
            mergecraft.lora.merge("cat", files, weights=0.5)


def test_alpha_in_the_metadata_of_diffusers(tmp_path):
    name = "unet.conv_in"
    write(
        tmp_path / "lora.safetensors",
        {name + ".lora_A.weight": numpy.ones((2, 3)), name + ".lora_B.weight": numpy.ones((4, 2))},
        {"lora_adapter_metadata": json.dumps({"unet.r": 2, "unet.lora_alpha": 8})},
    )
    base = {"conv_in.weight": numpy.zeros((4, 3), "f4")}
    baked = mergecraft.lora.bake(tmp_path / "lora.safetensors", base)
    numpy.testing.assert_array_equal(array(baked["conv_in.weight"]), numpy.full((4, 3), 8.0))


def test_weights_of_peft_need_their_configuration(tmp_path):
    weights = DATA / "plain" / "adapter" / "adapter_model.safetensors"
    named = mergecraft.lora.bake(weights, DATA / "plain" / "base")
    expected = mergecraft.lora.bake(DATA / "plain" / "adapter", DATA / "plain" / "base")
    for name, tensor in expected.items():
        numpy.testing.assert_array_equal(array(named[name]), array(tensor))
    shutil.copy(weights, tmp_path)
    with pytest.raises(mergecraft.UnsupportedError, match="adapter_config.json"):
        mergecraft.lora.bake(tmp_path / weights.name, DATA / "plain" / "base")


@pytest.mark.parametrize("ending", ["diff", "w_norm", "a1.weight"])
def test_other_tensors_of_single_files_are_refused(ending, tmp_path):
    tensors = make_kohya(tmp_path / "lora.safetensors", 1, 2.0)
    extra = {f"lora_unet_conv_in.{ending}": numpy.ones((2, 2))}
    write(tmp_path / "more.safetensors", {**tensors, **extra})
    with pytest.raises(mergecraft.UnsupportedError, match="another tensor"):
        mergecraft.lora.merge("cat", [tmp_path / "more.safetensors"] * 2, weights=1)


def test_norms_of_columns_are_refused(tmp_path):
    random = numpy.random.default_rng(3)
    write(
        tmp_path / "lora.safetensors",
        {
            "lora_unet_q.lora_down.weight": random.standard_normal((2, 4)),
            "lora_unet_q.lora_up.weight": random.standard_normal((4, 2)),
            "lora_unet_q.dora_scale": numpy.ones((1, 4)),
        },
    )
    with pytest.raises(mergecraft.UnsupportedError, match="columns"):
        mergecraft.lora.bake(tmp_path / "lora.safetensors", {"q.weight": numpy.ones((4, 4), "f4")})
