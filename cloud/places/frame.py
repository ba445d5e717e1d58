"""From a floor's metres to the Earth and to its picture, and back."""

import math
from dataclasses import dataclass

from cloud.places.models import Location, Picture

EARTH_M = 6_371_008.8
"""Mean radius (IUGG)."""
DEGREE_M = math.pi * EARTH_M / 180


@dataclass(frozen=True, slots=True)
class Globe:
    """A plane that touches the Earth at the store's corner: over 200 m off by a centimetre (below 60° of latitude)."""

    location: Location

    def to_lon_lat(self, x_m: float, y_m: float) -> tuple[float, float]:
        """Degrees of WGS 84, the longitude first as in GeoJSON; 9 decimals are 0.1 mm."""
        turn = math.radians(self.location.bearing_deg)
        east, north = x_m * math.cos(turn) + y_m * math.sin(turn), y_m * math.cos(turn) - x_m * math.sin(turn)
        lat = self.location.lat + north / DEGREE_M
        lon = self.location.lon + east / (DEGREE_M * math.cos(math.radians(self.location.lat)))
        return round((lon + 540) % 360 - 180, 9), round(lat, 9)

    def to_metres(self, lon: float, lat: float) -> tuple[float, float]:
        """To a tenth of a millimetre."""
        turn = math.radians(self.location.bearing_deg)
        apart = (lon - self.location.lon + 540) % 360 - 180
        east = apart * DEGREE_M * math.cos(math.radians(self.location.lat))
        north = (lat - self.location.lat) * DEGREE_M
        x_m, y_m = east * math.cos(turn) - north * math.sin(turn), east * math.sin(turn) + north * math.cos(turn)
        return round(x_m, 4), round(y_m, 4)


def apart_m(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Along the Earth's surface (haversine): for rings of kilometres."""
    phi, other_phi = math.radians(lat), math.radians(other_lat)
    half = math.sin((other_phi - phi) / 2) ** 2
    half += math.cos(phi) * math.cos(other_phi) * math.sin(math.radians(other_lon - lon) / 2) ** 2
    return 2 * EARTH_M * math.asin(min(1.0, math.sqrt(half)))


@dataclass(frozen=True, slots=True)
class Scale:
    """A picture's place on its floor: turned, scaled and shifted, never skewed. The picture's y axis points down."""

    m_per_px: float
    turn_deg: float
    """Counter-clockwise; 0 for a picture whose right edge points along x."""
    matrix: tuple[float, float, float, float, float, float]
    """(a, b, c, d, e, f): x_m = a x_px + c y_px + e, y_m = b x_px + d y_px + f, as SVG's matrix() and PDF write it."""

    @classmethod
    def of(cls, picture: Picture) -> "Scale":
        """From the picture's two spots, which `holds` found to be apart."""
        p, q = picture.fixes
        factor = complex(q.x_m - p.x_m, q.y_m - p.y_m) / complex(q.x_px - p.x_px, -(q.y_px - p.y_px))
        shift = complex(p.x_m, p.y_m) - factor * complex(p.x_px, -p.y_px)
        a, b = factor.real, factor.imag
        return cls(abs(factor), math.degrees(math.atan2(b, a)), (a, b, b, -a, shift.real, shift.imag))

    def to_metres(self, x_px: float, y_px: float) -> tuple[float, float]:
        """A pixel's place on the floor."""
        a, b, c, d, e, f = self.matrix
        return a * x_px + c * y_px + e, b * x_px + d * y_px + f
