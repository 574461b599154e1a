"""Glue between the format and the bindings that `build.sh` generates from `wit/`. Parsing doesn't belong here."""

from componentize_py_types import Err, Ok, Result
from wit_world import exports
from wit_world.exports import data_adapter
from wit_world.exports.data_adapter import Content_Demonstration, Descriptor, Origin, Row
from wit_world.imports.source import Source
from wit_world.imports.types import Error

import tsv

# The open file of this instance, which reads one.
_reader: tsv.Reader | None = None


def _read(source: Source, length: int) -> bytes:
    try:
        return source.read(length)
    except Err as error:
        raise tsv.PluginError("read-failed", f"source: {error.value}") from None


def _result(row: tsv.Demonstration | tsv.RowError) -> Result[Row, data_adapter.RowError]:
    origin = Origin(row.line, row.row)
    if isinstance(row, tsv.RowError):
        return Err(data_adapter.RowError(origin, row.field, row.message))
    content = Content_Demonstration(data_adapter.Demonstration(row.prompt, row.response))
    return Ok(Row(origin, content, extra=[]))


class DataAdapter(exports.DataAdapter):
    """The exported interface; its functions are documented in `wit/data-adapter.wit`."""

    def describe(self) -> Descriptor:
        return Descriptor(tsv.NAME, tsv.VERSION, tsv.SUMMARY, tsv.EXTENSIONS, extra=[])

    def open(self, source: Source, options: str) -> None:
        global _reader
        try:
            tsv.check_options(options)
        except tsv.PluginError as error:
            raise Err(Error(error.code, error.message)) from None
        _reader = tsv.Reader(lambda length: _read(source, length))

    def next(self, max: int) -> list[Result[Row, data_adapter.RowError]]:
        if _reader is None:
            raise Err(Error("not-open", "`next` was called before `open`"))
        try:
            return [_result(row) for row in _reader.batch(max)]
        except tsv.PluginError as error:
            raise Err(Error(error.code, error.message)) from None
