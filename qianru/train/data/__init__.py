"""Files of examples -> batches of texts.

    examples.py   Ranked, Scored, Labelled, Plain: what one row says
    columns.py    the column names that people use -> one of these
    lines.py      JSONL, CSV and TSV by an index of byte offsets: rows of files larger than memory
    arrow.py      Parquet files and folders of Hugging Face datasets, mapped, not read
    sets.py       DataSet: a file, its columns, its weight, its prompts; every row checked before training begins
    sampler.py    which rows make the next batch, from a seed and a few counters that a checkpoint keeps
    batches.py    rows -> Batch: every text once, and who must not be whose negative
"""
