"""What a conversion looks like: ranks and retained energy by layer, singular values with the cut, compression against quality."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from engine import charts
from engine.methods.x_ecomla.conversion import SourceLayer, energy
from engine.tasks.vocabulary import Vocabulary

SHOWN_LAYERS, SHOWN_VALUES = 8, 96
Facts = dict[str, float]
Sizes = Mapping[str, int]


def facts(number: int, source: SourceLayer, sizes: Sizes) -> Facts:
    """One converted layer: its ranks, of how many, and the share of the squared singular values that they keep."""
    return {
        "layer": number,
        "q_rank": sizes["q_rank"],
        "q_values": len(source.queries.s),
        "energy_q": min(1.0, float(energy(source.queries.s)[sizes["q_rank"] - 1])),
        "kv_rank": sizes["kv_rank"],
        "kv_values": len(source.joint.s),
        "energy_kv": min(1.0, float(energy(source.joint.s)[sizes["kv_rank"] - 1])),
        "rope": sizes["rope"],
    }


def ranks_table(layers: Sequence[Facts]) -> charts.ChartSpec:
    """A row a layer."""
    columns = [
        "layer",
        "query rank",
        "of",
        "energy kept",
        "key and value rank",
        "of",
        "energy kept",
        "shared rotated key",
        "cached numbers",
    ]
    names = ("layer", "q_rank", "q_values", "energy_q", "kv_rank", "kv_values", "energy_kv", "rope")
    cells = [[*(layer[name] for name in names), layer["kv_rank"] + layer["rope"]] for layer in layers]
    return charts.rows("Converted layers", columns, cells)


def rank_bars(layers: Sequence[Facts]) -> charts.ChartSpec:
    """The chosen ranks by layer."""
    series = {"queries": [layer["q_rank"] for layer in layers], "keys and values": [layer["kv_rank"] for layer in layers]}
    return charts.bars("Chosen ranks", _labels(layers), series, x="layer", y="rank")


def energy_bars(layers: Sequence[Facts]) -> charts.ChartSpec:
    """The share of the squared singular values that the ranks keep, by layer."""
    series = {"queries": [layer["energy_q"] for layer in layers], "keys and values": [layer["energy_kv"] for layer in layers]}
    return charts.bars("Retained energy", _labels(layers), series, x="layer", y="share of the squared singular values, higher is better")


def spectra(sources: Mapping[int, SourceLayer], latent: Sequence[Sizes | None]) -> dict[str, charts.ChartSpec]:
    """Singular values of each layer's queries and joint keys and values, in two colors: kept and dropped. At most eight layers, equally spaced."""
    numbers = sorted(sources)
    shown = [numbers[place] for place in torch.linspace(0, len(numbers) - 1, min(SHOWN_LAYERS, len(numbers))).round().int().tolist()]
    series: dict[str, dict[str, tuple[list[int], list[float]]]] = {"q": {}, "kv": {}}
    for number in shown:
        sizes, source = latent[number], sources[number]
        assert sizes is not None, "a converted layer has sizes"
        for name, values, rank in (("q", source.queries.s, sizes["q_rank"]), ("kv", source.joint.s, sizes["kv_rank"])):
            series[name][f"layer {number}, kept"] = _thinned(values, 0, rank)
            if rank < len(values):
                series[name][f"layer {number}, dropped"] = _thinned(values, rank, len(values))
    titles = {"q": "Singular values of the queries", "kv": "Singular values of the joint keys and values"}
    return {name: charts.lines(titles[name], series[name], x="number", y="singular value", log_y=True) for name in series}


def compression_quality(
    before: Mapping[str, float],
    after: Mapping[str, float],
    compared: Mapping[str, Mapping[str, float]],
    trained: Mapping[str, float] | None = None,
) -> charts.ChartSpec:
    """Cached numbers of a token against the KL to the teacher: the source, other ranks before training, and this run."""
    groups = {"source": [before], "other ranks, before training": list(compared.values()), "this run, before training": [after]}
    groups |= {"this run, trained": [trained]} if trained is not None else {}
    points = {name: ([each["elements"] for each in group], [each["kl"] for each in group]) for name, group in groups.items() if group}
    note = f"Other ranks: {', '.join(compared)}." if compared else ""
    x, y = "cached numbers of a token, lower is better", "KL(teacher ‖ model) on validation (nats a token), lower is better"
    return charts.scatter("Compression against quality", points, x=x, y=y, note=note)


def warnings(sentences: Sequence[str]) -> charts.ChartSpec:
    """What looks wrong, to read."""
    return charts.texts("Warnings", [{"text": sentence} for sentence in sentences])


def preference_pairs(pairs: Mapping[str, Tensor], prompt_tokens: int, vocabulary: Vocabulary, shown: int) -> charts.ChartSpec:
    """The first pairs, the preferred sample first; `teacher` (pairs, 2) is what the teacher says of them."""
    items = []
    for row in range(min(shown, len(pairs["ids"]))):
        for side, label in enumerate(("preferred", "other")):
            ids = pairs["ids"][row, side]
            real = int(pairs["completion_mask"][row, side].sum())
            items.append(
                {
                    "label": f"{label}, log-probability {float(pairs['teacher'][row, side]):.1f} to the teacher",
                    "prompt": vocabulary.decode(ids[:prompt_tokens].tolist()),
                    "text": vocabulary.decode(ids[prompt_tokens : prompt_tokens + real].tolist()),
                }
            )
    return charts.texts("Preference pairs: two samples of the student, ranked by the teacher", items)


def _labels(layers: Sequence[Facts]) -> list[str]:
    return [f"{layer['layer']:.0f}" for layer in layers]


def _thinned(values: Tensor, start: int, stop: int) -> tuple[list[int], list[float]]:
    """(numbers from 1, values) of a part of the spectrum, in at most so many points, both ends among them."""
    places = torch.linspace(start, stop - 1, min(SHOWN_VALUES, stop - start)).round().long()
    return (places + 1).tolist(), values.cpu()[places].clamp(min=1e-12).tolist()
