"""`inkhorn export`: write a checkpoint in another precision or format."""

import shutil
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from inkhorn.checkpoint.model_card import read_license
from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.checkpoint.weights import Dtype, read_config
from inkhorn.cli.parsing import default, parse
from inkhorn.config.quantization import Precision
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.utils.files import atomic_write, write_json

_COPIED_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "README.md",
)


@dataclass(frozen=True, kw_only=True)
class ExportArgs:
    """Export a checkpoint.

    By default, write a Hugging Face folder without training state, which transformers, vLLM and inkhorn load. Other
    formats: packed weights for inkhorn's kernel (--quantize), a torch state dict (--state-dict), GGUF for llama.cpp
    (--gguf), and a static web page that runs the model in the browser (--web). --hub uploads the folder to the
    Hugging Face hub.
    """

    model: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="MODEL")]] = "shakespeare"
    """name of a shipped model, checkpoint folder or run folder"""
    out: tyro.conf.Positional[Annotated[Path | None, default(), tyro.conf.arg(metavar="OUT")]] = None
    """folder to write"""
    dtype: Annotated[Dtype | None, default("float16")] = None
    """data type of the folder's weights"""
    quantize: Annotated[Precision | None, default("int8 for the page")] = None
    """pack the weights of the folder (OUT) or of the web page for inkhorn's kernel; needs no torch"""
    state_dict: Annotated[Path | None, default()] = None
    """write a torch state dict for inkhorn.GPT to this file"""
    gguf: Annotated[Path | None, default()] = None
    """write a GGUF file for llama.cpp, vocabulary included"""
    gguf_type: Annotated[Literal["f32", "f16", "q8_0"] | None, default("f16")] = None
    """data type of the GGUF's matrices"""
    web: Annotated[Path | None, default()] = None
    """write the web page with the model to this folder; an earlier export is replaced"""
    title: Annotated[str | None, default("that of the model card")] = None
    """title of the web page"""
    prompt: Annotated[str | None, default("the first of the model card")] = None
    """prompt that the web page starts with"""
    hub: Annotated[str | None, tyro.conf.arg(metavar="OWNER/NAME"), default()] = None
    """upload the checkpoint and its model card to this repository of the Hugging Face hub; it is created if needed"""
    private: bool = False
    """create the repository as a private one"""
    dry_run: bool = False
    """print the files and the model card that --hub would upload; needs no network and no token"""


def run(argv: list[str]) -> int:
    args = parse(ExportArgs, argv, "inkhorn export", example="inkhorn export runs/mine --gguf mine.gguf")
    _require_one_format(args)
    folder = resolve_checkpoint(args.model)
    if args.web is not None:
        from inkhorn.web.export import write_site

        name = Path(args.model).name or folder.name
        size = write_site(folder, name, args.web, args.quantize, title=args.title, prompt=args.prompt)
        print(f"{args.web}: {size / 1e6:.1f} MB. Upload the folder to any static host, or preview it:")
        print(f"  python3 -m http.server -d {args.web} 8080    then open http://127.0.0.1:8080")
        return 0
    if args.hub is not None:
        return _upload(folder, args.hub, args)
    if args.out is not None:
        file, kind = _write_folder(folder, args.out, args)
    else:
        file = args.state_dict or args.gguf or Path()
        if file.exists():
            raise CheckpointError(f"{file} already exists: give another name, or delete it first")
        if args.state_dict is not None:
            _write_state_dict(folder, file)
            kind = "torch state dict"
        else:
            from inkhorn.convert.gguf import write_gguf

            write_gguf(folder, file, args.gguf_type or "f16")
            kind = f"GGUF {args.gguf_type or 'f16'}"
    parameters, size = read_config(folder).num_parameters, file.stat().st_size
    print(f"{args.out or file}: {parameters:,} parameters, {kind}, {size / 1e6:.1f} MB")
    return 0


def _require_one_format(args: ExportArgs) -> None:
    """Raise UsageError unless the flags name exactly one output."""
    outputs: dict[str, object] = {
        "OUT (a folder)": args.out,
        "--state-dict": args.state_dict,
        "--gguf": args.gguf,
        "--web": args.web,
    }
    outputs["--hub"] = args.hub
    given = [name for name, value in outputs.items() if value is not None]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        raise UsageError(f"give exactly one output of {', '.join(outputs)}, not {found} (see inkhorn export --help)")
    for flag, value, needs, output in (
        ("--dtype", args.dtype, "OUT", args.out),
        ("--quantize", args.quantize, "OUT or --web", args.out or args.web),
        ("--gguf-type", args.gguf_type, "--gguf", args.gguf),
        ("--title", args.title, "--web", args.web),
        ("--prompt", args.prompt, "--web", args.web),
        ("--private", args.private or None, "--hub", args.hub),
        ("--dry-run", args.dry_run or None, "--hub", args.hub),
    ):
        if value is not None and output is None:
            shown = flag if value is True else f"{flag} {value}"
            raise UsageError(f"{shown} needs {needs}; it does not apply to {given[0]}")
    if args.dtype is not None and args.quantize is not None:
        raise UsageError(f"give either --dtype {args.dtype} or --quantize {args.quantize}, not both")


def _upload(folder: Path, repo: str, args: ExportArgs) -> int:
    from inkhorn.convert.hub_upload import CARD, check_repo, staged, upload

    check_repo(repo)
    with staged(folder, repo) as files:
        if read_license(files) is None:
            print(f"note: {folder / CARD} states no license; add a line such as license: mit", file=sys.stderr)
        if not args.dry_run:
            print(f"{repo}: {upload(files, repo, private=args.private)}")
            return 0
        print(f"{repo}: these files would be uploaded, and nothing has been:")
        for file in sorted(files.iterdir()):
            print(f"  {file.name:24} {file.stat().st_size:>12,} bytes")
        print(f"\n{CARD}:\n\n{(files / CARD).read_text(encoding='utf-8')}", end="")
    return 0


def _write_folder(folder: Path, out: Path, args: ExportArgs) -> tuple[Path, str]:
    """Write a checkpoint folder; return its weights file and their data type."""
    if (out / "config.json").exists():
        raise CheckpointError(f"{out} already holds a checkpoint: give another folder, or delete it first")
    copied = [name for name in _COPIED_FILES if (folder / name).is_file()]
    if existing := [name for name in ("model.safetensors", *copied) if (out / name).exists()]:
        raise CheckpointError(f"{out} already holds {', '.join(existing)}: give another folder, or delete them first")
    if args.quantize is not None:
        from inkhorn.inference.backends.packed_weights import load_packed, save_packed

        kind: str = args.quantize
        file = save_packed(load_packed(folder, args.quantize), out)
        write_json(out / "config.json", read_config(folder).to_hf())  # last: it makes the folder a checkpoint
    else:
        import torch

        from inkhorn.model import GPT

        kind, file = args.dtype or "float16", out / "model.safetensors"
        GPT.from_pretrained(folder).save_pretrained(out, getattr(torch, kind))
    for name in copied:
        shutil.copyfile(folder / name, out / name)
    return file, kind


def _write_state_dict(folder: Path, file: Path) -> None:
    import torch

    from inkhorn.model import GPT

    model = GPT.from_pretrained(folder)
    state = model.state_dict()
    # What the tensors do not show, such as layer_norm_epsilon. load_state_dict ignores unknown metadata.
    state._metadata[""]["inkhorn_config"] = asdict(model.config)  # type: ignore[attr-defined]
    try:
        with atomic_write(file) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        raise CheckpointError(f"cannot write {file}: {error}") from None
