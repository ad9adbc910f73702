"""Compiled programs kept on disk, so that the next process does not compile them again.

JAX has one such cache for a process: it is opened by the first program that is compiled after its
folder is set, and stays open. No part of a process can have it to itself, so that the package does
not enter it on its own: it is for whoever owns the process, which the command line does.
"""

import os
import sys
import tempfile
from pathlib import Path

__all__ = ["enable_compilation_cache"]

LARGEST = 1 << 30
"""Bytes of kept programs above which the oldest are deleted, down to half as many."""

THRESHOLDS = {
    "jax_persistent_cache_min_compile_time_secs": (1.0, 0.0),
    "jax_persistent_cache_min_entry_size_bytes": (0, -1),
}
"""What JAX does not keep: its own default, and ours. A fit has many programs that compile in less
than its second, and together take several."""


def enable_compilation_cache(folder: str | os.PathLike[str] | None = None) -> Path | None:
    """Keep compiled programs on disk, for this process from now on and for the next ones.

    A first fit in a process compiles for some seconds; with its programs kept that falls to tenths
    of a second. Call it before the first fit. The command line does so by itself; the library never
    does, because the setting is JAX's and holds for everything that the process compiles.

    A cache that is set already (by ``JAX_COMPILATION_CACHE_DIR`` or in ``jax.config``) or switched
    off (``JAX_ENABLE_COMPILATION_CACHE=false``) stays as it is. Where the folder cannot be
    written, or belongs to somebody else, nothing is kept and nothing is said: programs in it are
    run as they are found.

    Parameters
    ----------
    folder : path, optional
        Made if need be. When not given, ``bayesgmm/programs`` in the user's folder for caches:
        that of ``XDG_CACHE_HOME`` if it is set, else ``~/.cache``, on macOS ``~/Library/Caches``
        and on Windows ``%LOCALAPPDATA%``. It may be deleted at any time. In that folder, the
        oldest programs are deleted when all together take more than a gigabyte.

    Returns
    -------
    Path or None
        The folder that is now in use, None if there is none.

    Examples
    --------
    >>> import bayesgmm
    >>> bayesgmm.enable_compilation_cache()    # doctest: +SKIP
    PosixPath('/home/me/.cache/bayesgmm/programs')

    References
    ----------
    https://docs.jax.dev/en/latest/persistent_compilation_cache.html
    """
    import jax

    if not jax.config.jax_enable_compilation_cache:
        return None
    if jax.config.jax_compilation_cache_dir is not None:
        return Path(jax.config.jax_compilation_cache_dir)
    found = _own(default_folder() if folder is None else Path(folder))
    if found is None:
        return None
    if folder is None:
        _prune(found)
    jax.config.update("jax_compilation_cache_dir", str(found))
    for name, (theirs, ours) in THRESHOLDS.items():
        if getattr(jax.config, name) == theirs:
            jax.config.update(name, ours)
    return found


def default_folder() -> Path:
    """Where programs are kept when nobody says where."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):  # others are to be ignored, says the specification
        return Path(given) / "bayesgmm" / "programs"
    return CACHES.get(sys.platform, _of_unix)() / "bayesgmm" / "programs"


def _of_unix() -> Path:
    return Path(os.path.expanduser("~")) / ".cache"


def _of_mac() -> Path:
    return Path(os.path.expanduser("~")) / "Library" / "Caches"


def _of_windows() -> Path:
    return Path(os.environ.get("LOCALAPPDATA") or os.path.expanduser(r"~\AppData\Local"))


CACHES = {"darwin": _of_mac, "win32": _of_windows}
"""The user's folder for caches, by platform; any other has that of Unix."""


def _own(folder: Path) -> Path | None:
    """The folder, made, if it is the user's and can be written; else None."""
    try:
        folder = folder.expanduser().absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if hasattr(os, "getuid") and folder.stat().st_uid != os.getuid():
            return None
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0")
    except (OSError, RuntimeError):  # RuntimeError: there is no home
        return None
    return folder


def _prune(folder: Path) -> None:
    """Delete the oldest files if all together are too large; another process may do the same."""
    found = []
    for file in folder.iterdir():
        try:
            about = file.stat()
        except OSError:
            continue
        found.append((about.st_mtime, about.st_size, file))
    left = sum(size for _, size, _ in found)
    if left <= LARGEST:
        return
    for _, size, file in sorted(found, key=lambda row: row[0]):
        if left <= LARGEST // 2:
            return
        try:
            file.unlink()
        except OSError:
            continue
        left -= size
