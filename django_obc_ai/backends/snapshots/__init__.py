"""Moments of an index on disk, written once and mapped by all processes of a machine.

Stores of vectors and stores of words keep their files alike; see docs/explanation/search-index.md.

| module | holds |
| --- | --- |
| `files` | files with sums, manifests with their own |
| `kinds` | what is common to snapshots of every kind, and what a kind has to say |
| `folders` | where the snapshots of an index are, and who may write there |
| `stores` | a store over them: load, change in memory, write the next one |
"""
