"""What a download reports while it runs."""


class DownloadProgress:
    """Told about downloads; does nothing itself."""

    def begin(self, file: str, done: int, total: int) -> None:
        """Begin to download ``file`` of ``total`` bytes, of which ``done`` are there already."""

    def update(self, done: int) -> None:
        """``done`` bytes of the file are there."""

    def finish(self) -> None:
        """The file is complete and checked."""
