# Methods from files.
for i in 1 2 4; do model m$i $i; done
cat > largest.c <<'END'
#include <mergecraft/method.h>

MC_LAYER_MERGE(largest, .help = "largest value, times a factor",
               .params = MC_PARAMS({"factor", MC_NUMBER, "the factor", .fallback = 1}))
{
    const float factor = (float)mc_number(layer, "factor");
    for (size_t i = 0; i < layer->count; i++) {
        float best = layer->models[0][i];
        for (size_t m = 1; m < layer->model_count; m++)
            best = layer->models[m][i] > best ? layer->models[m][i] : best;
        layer->out[i] = factor * best;
    }
    return MC_OK;
}
END
cat > two.c <<'END'
#include <mergecraft/method.h>

MC_LAYER_MERGE(first, .help = "the first model")
{
    memcpy(layer->out, layer->models[0], layer->count * sizeof *layer->out);
    return MC_OK;
}

MC_LAYER_MERGE(second, .help = "the second model", .min_models = 2)
{
    memcpy(layer->out, layer->models[1], layer->count * sizeof *layer->out);
    return MC_OK;
}
END
echo 'int x = ;' > wrong.c
echo 'int x;' > none.c
expect 0 mergecraft merge -q ./largest.c m1 m4 m2 -o out
expect 0 helper values out/model.safetensors encoder.weight
expect 0 mergecraft merge -q largest.c m1 m4 m2 -o out2 -p factor=2
expect 0 helper values out2/model.safetensors encoder.weight
expect 0 mergecraft methods largest.c
expect 0 mergecraft methods ./two.c
expect 0 mergecraft methods ./two.c --names
expect 0 mergecraft methods two.c:second
expect 0 mergecraft merge -q two.c:second m1 m4 m2 -o out3
expect 0 helper values out3/model.safetensors encoder.weight
expect 2 mergecraft merge two.c m1 m2 -o out4
expect 2 mergecraft merge two.c:secnod m1 m2 -o out4
expect 2 mergecraft merge two.c:zzzzzzzz m1 m2 -o out4
expect 2 mergecraft merge two.c:second m1 -o out4
expect 1 mergecraft merge wrong.c m1 m2 -o out4 2> said
sed -n 2p said >&2
grep -q '^\./wrong\.c:1:.*error' said || fail 'the error is not where the compiler found it'
expect 1 mergecraft merge none.c m1 m2 -o out4
expect 2 mergecraft merge largest.c m1 m2 -o out4 -p fcator=2
[ ! -e out4 ] || fail 'out4 was made'

# A method with side inputs.
cat > weighted.c <<'END'
#include <mergecraft/method.h>

MC_LAYER_MERGE(weighted, .help = "mean of the models, weighted by a side input",
               .sides = MC_SIDES({"weights"}))
{
    const mc_side *const weights = &layer->sides[0];
    for (size_t i = 0; i < layer->count; i++) {
        float sum = 0, all = 0;
        for (size_t m = 0; m < layer->model_count; m++) {
            sum += weights->tiles[m][i] * layer->models[m][i];
            all += weights->tiles[m][i];
        }
        layer->out[i] = sum / all;
    }
    return MC_OK;
}
END
for i in 0 3; do helper model w$i.safetensors encoder.weight:2x3:$i classifier.weight:1x2:$i; done
expect 0 mergecraft methods weighted.c
expect 0 mergecraft merge -q weighted.c m1 m4 --side weights=w3.safetensors,w0.safetensors -o out5
expect 0 helper values out5/model.safetensors encoder.weight
expect 0 mergecraft merge weighted.c m1 m4 --side weights=w3.safetensors,w0.safetensors -o out6 \
    --json > json
tail -n +2 json | helper json sides
expect 2 mergecraft merge weighted.c m1 m4 -o out7
expect 2 mergecraft merge weighted.c m1 m4 --side wieghts=w3.safetensors,w0.safetensors -o out7
expect 2 mergecraft merge weighted.c m1 m4 --side weights=w3.safetensors -o out7
expect 1 mergecraft merge weighted.c m1 m4 --side weights=w3.safetensors,w1.safetensors -o out7
expect 2 mergecraft merge weighted.c m1 m4 --side weights=w3.safetensors,w0.safetensors \
    --side weights=w3.safetensors,w0.safetensors -o out7
expect 2 mergecraft merge weighted.c m1 m4 --side weights=w3.safetensors,w0.safetensors \
    --side more=w3.safetensors,w0.safetensors -o out7
[ ! -e out7 ] || fail 'out7 was made'

# A method on task vectors.
cat > away.c <<'END'
#include <mergecraft/method.h>

MC_LAYER_MERGE(away, .help = "twice the first task vector", .needs_base = true)
{
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = 2 * layer->models[0][i] - layer->base[i];
    return MC_OK;
}
END
expect 2 mergecraft merge away.c m2 m4 -o out8
expect 0 mergecraft merge -q away.c m2 m4 --base m1 -o out8
expect 0 helper values out8/model.safetensors encoder.weight
