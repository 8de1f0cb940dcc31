"""One module per layout of data sets; its file name, with `-` for `_`, is the name behind `--data.layout`.

A layout module has `read(settings) -> ImageTable` and `recognise(root) -> str`: the reason why the folder has this
layout, or "". A published data set has its counts in `PUBLISHED` too, by the name of the table.
"""
