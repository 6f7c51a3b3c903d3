"""The descriptors that server reflection tells of: those of the Open Inference Protocol lie in a pool of their own."""

from __future__ import annotations

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool


def gathered(*files: FileDescriptor) -> DescriptorPool:
    """One pool of these files and all that they import, whichever pools they lie in."""
    pool = DescriptorPool()
    seen: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name in seen:
            return
        seen.add(file.name)
        for imported in file.dependencies:
            add(imported)
        pool.AddSerializedFile(file.serialized_pb)

    for file in files:
        add(file)
    return pool
