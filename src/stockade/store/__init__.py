"""The one database of an installation: records by kind, namespace and key, and the journal of operations.

The law: nothing else opens it; it knows no kind of record, only that each is a msgspec struct. SQLite in WAL mode with
synchronous=NORMAL: a killed process loses nothing that was told done, a power cut may lose the last records but never
consistency. Every call is made in the loop's thread and takes some hundredths of a millisecond. Imports errors only.
"""

from stockade.store.database import NAMESPACE, Store, Table
from stockade.store.journal import Context, Journal, Operation, Step, Verb

__all__ = ["NAMESPACE", "Context", "Journal", "Operation", "Step", "Store", "Table", "Verb"]
