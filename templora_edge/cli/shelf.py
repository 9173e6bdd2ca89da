"""`templora shelf`: translate, absorb or score many books."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from templora_edge.assets import BUNDLED_MODEL, BUNDLED_TRANSLATOR
from templora_edge.cli import EXIT_ERROR, EXIT_INTERRUPTED
from templora_edge.cli.examples import with_examples
from templora_edge.cli.forward import forwarded
from templora_edge.cli.generate import generate
from templora_edge.cli.options import (
    Force,
    SessionFlags,
    takes_sampling_flags,
    takes_session_flags,
)
from templora_edge.cli.perplexity import perplexity
from templora_edge.cli.screen import SCREEN
from templora_edge.cli.translate import translate
from templora_edge.errors import OptionError, OutputError
from templora_edge.extras import needs_extra
from templora_edge.host.files import check_outputs, replacing
from templora_edge.host.json_text import to_json
from templora_edge.options import GREEDY, MAX_SEED, SamplingOptions
from templora_edge.shelf.book import Book, Work, out_of

if TYPE_CHECKING:
    from templora_edge.shelf.cluster import Cluster
    from templora_edge.shelf.local import Local
    from templora_edge.translation.job.series import Series, Volume

EXAMPLES: Final = (
    "templora shelf books/*.epub -O translated -sl fr -tl en",
    "templora shelf --series tomes.toml other.epub -O translated -sl fr -tl en -m model.gguf",
    "templora shelf books/*.epub -O translated -sl fr -tl en --scheduler tcp://192.168.1.5:8786",
    "templora shelf --absorb texts/*.txt -O adapters -m model.gguf",
)
COMMANDS: Final = {
    Work.TRANSLATE: translate,
    Work.ABSORB: generate,
    Work.PERPLEXITY: perplexity,
}
"""Work -> the command that does it."""
_OWN: Final = (
    *("files", "out_dir", "absorb", "perplexity", "scheduler", "series", "as_json", "report"),
    *("seed", "model", "hf_repo", "hf_file", "offline", "n_threads"),
)
"""Parameters that are not handed on as they are."""


@with_examples(*EXAMPLES)
@takes_session_flags
@takes_sampling_flags("temperature", "repeat_penalty", defaults=GREEDY)
def shelf(
    ctx: typer.Context,
    *,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE...", help="Documents, or texts; default: all volumes of --series."
        ),
    ] = None,
    out_dir: Annotated[
        Path | None,
        typer.Option(
            "-O",
            "--out-dir",
            metavar="DIR",
            help="Folder of the results, which have the names of the files.",
        ),
    ] = None,
    source_language: Annotated[
        str | None,
        typer.Option(
            "-sl", "--source-language", metavar="CODE", help="Language of the files, such as fr."
        ),
    ] = None,
    target_language: Annotated[
        str | None,
        typer.Option(
            "-tl", "--target-language", metavar="CODE", help="Language of the results, such as en."
        ),
    ] = None,
    absorb: Annotated[
        bool,
        typer.Option(
            "--absorb", help="Do not translate: keep what an adapter learns of each text."
        ),
    ] = False,
    perplexity: Annotated[
        bool,
        typer.Option("--perplexity", help="Do not translate: score each text."),
    ] = False,
    scheduler: Annotated[
        str | None,
        typer.Option(
            "--scheduler",
            metavar="ADDRESS",
            help="Work on the workers of this Dask scheduler; default: on this machine, as many "
            "books at once as cores and memory allow. See docs/shelf.md.",
        ),
    ] = None,
    flags: SessionFlags,
    series: Annotated[
        list[Path] | None,
        typer.Option(
            "--series",
            metavar="FILE",
            help="TOML file of a series; its volumes are translated one after the other, to the "
            "files that it names; may be repeated.",
        ),
    ] = None,
    prompt_template: Annotated[
        Path | None,
        typer.Option(
            "--prompt-template", metavar="FILE", help="Jinja template of the prompt, for all books."
        ),
    ] = None,
    references: Annotated[
        Path | None,
        typer.Option(
            "--references", metavar="FILE", help="Translated pairs to show first, in all books."
        ),
    ] = None,
    memory: Annotated[
        Path | None,
        typer.Option("--memory", metavar="FILE", help="Earlier translations, for all books."),
    ] = None,
    glossary: Annotated[
        Path | None,
        typer.Option("--glossary", metavar="FILE", help="Terms to use in all books."),
    ] = None,
    sampling: SamplingOptions,
    seed: Annotated[
        int,
        typer.Option(
            "-s", "--seed", min=0, max=MAX_SEED, metavar="N", help="Random seed of each book."
        ),
    ] = 0,
    report: Annotated[
        Path | None,
        typer.Option("--report", metavar="FILE", help="Write a JSON report of all books."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each change of a book.")
    ] = False,
    force: Force = False,
) -> None:
    """Translate many books, each as a durable job of its own.

    One that fails stops itself alone. Run the same command again to go on where it stopped.
    """
    # what is not used here is handed on to each book's command
    if absorb and perplexity:
        raise typer.BadParameter("give --absorb or --perplexity, not both")
    work = Work.ABSORB if absorb else Work.PERPLEXITY if perplexity else Work.TRANSLATE
    arguments = (*forwarded(ctx, COMMANDS[work], own=_OWN, flag=f"--{work}"), "--seed", str(seed))
    default = BUNDLED_TRANSLATOR if work is Work.TRANSLATE else BUNDLED_MODEL
    n_threads = flags.options.engine.n_threads

    def book(source: Path, out: Path, model: Path | None, series: Path | None = None) -> Book:
        chosen = flags.model or model or default
        return Book(work, source, out, chosen, arguments, series, n_threads)

    from templora_edge.translation.job.series import Series

    read = [Series.read(path) for path in series or []]
    volumes, single = _volumes(read, files)
    if not (volumes or single):
        raise typer.BadParameter("FILE...: missing; name the books, or a --series")
    if single and out_dir is None:
        raise typer.BadParameter("-O: missing; name a folder for the results")
    if single and work is Work.TRANSLATE and not (source_language and target_language):
        raise typer.BadParameter("-sl, -tl: missing; name both languages")
    books = [book(one.source, one.out, whole.model, whole.path) for whole, one in volumes]
    for source in single:
        folder = _made(out_dir or Path())
        books.append(book(source, out_of(work, source, folder), None))
    _check_names(books)
    check_outputs(
        [("--report", report)],
        [*flags.inputs(default), *(("FILE", one.source) for one in books)],
        force=True,
    )
    learns_given = bool(absorb or perplexity or references)
    crew = _crew(books, flags, scheduler, learns_given=learns_given)
    with crew:
        _work(books, crew, report, as_json=as_json)


def _volumes(
    series: Sequence["Series"], files: Sequence[Path] | None
) -> tuple[list[tuple["Series", "Volume"]], list[Path]]:
    """The volumes among ``files`` in their order, with their series, and all other files."""
    from templora_edge.host.files import same_file

    single, chosen = [*(files or [])], []
    for one in series:
        for volume in one.volumes:
            named = [file for file in single if same_file(file, volume.source)]
            if named or not files:
                chosen.append((one, volume))
            single = [file for file in single if file not in named]
    return chosen, single


def _crew(
    books: Sequence[Book], flags: SessionFlags, scheduler: str | None, *, learns_given: bool
) -> "Local | Cluster":
    """Who works on the books."""
    from templora_edge.models.base_gguf import BaseGguf
    from templora_edge.shelf.local import Local, Share
    from templora_edge.shelf.need import need_of

    models = [BaseGguf(path) for path in {one.model for one in books}]
    work = books[0].work
    need = max(need_of(work, one, flags.options, learns_given=learns_given) for one in models)
    if scheduler is None:
        return Local(Share.of(books, need, sum(one.file_bytes for one in models)))
    with needs_extra("cluster", f"--scheduler {scheduler}"):
        from templora_edge.shelf.cluster import Cluster
    return Cluster(scheduler, need + max(one.file_bytes for one in models))


def _work(
    books: Sequence[Book], crew: "Local | Cluster", report: Path | None, *, as_json: bool
) -> None:
    from templora_edge.cli.shelf_table import ShelfTable, summary
    from templora_edge.shelf.shelf import Shelf, State

    whole = Shelf(books, crew)
    table = ShelfTable(whole, as_json=as_json)
    interrupted = False
    try:
        for row in whole:
            table.update(row)
    except KeyboardInterrupt:
        interrupted = True
        SCREEN.say("interrupted; the same command goes on with all that is finished")
        crew.close()
    rows = [*whole.rows.values()]
    SCREEN.say(summary(rows, {one.book: names for one in rows if (names := _moves(one.book))}))
    if report is not None:
        with replacing(report, "--report") as temporary:
            content = {"books": [one.as_json() | {"job": _job(one.book)} for one in rows]}
            temporary.write_text(to_json(content), encoding="utf-8")
    if interrupted:
        raise typer.Exit(EXIT_INTERRUPTED)
    if any(one.state is State.FAILED for one in rows):
        raise typer.Exit(EXIT_ERROR)


def _job(book: Book) -> dict[str, Any]:
    """Status of the job of ``book``; empty if it has none."""
    from templora_edge.shelf.standing import status_of

    return {} if book.folder is None else status_of(book.folder)


def _moves(book: Book) -> str:
    """The processors that worked on ``book``, if there were several."""
    found = _job(book).get("processors", [])
    return " to ".join(str(one["name"]) for one in found) if len(found) > 1 else ""


def _check_names(books: Sequence[Book]) -> None:
    """Check that each book has a result of its own."""
    outs: dict[Path, Book] = {}
    for book in books:
        other = outs.setdefault(book.out, book)
        if other is not book:
            raise OptionError(
                f"{book.source}, {other.source}: both would be written to {book.out}; give them "
                "other names, or put them on shelves of their own"
            )


def _made(folder: Path) -> Path:
    """``folder``, which is made if it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"-O {folder}: cannot be made ({error.strerror})") from error
    return folder
