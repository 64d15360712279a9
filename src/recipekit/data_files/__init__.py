"""Reading rows of data files: JSON lines, CSV, TSV, Parquet and Arrow, plain or compressed.

Sources and label files share it, so that each fault of a file has one message.
"""
