"""Archives: millions of images, on one machine or a cluster, here or in an object store.

Images are listed once and cut into shards; Ray Data streams them through decoder processes and
towers, and each shard's rows become one Parquet file (`sdmad.archive.rows` has its columns).
"""
