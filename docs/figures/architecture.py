"""Draw docs/architecture.svg: the shipped model, from some characters to the next one.

    python docs/figures/architecture.py [OUT]

Every number in it is the model's own: shapes and parameters by its config.json, the attention and the odds of the next
character by a run of its forward pass. What `src/inkhorn/model.py` calls a thing, the figure calls it too.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sheet import MONO, SERIF, Point, arrow, box, path, phrase, save, sheet, style, text, way

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.checkpoint.weights import read_config
from inkhorn.config.model import ModelConfig
from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.engine import Engine, load
from inkhorn.inference.numpy_model import ACTIVATIONS, Array, Cache, ReferenceModel, Trace, softmax
from inkhorn.tokenizer.base import END_OF_TEXT

OUT = Path(__file__).parents[1] / "architecture.svg"
PROMPT = "ROMEO:\n"
SEED = 7  # with which `inkhorn "ROMEO:"` goes on as the figure says: a draw depends on the seed and the place alone
BARS = 8
HEADS = 6  # at most so many are drawn
WIDE = "\u2003"  # between words and a shape; XML would make one of several spaces

WIDTH, HEIGHT = 880, 1400
FIRST, PITCH = 88.0, 25.0  # the strands of the stream: x of the first, and from one to the next
LEFT, MIDDLE, RIGHT = 296.0, 408.0, 702.0  # beside the stream: norms and words, projections, the end
LEDGER = 856.0  # the column of the parameters, by its right edge
BACK, TIED = 12.0, 31.0  # the two lines in the left margin
TOKENS, EMBEDDING, ATTENTION, MLP, FOOT, HEAD, NEXT = 180, 273, 388, 782, 976, 1010, 1108  # where each part begins


@dataclass(frozen=True)
class Scene:
    """What the model does with a prompt.

    Attributes:
        characters: the prompt's tokens, T of them.
        ids: their ids.
        attention: (nh, T, T): how much each character looks at each, in every head of the first block.
        guesses: the likeliest character after each.
        odds: the likeliest characters after the last one, each with its share, the one drawn among them.
        others: how many characters are not in `odds`.
        drawn: the character drawn.
        temperature: that the odds were taken at.
        seed: of the draw.

    """

    characters: tuple[str, ...]
    ids: tuple[int, ...]
    attention: Array
    guesses: tuple[str, ...]
    odds: tuple[tuple[str, float], ...]
    others: int
    drawn: str
    temperature: float
    seed: int


def play(engine: Engine, prompt: str = PROMPT, seed: int = SEED) -> Scene:
    """Run the model on a prompt, and draw as the command does."""
    ids, params, trace = engine.prompt(prompt).ids, SamplingParams(seed=seed), Trace()
    model = ReferenceModel.from_pretrained(resolve_checkpoint("shakespeare"))
    logits = model.forward(ids, Cache(engine.config), trace, every=True)  # (T, V)
    shares = softmax(logits[-1] / np.float32(params.temperature))  # (V,)
    drawn = next(iter(engine.stream(engine.prompt(prompt), params))).token
    assert drawn is not None
    best = [int(i) for i in np.argsort(-shares)[:BARS]]
    best = best if drawn in best else [*best[:-1], drawn]

    def character(token: int) -> str:
        return engine.tokenizer.decode([token])

    return Scene(
        characters=tuple(character(i) for i in ids),
        ids=ids,
        attention=trace["h.0.attn.weights"],
        guesses=tuple(character(int(i)) for i in logits.argmax(-1)),
        odds=tuple((character(i), float(shares[i])) for i in best),
        others=len(shares) - len(best),
        drawn=character(drawn),
        temperature=params.temperature,
        seed=seed,
    )


def parameters(config: ModelConfig) -> dict[str, int]:
    """How many parameters each part has: a block's parts as `h.ln_1` and so on, for one block; the rest for itself."""
    counts: dict[str, int] = {}
    for spec in config.tensor_specs():
        part = spec.name.rpartition(".")[0]  # without .weight or .bias
        if part.startswith("h."):
            _, block, part = part.split(".", 2)
            if block != "0":
                continue
            part = f"h.{part}"
        counts[part] = counts.get(part, 0) + spec.size
    return counts | {"lm_head": counts.get("lm_head", 0)}


def shown(character: str) -> str:
    """A character as a letter to be printed: the line feed as ↵, the space as ␣, the end of a text as ∎."""
    return {"\n": "↵", " ": "␣", END_OF_TEXT: "∎"}.get(character, character)


def draw(config: ModelConfig, scene: Scene) -> str:
    """The whole figure."""
    if not config.pre_norm or not config.tie_word_embeddings:
        raise ValueError("the figure shows a GPT-2 whose head shares the token embedding's matrix")
    counts, x = parameters(config), [FIRST + PITCH * i for i in range(len(scene.characters))]
    parts = [
        box(0, 0, WIDTH, HEIGHT, "paper", 10),
        *heading(config, scene),
        *frames(),
        *stream(x),
        *moved(TOKENS, tokens(scene, x)),
        *moved(EMBEDDING, embedding(x, counts)),
        *moved(ATTENTION, attention(scene, x, counts)),
        *moved(MLP, mlp(config, x, counts)),
        *moved(FOOT, block_sum(config, counts)),
        *moved(HEAD, head(config, x, counts)),
        *moved(NEXT, next_character(scene, x)),
        *notes(),
    ]
    title = f"A GPT-2 of {config.num_parameters:,} parameters, from text to the next character"
    about = (
        "Characters become token ids, token and position embeddings are added, and the residual stream passes "
        f"{config.n_layer} blocks. In each, causal attention and an MLP read the normed stream and are added to it. "
        f"A last norm and the tied head give the odds of the next character; {shown(scene.drawn)} is drawn."
    )
    return sheet(WIDTH, HEIGHT, title, about, LOOK, parts)


def heading(config: ModelConfig, scene: Scene) -> list[str]:
    """The title, and what the letters of the shapes stand for."""
    first = [("T", len(scene.characters), f"characters so far, at most {config.block_size} (block_size)")]
    first += [("C", config.n_embd, "n_embd")]
    second = [
        ("nh", config.n_head, "n_head"),
        ("hs", config.head_dim, "C / nh"),
        ("V", config.vocab_size, "vocab_size"),
    ]

    def legend(y: float, entries: Iterable[tuple[str, int, str]]) -> str:
        told: list[tuple[object, str]] = []
        for letter, value, meaning in entries:
            told += [(letter, "shape"), (f" = {value}  ", ""), (f"{meaning}{WIDE}", "pale")]
        return phrase(40, y, told)

    return [
        text(40, 46, f"a GPT-2 of {config.num_parameters:,} parameters", "kicker"),
        text(40, 81, "From text to the next character", "title"),
        legend(114, first),
        legend(139, second),
    ]


def frames() -> list[str]:
    """The frame of a block, with those of the next ones behind it."""
    return [box(44 + shift, ATTENTION + shift, 672, FOOT - ATTENTION, "frame", 12) for shift in (12, 6, 0)]


def stream(x: list[float]) -> list[str]:
    """The residual stream, a strand for each character; the last one, which tells what comes next, in the accent."""
    lines = [path(f"M{at:g} {EMBEDDING + 20}V{NEXT - 2}", "last" if at == x[-1] else "strand") for at in x]
    middle = (ATTENTION + FOOT) / 2
    return [
        *lines,
        f'<text transform="translate(67 {middle:g}) rotate(-90)" class="middle aside">residual stream</text>',
    ]


def tokens(scene: Scene, x: list[float]) -> list[str]:
    """The characters as tiles, and their ids; after them the place where the one drawn will stand."""
    parts = [text(LEFT, 21, "the text so far; the line break ↵ is a character too")]
    for at, character, token in zip(x, scene.characters, scene.ids, strict=True):
        parts += [
            box(at - 11, 0, 22, 30, "tile", 3),
            text(at, 21, shown(character), "middle letter"),
            path(f"M{at:g} 34V48", "thin"),
            text(at, 66, token, "middle small"),
            path(f"M{at:g} 74V91", "thin"),
        ]
    after = x[-1] + PITCH
    parts += [box(after - 11, 0, 22, 30, "ghost", 3), text(after, 21, shown(scene.drawn), "middle letter accent")]
    told = phrase(LEFT, 66, [(f"an id for each{WIDE}", ""), ("(T,)", "shape")])
    return [*parts, told, text(LEDGER, 66, "parameters", "end heading")]


def embedding(x: list[float], counts: dict[str, int]) -> list[str]:
    """Two tables, a row for each id and a row for each place, and their sum."""
    return [
        *over_all(x, 0, "wte"),
        phrase(LEFT, 20, [(f"each id’s row of a table{WIDE}", ""), ("(V, C)", "shape")]),
        text(LEDGER, 20, f"{counts['wte']:,}", "end"),
        *part(LEFT, 63, "wpe"),
        *added(x, 63, LEFT),
        phrase(LEFT + 66, 69, [(f"each place’s row of a table{WIDE}", ""), ("(block_size, C)", "shape")]),
        text(LEDGER, 69, f"{counts['wpe']:,}", "end"),
        text(x[-1] + 16, 101, "(T, C)", "shape"),
    ]


def attention(scene: Scene, x: list[float], counts: dict[str, int]) -> list[str]:
    """The first half of a block: each character gathers from itself and those before it."""
    there, back, grid, q, k, v = 72.0, 344.0, 194.0, 576.0, 632.0, 690.0
    ways = [way([(MIDDLE + 70, there + dy), (to, there + dy), (to, 124)], 10) for to, dy in ((q, 5), (k, 0), (v, -5))]
    triangles, centres, side = heads(scene.attention, grid, v - 38)
    fork, middle = grid - 14, grid + side / 2
    forked = f"M{q:g} 153V{fork:g}M{k:g} 153V{fork:g}M{centres[0]:g} {fork:g}H{max(centres[-1], k):g}"
    forked += "".join(f"M{at:g} {fork:g}v8" for at in centres)
    whose = "in h.0" if len(scene.attention) <= HEADS else f"{HEADS} heads of h.0"
    return [
        text(RIGHT, 32, "x = x + attn(ln_1(x))", "end code"),
        *read(x, there, "ln_1", counts["h.ln_1"]),
        *part(MIDDLE, there, "c_attn", counts["h.attn.c_attn"], 70),
        text(MIDDLE + 78, there - 13, "(T, 3C)", "shape"),
        *[path(d, "flow") for d in ways],
        *[drawn for at, name in ((q, "q"), (k, "k"), (v, "v")) for drawn in part(at - 15, 138, name, width=30)],
        phrase(q - 24, 144, [("each ", "pale"), ("(nh, T, hs)", "shape")], "end"),
        path(forked, "flow"),
        *triangles,
        arrow([(v - 36, middle), (v - 12, middle)], "flow"),
        arrow([(v, 153), (v, middle - 12)], "flow"),
        f'<circle cx="{v:g}" cy="{middle:g}" r="12" class="node"/>',
        text(v, middle + 5, "@", "middle name"),
        phrase(LEFT, 286, [(f"softmax(q kᵀ / √hs), masked{WIDE}", ""), ("(nh, T, T)", "shape")]),
        text(LEFT, 308, f"{whose}: each row a character looking back", "pale"),
        arrow([(v, middle + 12), (v, back), (MIDDLE + 70, back)], "flow"),
        text(v - 8, back - 8, "(nh, T, hs)", "shape end"),
        text(MIDDLE + 84, back - 8, "(T, C)", "shape"),
        text((MIDDLE + 70 + v) / 2, back + 22, "the heads side by side", "middle pale"),
        *part(MIDDLE, back, "c_proj", counts["h.attn.c_proj"], 70),
        *added(x, back, MIDDLE),
        text((x[-1] + MIDDLE) / 2, back - 8, "(T, C)", "shape middle"),
    ]


def heads(weights: Array, top: float, right: float) -> tuple[list[str], list[float], float]:
    """A triangle for each head, from LEFT to `right`; their centres, and the side of one.

    Row i, column j is how much character i looks at character j; ahead of itself, at the dots, none can look.
    """
    some, length, gap = weights[:HEADS], weights.shape[1], 10.0
    side = min((right - LEFT - gap * (len(some) - 1)) / len(some), 64.0)
    cell, step = side / length, (right - LEFT - side) / (len(some) - 1 or 1)
    parts, lefts = [], [LEFT + index * step for index in range(len(some))]
    for left, shares in zip(lefts, some, strict=True):
        for i, j in np.ndindex(length, length):
            x, y = left + j * cell, top + i * cell
            if j > i:
                parts.append(f'<circle cx="{x + cell / 2:.1f}" cy="{y + cell / 2:.1f}" r=".9" class="masked"/>')
                continue
            place = f'x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{cell - 1:.1f}" height="{cell - 1:.1f}"'
            parts.append(f'<rect {place} class="cell"/>')
            if shares[i, j] >= 0.01:
                parts.append(f'<rect {place} class="weight" fill-opacity="{shares[i, j]:.2f}"/>')
    return parts, [left + side / 2 for left in lefts], side


def mlp(config: ModelConfig, x: list[float], counts: dict[str, int]) -> list[str]:
    """The second half of a block: out to four times the width, a bend, and back."""
    there, back, bend, gelu = 70.0, 146.0, 690.0, 562.0
    lanes = []
    for dy in (-6, -2, 2, 6):
        points = [(MIDDLE + 70, there + dy), (bend - dy, there + dy), (bend - dy, back - dy), (MIDDLE + 80, back - dy)]
        lanes.append(path(way(points, 12 - dy), "flow"))
    shape = f"(T, {config.inner // config.n_embd}C)"
    return [
        path(f"M{LEFT:g} 0H{RIGHT:g}", "rule faint"),
        text(RIGHT, 30, "x = x + mlp(ln_2(x))", "end code"),
        *read(x, there, "ln_2", counts["h.ln_2"]),
        *part(MIDDLE, there, "c_fc", counts["h.mlp.c_fc"], 70),
        text(MIDDLE + 78, there - 14, shape, "shape"),
        *lanes,
        box(gelu, there - 21, 96, 42, "part"),
        path(curve(config, gelu + 12, there, 72, 28), "curve"),
        text(gelu + 48, there + 40, config.activation_function, "middle code"),
        path(f"M{MIDDLE + 71:g} {back:g}l13 -9v18Z", "flow head"),
        text(MIDDLE + 84, back - 14, shape, "shape"),
        text((MIDDLE + 70 + bend) / 2, back + 27, "each character for itself", "middle pale"),
        *part(MIDDLE, back, "c_proj", counts["h.mlp.c_proj"], 70),
        *added(x, back, MIDDLE),
        text((x[-1] + MIDDLE) / 2, back - 8, "(T, C)", "shape middle"),
    ]


def curve(config: ModelConfig, left: float, middle: float, width: float, height: float) -> str:
    """The path of the activation from -3 to 3, drawn into a box."""
    x = np.linspace(-3, 3, 25)
    y = ACTIVATIONS[config.activation_function](x)
    points = zip(left + (x + 3) / 6 * width, middle + height / 2 - (y + 0.17) / 3.17 * height, strict=True)
    return "M" + "L".join(f"{across:.1f} {down:.1f}" for across, down in points)


def block_sum(config: ModelConfig, counts: dict[str, int]) -> list[str]:
    """What a block holds, and what all of them do."""
    a_block = sum(value for name, value in counts.items() if name.startswith("h."))
    return [
        text(LEFT, 32 + ATTENTION - FOOT, f"h.0 … h.{config.n_layer - 1}", "name"),
        text(LEDGER, -70, "in a block", "end pale"),
        text(LEDGER, -48, f"{a_block:,}", "end pale"),
        text(LEDGER, -24, f"in {config.n_layer} (n_layer)", "end pale"),
        text(LEDGER, 0, f"{config.n_layer * a_block:,}", "end"),
    ]


def head(config: ModelConfig, x: list[float], counts: dict[str, int]) -> list[str]:
    """The last norm, the head that is `wte` once more, and the sum of all parameters."""
    left, top = x[0] - 18, EMBEDDING - HEAD + 14
    tie = way([(left, 65), (TIED, 65), (TIED, top), (left, top)], 10)
    beside = f'transform="translate({TIED + 5:g} {(ATTENTION + FOOT) / 2 - HEAD:g}) rotate(-90)"'
    return [
        *over_all(x, 0, "ln_f"),
        phrase(LEFT, 20, [(f"one more norm{WIDE}", ""), ("(T, C)", "shape")]),
        text(LEDGER, 20, f"{counts['ln_f']:,}", "end"),
        *over_all(x, 51, "lm_head"),
        phrase(LEFT, 71, [(f"the table wte once more: logits{WIDE}", ""), ("(T, V)", "shape")]),
        text(LEDGER, 71, f"{counts['lm_head']:,}", "end"),
        path(tie, "tie"),
        f'<text {beside} class="middle aside halo">the same matrix</text>',
        path(f"M{LEDGER - 84:g} 85H{LEDGER:g}", "rule"),
        text(LEDGER, 109, f"{config.num_parameters:,}", "end total"),
    ]


def next_character(scene: Scene, x: list[float]) -> list[str]:
    """What is likeliest after each character, the odds of what follows the last, and the one drawn on its way back."""
    parts = [text(at, 20, shown(letter), "middle letter") for at, letter in zip(x, scene.guesses, strict=True)]
    odds = f"softmax(logits / {scene.temperature:g}) after the last one{WIDE}"
    parts += [
        text((x[0] + x[-1]) / 2, 46, "likeliest after each", "middle pale"),
        arrow([(x[-1] + 15, 14), (LEFT + 4, 14)], "chosen"),
        phrase(LEFT + 14, 20, [(odds, ""), ("(V,)", "shape")]),
    ]
    bars = [(shown(letter), share, "drawn" if letter == scene.drawn else "") for letter, share in scene.odds]
    if scene.others:
        bars.append((f"{scene.others} more", 1 - sum(share for _, share in scene.odds), "others"))
    tall, foot, at = 72.0, 130.0, LEFT + 27
    highest, after = max(share for _, share, _ in bars), x[-1] + PITCH
    letters = {"drawn": "letter accent", "others": "pale", "": "letter"}
    for letter, share, kind in bars:
        at, height = at + (14 if kind == "others" else 0), max(1.0, tall * share / highest)
        parts += [
            box(at - 13, foot - height, 26, height, f"bar {kind}".strip(), 1.5),
            text(at, foot - height - 6, f"{100 * share:.0f} %", "middle tiny"),
            text(at, foot + 20, letter, f"middle {letters[kind]}"),
        ]
        if kind == "drawn":
            corners: list[Point] = [(at, foot + 44), (BACK, foot + 44), (BACK, TOKENS - NEXT - 17)]
            back = [(at, foot + 27), *corners, (after, TOKENS - NEXT - 17), (after, TOKENS - NEXT - 3)]
            parts.append(arrow(back, "chosen"))
        at += 43
    words = f"{shown(scene.drawn)} is drawn (seed {scene.seed}), joins the text, and all begins again"
    return [*parts, text(LEFT + 14, foot + 69, words)]


def notes() -> list[str]:
    """Where GPT-1 differs, and what is not drawn."""
    gpt1 = [("GPT-1 has its norms after the sums, ", ""), ("x = ln_1(x + attn(x))", "code"), (", and no ", "")]
    return [
        phrase(40, HEIGHT - 46, [*gpt1, ("ln_f", "code"), (".", "")], "note"),
        text(40, HEIGHT - 22, "Not drawn: the batch, B, and dropout, which is for training alone.", "note"),
    ]


def moved(y: float, parts: Iterable[str]) -> list[str]:
    """Parts drawn as if the sheet began at `y`."""
    return [f'<g transform="translate(0 {y:g})">', *parts, "</g>"]


def part(left: float, middle: float, name: str, count: int | None = None, width: float = 54) -> list[str]:
    """A part with its name in `model.py`, and how many parameters it has."""
    drawn = [box(left, middle - 15, width, 30, "part"), text(left + width / 2, middle + 5, name, "middle name")]
    return drawn if count is None else [*drawn, text(left + width / 2, middle + 33, f"{count:,}", "middle tiny pale")]


def over_all(x: list[float], top: float, name: str) -> list[str]:
    """A part that lies across the whole stream."""
    left, width = x[0] - 18, x[-1] - x[0] + 36
    return [box(left, top, width, 28, "part"), text(left + width / 2, top + 19, name, "middle name")]


def read(x: list[float], y: float, norm: str, count: int) -> list[str]:
    """A half of a block reads the stream, through a norm."""
    dots = [f'<circle cx="{at:g}" cy="{y:g}" r="3" class="{"dot accented" if at == x[-1] else "dot"}"/>' for at in x]
    return [
        arrow([(x[0], y), (LEFT, y)], "flow"),
        *dots,
        *part(LEFT, y, norm, count),
        arrow([(LEFT + 54, y), (MIDDLE, y)], "flow"),
        text((LEFT + 54 + MIDDLE) / 2 - 2, y - 8, "(T, C)", "shape middle"),
    ]


def added(x: list[float], y: float, start: float) -> list[str]:
    """What comes from `start` is added to each strand of the stream."""
    parts = [arrow([(start, y), (x[-1] + 8, y)], "flow"), path(f"M{x[-1]:g} {y:g}H{x[0]:g}", "flow")]
    for at in x:
        last = " accented" if at == x[-1] else ""
        parts.append(f'<circle cx="{at:g}" cy="{y:g}" r="7" class="plus{last}"/>')
        parts.append(path(f"M{at - 4:g} {y:g}h8M{at:g} {y - 4:g}v8", f"sign{last}"))
    return parts


RULES = f"""
text {{ font: 17px {SERIF}; font-variant-numeric: lining-nums; }}
.title {{ font-size: 30px; }} .shape, .aside {{ font-style: italic; }} .shape {{ font-size: 16.5px; }}
.name {{ font: 16px {MONO}; }} .code {{ font: 14.5px {MONO}; }} .letter {{ font-size: 18px; }}
.small {{ font-size: 16px; }} .tiny {{ font-size: 14.5px; }} .note {{ font-size: 16px; font-style: italic; }}
.kicker, .heading {{ font-size: 18px; font-variant-caps: all-small-caps; letter-spacing: .06em; }}
.middle {{ text-anchor: middle; }} .end {{ text-anchor: end; }} .total {{ font-weight: bold; }}
.halo {{ paint-order: stroke; stroke-width: 6px; stroke-linejoin: round; }}
path {{ fill: none; stroke-linejoin: round; stroke-linecap: round; }} .head {{ stroke: none; }}
.strand, .last {{ stroke-width: 3; }} .last {{ stroke-width: 3.4; }} .strand {{ stroke-opacity: .55; }}
.flow, .thin, .rule, .part, .tile, .frame, .ghost, .node {{ stroke-width: 1.2; }}
.plus, .chosen, .curve {{ stroke-width: 1.5; }} .sign {{ stroke-width: 1.6; }}
.ghost {{ fill: none; stroke-dasharray: 3 3; }} .tie {{ stroke-width: 1.2; stroke-dasharray: 2 4; }}
"""
COLOURS = """
text { fill: $ink; } .pale, .heading, .aside, .note { fill: $pale; } .shape { fill: $blue; }
.accent, .kicker { fill: $accent; }
.halo { stroke: $paper; }
.paper { fill: $paper; } .frame { fill: $paper; stroke: $rule; } .tile, .part { fill: $leaf; stroke: $rule; }
.part { stroke: $pale; } .ghost, .chosen { stroke: $accent; } .chosen.head { fill: $accent; }
.strand { stroke: $blue; } .last { stroke: $accent; } .flow, .thin { stroke: $pale; } .flow.head { fill: $pale; }
.dot { fill: $blue; } .dot.accented { fill: $accent; } .plus, .node { fill: $paper; stroke: $blue; }
.plus.accented, .sign.accented { stroke: $accent; } .sign, .curve { stroke: $blue; } .node { stroke: $pale; }
.cell { fill: $leaf; stroke: $rule; stroke-width: .6; } .weight { fill: $blue; }
.masked { fill: $pale; fill-opacity: .6; } .tie, .rule { stroke: $pale; } .faint { stroke: $rule; }
.bar { fill: $blue; } .bar.others { fill: $rule; } .bar.drawn { fill: $accent; }
"""
LOOK = style(RULES, COLOURS)


def main() -> None:
    """Draw it."""
    config = read_config(resolve_checkpoint("shakespeare"))
    save(draw(config, play(load(backend="numpy"))), Path(sys.argv[1]) if len(sys.argv) > 1 else OUT)


if __name__ == "__main__":
    main()
