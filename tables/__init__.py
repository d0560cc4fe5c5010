"""Files of rows, read row by row: what evaluation and batch scoring share. Parquet alone needs pyarrow, where one is opened."""
