"""Fits a head to the table, alone or beside the image: two more candidates."""

from components.table_trainer.component import TableTrainer

__all__ = ["TableTrainer"]
