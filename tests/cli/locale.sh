# The locale changes nothing: neither what numbers look like nor how they are read.
for i in 1 2 3; do model m$i $i; done
cat > scale.c <<'END'
#include <mergecraft/method.h>

MC_LAYER_MERGE(scale, .help = "the first model, scaled",
               .params = MC_PARAMS({"factor", MC_NUMBER, "the factor", .fallback = 0.5}))
{
    for (size_t i = 0; i < layer->count; i++)
        layer->out[i] = (float)mc_number(layer, "factor") * layer->models[0][i];
    return MC_OK;
}
END
show()
{
    rm -rf out
    mergecraft merge ./scale.c m1 m2 -o out -q -p factor=0.25 --shard-size 0.5GB
    helper values out/model.safetensors encoder.weight
    mergecraft methods ./scale.c --json
    mergecraft merge ./scale.c m1 m2 --dry-run --memory 1.5MB
    mergecraft merge ./scale.c m1 m2 --dry-run --json
}
show > plain
# Locales that are not installed are as good as C; de_DE and fr_FR write numbers with a comma where
# they are.
for locale in C.UTF-8 de_DE.UTF-8 fr_FR.UTF-8 tr_TR.UTF-8; do
    LC_ALL=$locale show > localized
    diff -u plain localized >&2 || fail "$locale"
done
head -n 1 plain
