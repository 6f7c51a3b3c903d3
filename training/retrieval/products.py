"""What the item tower reads of a product: an index of its own if it sold often enough, its fields, its words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from training.retrieval.log import F32, I32, Catalogue, PurchaseLog

FIELDS = ("department", "category", "subcategory", "brand")
GROUP = FIELDS.index("subcategory")
TEXT = ("subcategory", "manufacturer", "size")
WORDS = 8
BUCKETS = 4_096
RARE = 0
SPANS = (7.0, 28.0)
"""Days over which sales are counted."""


@dataclass(frozen=True)
class Products:
    """The catalogue's N products. index: int32 (N,), 1 and up for those with an embedding of their own, `RARE` for all
    others. fields: int32 (N, 4), each field's values counted on from the last one's. words: int32 (N, 8), hashes of the
    text's words from 1, 0 for none. fields_size: values of all fields."""

    index: I32
    fields: I32
    words: I32
    fields_size: int

    @property
    def index_size(self) -> int:
        """Embeddings of single products, with that of the rare ones."""
        return int(self.index.max()) + 1

    @classmethod
    def of(cls, log: PurchaseLog, min_count: int) -> Products:
        """Products bought at least `min_count` times in the log get an index."""
        sold = np.bincount(log.items, minlength=log.catalogue.shape[1])
        index = np.zeros(len(sold), np.int32)
        often = sold >= min_count
        index[often] = 1 + np.arange(often.sum(), dtype=np.int32)
        codes = np.stack([log.catalogue.codes(name) for name in FIELDS], axis=1)
        sizes = codes.max(axis=0) + 1
        base = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        return cls(index, (codes + base).astype(np.int32), hashed_words(log.catalogue), int(sizes.sum()))


def hashed_words(catalogue: Catalogue) -> I32:
    """Buckets 1 to `BUCKETS` of the first eight words of each product, int32 (N, 8), 0 where there are fewer.

    A word is hashed with the column it stands in: 16 is one thing as a size, another as a manufacturer.
    """
    found = np.zeros((catalogue.shape[1], WORDS), np.int32)
    bucket: dict[str, int] = {}
    for i, texts in enumerate(zip(*(catalogue.content[name] for name in TEXT), strict=True)):
        words = [f"{n}={w}" for n, t in zip(TEXT, texts, strict=True) for w in re.findall(r"[\w./%]+", str(t).lower())]
        for place, word in enumerate(words[:WORDS]):
            if word not in bucket:
                bucket[word] = 1 + crc32(word.encode()) % BUCKETS
            found[i, place] = bucket[word]
    return found


def sales(log: PurchaseLog, moment: float) -> F32:
    """Logarithms of one plus the purchases of each product in the 7 and the 28 days before `moment`, (N, 2)."""
    counts = []
    end = np.searchsorted(log.at, moment)
    for days in SPANS:
        start = np.searchsorted(log.at, moment - days)
        counts.append(np.bincount(log.items[start:end], minlength=log.catalogue.shape[1]))
    return np.log1p(np.stack(counts, axis=1)).astype(np.float32)
