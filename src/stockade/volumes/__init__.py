"""Volumes: directories that outlive the containers which have them mounted. Knows neither containers nor images."""

from .values import Asked, Volume
from .volumes import Volumes

__all__ = ["Asked", "Volume", "Volumes"]
