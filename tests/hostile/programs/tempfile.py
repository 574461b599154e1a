import tempfile

tempfile.NamedTemporaryFile()
