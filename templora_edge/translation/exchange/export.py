"""A job as a file for other tools, at any time: while it runs, and when it is finished."""

from pathlib import Path

from templora_edge.errors import JobError, OptionError
from templora_edge.host.files import check_outputs, replacing
from templora_edge.job_store.folder import begun_folder
from templora_edge.translation.exchange import SUFFIXES, is_exchange, write_exchange
from templora_edge.translation.exchange.segment import ExchangedJob
from templora_edge.translation.store.store import Store


def export(out: Path, file: Path, *, force: bool = False) -> tuple[int, int]:
    """Write the segments of the job of ``out`` to ``file``, as XLIFF or TMX by its suffix.

    Returns:
        Number of translated segments, and of all.

    Raises:
        JobError: there is no such job, or it has no segments yet.
        OptionError: ``file`` has another suffix, or belongs to the job.
        OutputError: ``file`` exists and ``force`` is false, or it cannot be written.
        MissingExtraError: lxml is not installed.
    """
    if not is_exchange(file):
        raise OptionError(f"FILE {file}: expected a name that ends in {', '.join(SUFFIXES)}")
    folder = begun_folder(out)
    with Store(folder, read_only=True) as store:
        settings, rows = store.settings, store.segments()
        source = store.get("source")
    if settings is None:
        raise JobError(f"{out}: its job has no segments yet; try again in a moment")
    inputs = [("OUT", out), ("the job", folder), ("IN", Path(source) if source else None)]
    check_outputs([("FILE", file)], inputs, force=force)
    languages = settings["languages"]
    original = Path(source).name if source else out.name
    job = ExchangedJob(languages["source"], languages["target"], original, rows)
    with replacing(file, "FILE") as path:
        write_exchange(path, job, file.suffix)
    return sum(row.translation is not None for row in rows), len(rows)
