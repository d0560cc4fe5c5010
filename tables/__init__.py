"""Files of rows, read row by row, and files written whole. Only parquet needs pyarrow, imported when one is opened."""
