"""The label table: which image carries which category, patient and split."""

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sdmad.data.address import file_of
from sdmad.data.csvfile import CsvRow, read_csv
from sdmad.data.finding import FileFinder, Folders, why_missing
from sdmad.data.labels import Labels, canonical_name, is_unknown, read_labels
from sdmad.errors import InputError

FILE_COLUMNS = (
    *("file", "imageindex", "image", "path", "filename", "imagepath", "filepath", "imagefile"),
    *("imagename", "imgpath", "img", "imageid"),
)
PATIENT_COLUMNS = ("patient", "patientid")
SPLIT_COLUMN = "split"
POOL_SPLITS = frozenset({"train", "training", "val", "valid", "validation"})
MOST_ROWS = 5
"""Rows that a note names at most."""

EVALUATION_SPLITS = frozenset({"test", "testing"})


@dataclass(frozen=True)
class LabelTable:
    """Labels of n images for K categories, row by row as in the CSV file.

    Attributes:
        path: the CSV file, or the folder of a data set that has no table.
        files: absolute address of each image: a path, or ``volume#slice``.
        rows: line of the CSV on which each image stands (the header is line 1); where there is no
            table, the number of the image in the order of the folders, from 1.
        labels: 1 present, 0 absent, NaN unknown, shape ``(n, K)``, float64.
        categories: the K names.
        normal: images that the table declares normal; where it has no column for normal, those
            whose labels are all known and 0, and who have nothing but 0 and empty cells in ignored
            columns of findings. Shape ``(n,)``, bool.
        patients: patient of each image ("" where the cell is empty), or None without such a column.
        splits: split of each image in lower case, or None without such a column.
        notes: what a user should know about how the table was read.
    """

    path: Path
    files: tuple[Path, ...]
    rows: tuple[int, ...]
    labels: NDArray[np.float64]
    categories: tuple[str, ...]
    normal: NDArray[np.bool_]
    patients: tuple[str, ...] | None
    splits: tuple[str, ...] | None
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    @property
    def folder(self) -> Path:
        """The folder that file names are relative to."""
        return self.path if self.path.is_dir() else self.path.parent

    def missing(self) -> tuple[int, ...]:
        """Return the indices of the images whose file does not exist."""
        folders = Folders()
        return tuple(i for i, file in enumerate(self.files) if not folders.has(file_of(file)))

    def ordered(self, categories: Sequence[str]) -> "LabelTable":
        """Return the table with its categories named and ordered as in a sign bank.

        Args:
            categories: names that equal the table's but for case, spaces, underscores, hyphens.

        Raises:
            InputError: if a name is missing on either side.
        """
        columns = self.columns(categories)
        return replace(self, labels=self.labels[:, columns], categories=tuple(categories))

    def columns(self, categories: Sequence[str]) -> list[int]:
        """Return where the categories of a sign bank stand in this table, in the bank's order.

        Args:
            categories: as :meth:`ordered` takes them.

        Raises:
            InputError: if a name is missing on either side.
        """
        mine = {canonical_name(name): k for k, name in enumerate(self.categories)}
        wanted = [canonical_name(name) for name in categories]
        if sorted(wanted) != sorted(mine):
            lacking = [name for name in categories if canonical_name(name) not in mine]
            extra = [name for name in self.categories if canonical_name(name) not in wanted]
            raise InputError(
                f"{self.path}: the categories differ from those asked for: not in the table: "
                f"{', '.join(lacking) or 'none'}; only in the table: {', '.join(extra) or 'none'}"
            )
        return [mine[key] for key in wanted]

    def patient_keys(self) -> tuple[str, ...]:
        """Return a key for each image, equal for images of one patient.

        An image without a patient (no column, or an empty cell) is a patient of its own.
        """
        patients = self.patients or ("",) * len(self)
        return tuple(
            f"patient {patient}" if patient else f"image {file}"
            for patient, file in zip(patients, self.files, strict=True)
        )

    def digest(self) -> str:
        """SHA-256 of names, labels, splits and patients, wherever the files lie, 64 hex digits."""
        found = hashlib.sha256(np.ascontiguousarray(self.labels).tobytes())
        sides, patients = (column or ("",) * len(self) for column in (self.splits, self.patients))
        for row in zip(self.files, sides, patients, strict=True):
            found.update(repr((row[0].name, *row[1:])).encode())
        return found.hexdigest()

    def subset(self, choice: NDArray[np.bool_] | Sequence[int]) -> "LabelTable":
        """Return the table with some of its rows.

        Args:
            choice: boolean mask, shape ``(n,)``, or indices in the wanted order.

        Raises:
            ValueError: if the mask has another length or an index is out of range.
        """
        picked = np.asarray(choice)
        if picked.dtype == np.bool_:
            if picked.shape != (len(self),):
                raise ValueError(f"expected a mask of shape ({len(self)},), got {picked.shape}")
            picked = np.flatnonzero(picked)
        picked = picked.astype(np.int64)
        if picked.size and (picked.min() < 0 or picked.max() >= len(self)):
            raise ValueError(f"expected indices from 0 to {len(self) - 1}, got {picked.tolist()}")
        order = picked.tolist()

        def take(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
            return None if values is None else tuple(values[i] for i in order)

        return replace(
            self,
            files=tuple(self.files[i] for i in order),
            rows=tuple(self.rows[i] for i in order),
            labels=self.labels[picked],
            normal=self.normal[picked],
            patients=take(self.patients),
            splits=take(self.splits),
        )

    def pools(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_], tuple[str, ...]]:
        """Say which images the support may come from and which are evaluated.

        Rows marked train, training, val, valid or validation are the pool, rows marked test or
        testing the evaluation. Where the table has no splits, or only one of the two sides, the
        split is ignored: every image is in the pool, and all that is not drawn is evaluated.

        Returns:
            Two boolean masks, shape ``(n,)`` each, and notes.

        Raises:
            InputError: if a row's split is empty or has another value.
        """
        everything = np.ones(len(self), dtype=np.bool_)
        if self.splits is None or not any(self.splits):
            return everything, everything.copy(), ()
        for row, split in zip(self.rows, self.splits, strict=True):
            if split not in POOL_SPLITS | EVALUATION_SPLITS:
                raise InputError(
                    f"{self.path}, row {row}, column split: {split!r} is not a split; "
                    "use train, val or test, or remove the column"
                )
        pool = np.array([split in POOL_SPLITS for split in self.splits], dtype=np.bool_)
        if pool.all() or not pool.any():
            values = ", ".join(sorted(set(self.splits)))
            side = "test rows" if pool.all() else "train or val rows"
            note = (
                f"split column ignored: it has no {side} (only {values}); "
                "every image outside the draw is evaluated"
            )
            return everything, everything.copy(), (note,)
        return pool, ~pool, ()


def read_label_table(
    path: str | os.PathLike[str], categories: Sequence[str] | None = None
) -> LabelTable:
    """Read a CSV file of images and labels.

    Columns: `file` (also `Image Index`, `image`, `path`, `filename`, `image_path`, `image_id` and
    their like; relative to the CSV's folder), optional `patient` (`patient_id`, `Patient ID`) and
    `split`, then either one column a category (1, 0, empty for unknown; also true/false, yes/no
    and `1,0`) or one `labels` column (`Finding Labels`, `label`) with names separated by `|`,
    empty for unknown. In both, names match whatever their case, spaces, underscores and hyphens.
    `normal`, `No Finding`, `none` and `healthy` are the normal class; `NA`, `n/a`, `nan` and `null`
    are empty. Where a `labels` column stands beside category columns, it alone is read.

    A file that is not there to the letter is found where only backslashes, the case or a missing
    suffix are in the way; a note says so. Another note counts the files that are missing.

    Args:
        path: the CSV file; separated by commas, semicolons or tabs, in UTF-8.
        categories: names and order of the categories, as in a sign bank; None takes them from the
            table: all names in the labels column, sorted, or all columns that hold only 1, 0 and
            empty cells, in their order.

    Returns:
        The table. Identical repeated rows are dropped, with a note.

    Raises:
        InputError: if the table cannot be used; names the file, the row and the column.
    """
    table = parse_label_table(path, categories)
    return replace(table, notes=(*table.notes, *_missing_note(table)))


def parse_label_table(
    path: str | os.PathLike[str],
    categories: Sequence[str] | None = None,
    locate: Callable[[str], Path] | None = None,
) -> LabelTable:
    """Read a label table as `read_label_table` does, whether or not its images are there.

    Args:
        path: the CSV file.
        categories: names and order of the categories; None takes them from the table.
        locate: turns a file name of the table into an absolute address; by default it is relative
            to the table's folder.

    Raises:
        InputError: if the table cannot be read.
    """
    path = absolute_path(path)
    header, body = read_csv(path)
    names = [canonical_name(name) for name in header]
    file_column = _find_column(path, header, names, FILE_COLUMNS)
    if file_column is None:
        raise InputError(
            f"{path}: no column named file (or Image Index, image, path, filename, image_id); "
            f"the first line must name the columns, found: {', '.join(header)}"
        )
    patient_column = _find_column(path, header, names, PATIENT_COLUMNS, only=True)
    split_column = _find_column(path, header, names, (SPLIT_COLUMN,))
    reserved = {*FILE_COLUMNS, *PATIENT_COLUMNS, SPLIT_COLUMN}
    labels = read_labels(path, header, body, reserved, categories)
    _check_known(path, labels)
    finder = FileFinder(path.parent)
    locate = locate or finder
    table = LabelTable(
        path=path,
        files=tuple(locate(_file_name(path, row, file_column, header)) for row in body),
        rows=tuple(row.line for row in body),
        labels=labels.values,
        categories=labels.categories,
        normal=labels.normal,
        patients=_column(body, patient_column),
        splits=_lower(_column(body, split_column)),
        notes=(*labels.notes, *finder.notes),
    )
    return _without_repeats(table)


def absolute_path(path: str | os.PathLike[str]) -> Path:
    """Make a path absolute and free of `..`, without following links."""
    return Path(os.path.normpath(Path.cwd() / path))


def _missing_note(table: LabelTable) -> tuple[str, ...]:
    """Says how many files are missing; refuses a table without a single one."""
    missing, folder = table.missing(), table.path.parent
    if not missing:
        return ()
    if len(missing) == len(table):
        first = table.files[0]
        raise InputError(
            f"{table.path}: none of the {len(table)} files exists; looked for {first}"
            f"{why_missing(first, folder)}. File names are relative to the table's folder, {folder}"
        )
    rows = _listed([table.rows[i] for i in missing])
    return (f"{len(missing)} of the {len(table)} files are missing (row {rows})",)


def _listed(rows: Sequence[int]) -> str:
    """The first of some rows."""
    return ", ".join(map(str, rows[:MOST_ROWS])) + (", ..." if len(rows) > MOST_ROWS else "")


def _find_column(
    path: Path,
    header: Sequence[str],
    names: Sequence[str],
    wanted: Sequence[str],
    only: bool = False,
) -> int | None:
    """Return the position of the first of the wanted names; `only` forbids two of them."""
    found = [(wanted.index(name), i) for i, name in enumerate(names) if name in wanted]
    if not found:
        return None
    rank, position = min(found)
    if sum(only or other == rank for other, _ in found) > 1:
        columns = " and ".join(header[i] for _, i in found)
        raise InputError(f"{path}: columns {columns} mean the same; keep one of them")
    return position


def _file_name(path: Path, row: CsvRow, column: int, header: Sequence[str]) -> str:
    cell = row.cells[column]
    if not cell:
        raise InputError(f"{path}, row {row.line}, column {header[column]}: no file name")
    return cell


def _column(body: Sequence[CsvRow], column: int | None) -> tuple[str, ...] | None:
    if column is None:
        return None
    return tuple("" if is_unknown(row.cells[column]) else row.cells[column] for row in body)


def _lower(values: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(value.casefold() for value in values)


def _without_repeats(table: LabelTable) -> LabelTable:
    """Drop identical rows of one file; refuse rows of one file that disagree."""
    first: dict[Path, int] = {}
    keep, dropped = [], []
    for i, file in enumerate(table.files):
        original = first.setdefault(file, i)
        if original == i:
            keep.append(i)
        elif _same(table, original, i):
            dropped.append(table.rows[i])
        else:
            raise InputError(
                f"{table.path}, rows {table.rows[original]} and {table.rows[i]}: "
                f"{file.name} stands twice with different labels, patient or split; keep one row"
            )
    if not dropped:
        return table
    note = f"{len(dropped)} repeated rows dropped (row {_listed(dropped)})"
    return replace(table.subset(keep), notes=(*table.notes, note))


def _same(table: LabelTable, a: int, b: int) -> bool:
    return bool(
        np.array_equal(table.labels[a], table.labels[b], equal_nan=True)
        and table.normal[a] == table.normal[b]
        and (table.patients is None or table.patients[a] == table.patients[b])
        and (table.splits is None or table.splits[a] == table.splits[b])
    )


def _check_known(path: Path, labels: Labels) -> None:
    if np.isnan(labels.values).all():
        raise InputError(
            f"{path}: every label is unknown; "
            f"fill in {labels.source} (categories: {', '.join(labels.categories)})"
        )
