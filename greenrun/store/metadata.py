"""What all tables of greenrun belong to, and how their keys, indexes and checks are named."""

from typing import ClassVar

from sqlalchemy import MetaData
from sqlmodel import SQLModel

METADATA = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


class Record(SQLModel):
    """Gives every table of greenrun its own metadata, apart from anybody else's SQLModel tables."""

    metadata: ClassVar[MetaData] = METADATA
