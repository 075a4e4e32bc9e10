"""Signs of the fundus phantom: what each one paints on the retina, the disc or the vessels.

Places are rows and columns in [-1, 1], lengths are halves of the picture's side.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sdmad.phantoms.base import grid, smooth_noise
from sdmad.phantoms.fundus_anatomy import choroid
from sdmad.phantoms.fundus_scene import Scene, Sign, blob, paint_disc, rgb
from sdmad.phantoms.fundus_vessels import Ink, Points, draw_lines, draw_vessels, path
from sdmad.phantoms.ultrasound_scan import ANGLE, wavy

Rng = np.random.Generator
_BLOOD, _SCLERA = rgb(0.56, 0.28, 0.36), rgb(0.98, 0.87, 0.68)
_ALL = (slice(None), slice(None))


def tortuous_veins(s: Scene, rng: Rng) -> None:
    """Broad veins that wind to and fro."""
    turns, phase = rng.uniform(24, 34, (2, 2)), rng.uniform(0, 2 * np.pi, (2, 2))
    amount, wide = rng.uniform(0.018, 0.026), rng.uniform(1.4, 1.7)

    def bend(points: Points) -> Points:
        far = np.hypot(points[:, 0] - s.disc.row, points[:, 1] - s.disc.col)
        waves = np.sin(points[:, None, :] * turns + phase).sum(1)[:, ::-1]
        return np.asarray(points + amount * np.clip(far / 0.3, 0, 1)[:, None] * waves)

    s.vessels = [
        replace(v, points=bend(v.points), width=wide * v.width) if v.vein else v for v in s.vessels
    ]
    s.shares = draw_vessels(s.size, s.vessels)


def strong_tessellation(s: Scene, rng: Rng) -> None:
    """Thinned retina through which a net of broad orange choroidal vessels shows."""
    net = choroid(rng, s.size)
    y, x = grid(s.size)
    far = np.hypot(y - np.float32(s.fovea[0]), x - np.float32(s.fovea[1]))
    _, disc = blob(s, (s.disc.row, s.disc.col), (s.disc.radius, s.disc.radius), soft=0.02)
    box = s.box(s.disc.row, s.disc.col, s.disc.radius + max(0.02, 2 / s.size))
    cover = np.clip(0.45 + far, 0, 1)
    cover[box] *= 1 - disc
    between, bright = rgb(0.62, 0.55, 0.6), rgb(1.12, 1.25, 1.3)
    tint = between + net[..., None] * (bright - between)
    s.stain(_ALL, np.asarray(cover * rng.uniform(0.8, 1.0), np.float32), tint)


def grey_elevated_retina(s: Scene, rng: Rng) -> None:
    """Grey sheet of lifted retina with folds and a rounded border, on one side of the field."""
    angle, bulge = rng.uniform(0, 2 * np.pi), rng.uniform(0.04, 0.08)
    y, x = grid(s.size)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    out, along = cos * x + sin * y, cos * y - sin * x
    border = rng.uniform(0.1, 0.3) + bulge * np.cos(along * rng.uniform(4, 8) + rng.uniform(0, 6))
    depth = out - border - 0.25 * along * along
    cover = np.clip(depth / 0.03 + 0.5, 0, 1)
    winding = 0.5 * smooth_noise(rng, s.size, 4) + rng.uniform(0.3, 0.6) * smooth_noise(
        rng, s.size, 8
    )
    folds = np.sin(depth * rng.uniform(22, 32) + 2.2 * winding)
    rim = np.exp(-(((depth - 0.02) / 0.025) ** 2))
    tone = 0.86 + 0.14 * folds + 0.25 * rim
    colour = tone[..., None] * rgb(0.66, 0.6, 0.54) * np.float32(rng.uniform(0.9, 1.1))
    s.paint(_ALL, np.asarray(cover * rng.uniform(0.78, 0.92), np.float32), colour)
    pull = (0.02 * s.size / 2 * np.clip(depth / 0.1, 0, 1) * (1 + 0.7 * folds)).astype(np.intp)
    place = np.arange(s.size)
    row = np.clip(place[:, None] + (pull * sin).astype(np.intp), 0, s.size - 1)
    col = np.clip(place + (pull * cos).astype(np.intp), 0, s.size - 1)
    s.shares = s.shares[row, col]


def nerve_fibre_wedge(s: Scene, rng: Rng) -> None:
    """Dark bent wedge that widens from the disc's border along an arcade."""
    y, x = grid(s.size)
    up = 1 if rng.random() < 0.5 else -1
    v, t = up * (y - np.float32(s.disc.row)), s.side * (np.float32(s.disc.col) - x)
    course = np.clip(v, 0, None) / np.sqrt(np.clip(t, 0, None) + 0.02)
    half, middle = rng.uniform(0.075, 0.11), rng.uniform(0.44, 0.56)
    far = np.hypot(v, t)
    cover = np.clip((half - np.abs(course - middle)) / 0.03 + 0.5, 0, 1) * np.clip(t / 0.03, 0, 1)
    cover = cover * np.clip((far - s.disc.radius) / 0.03, 0, 1) * np.clip((1.35 - far) / 0.5, 0, 1)
    s.stain(_ALL, np.asarray(cover, np.float32), rgb(0.7, 0.6, 0.58) * rng.uniform(0.92, 1.05))


def geographic_atrophy(s: Scene, rng: Rng) -> None:
    """Pale, sharply bounded area at the macula with choroidal vessels in its floor."""
    net = choroid(rng, s.size)
    for index in range(int(rng.integers(1, 4))):
        reach = rng.uniform(0.2, 0.3) if index == 0 else rng.uniform(0.07, 0.12)
        off = rng.normal(0, 0.04, 2) if index == 0 else rng.normal(0, 0.22, 2)
        place = s.fovea[0] + off[0], s.fovea[1] + off[1]
        half = reach, reach * rng.uniform(0.75, 1.1)
        box, cover = blob(s, place, half, rng.uniform(0, 3), 0.0, wavy(rng, 0.16, 2, 7))
        floor = rgb(0.97, 0.78, 0.54) - 0.25 * net[box][..., None] * rgb(0.35, 0.9, 0.9)
        s.paint(box, cover * np.float32(0.92), floor)


def soft_drusen(s: Scene, rng: Rng) -> None:
    """Many round pale yellow spots with vague borders about the fovea."""
    for _ in range(int(rng.integers(22, 48))):
        angle, far = rng.uniform(0, 2 * np.pi), 0.44 * rng.random() ** 0.7
        place = s.fovea[0] + far * np.sin(angle), s.fovea[1] + far * np.cos(angle)
        radius = rng.uniform(0.018, 0.048)
        box, cover = blob(s, place, (radius, radius * rng.uniform(0.8, 1.2)), soft=0.8 * radius)
        s.paint(box, cover * np.float32(rng.uniform(0.6, 0.9)), rgb(0.97, 0.78, 0.46))


def submacular_blood(s: Scene, rng: Rng) -> None:
    """Large dark red pool with a lobed border under the vessels of the macula."""
    reach = rng.uniform(0.2, 0.32)
    place = s.fovea[0] + rng.normal(0, 0.05), s.fovea[1] + rng.normal(0, 0.05)
    half, outline = (reach, reach * rng.uniform(0.8, 1.2)), wavy(rng, 0.2, 2, 6)
    box, cover = blob(s, place, half, rng.uniform(0, 3), 0.035, outline)
    s.stain(box, cover, rgb(0.5, 0.26, 0.34))
    y, x = grid(s.size)
    centre = np.hypot(y[box] - np.float32(place[0]), x[box] - np.float32(place[1]))
    deep = cover * np.exp(-((centre / (0.55 * reach)) ** 2)) * rng.uniform(0.3, 0.7)
    s.paint(box, np.asarray(deep, np.float32), rgb(0.34, 0.19, 0.14))


def lacquer_cracks(s: Scene, rng: Rng) -> None:
    """Thin jagged pale yellow lines that branch across the posterior pole."""
    lines: list[tuple[Points, float, Ink]] = []
    for _ in range(int(rng.integers(2, 5))):
        start = np.array(s.fovea) + np.array([rng.uniform(-0.35, 0.35), rng.uniform(-0.35, 0.05)])
        crack = path(rng, start, rng.normal(0, 0.3), rng.uniform(0.35, 0.7))
        crack = crack + rng.normal(0, 0.011, crack.shape)
        width = rng.uniform(0.016, 0.026)
        lines.append((crack, width, (255, 0, 0)))
        for at in rng.integers(1, len(crack) - 1, int(rng.integers(1, 3))):
            twig = path(rng, crack[at], rng.choice([-1, 1]) * rng.uniform(0.5, 1.0), 0.2)
            lines.append((twig + rng.normal(0, 0.006, twig.shape), 0.7 * width, (255, 0, 0)))
    s.paint(_ALL, draw_lines(s.size, lines)[..., 0], rgb(1.0, 0.84, 0.55))


def disc_crescent(s: Scene, rng: Rng) -> None:
    """Narrow tilted disc with a broad white crescent on its temporal side."""
    disc, broad = s.disc, rng.uniform(0.6, 1.1)
    half = disc.radius * rng.uniform(1.05, 1.2), disc.radius * (1.05 + broad / 2)
    place = disc.row, disc.col - s.side * disc.radius * broad / 2
    box, cover = blob(s, place, (half[0] + 0.02, half[1] + 0.02), disc.turn, 0.03)
    s.stain(box, cover, rgb(0.6, 0.55, 0.6))
    box, cover = blob(s, place, half, disc.turn, 0.0, wavy(rng, 0.03, 2, 7))
    s.paint(box, cover, _SCLERA * (1 + 0.04 * smooth_noise(rng, s.size, 24)[box])[..., None])
    narrow = rng.uniform(0.62, 0.76)
    s.disc = replace(
        disc, aspect=narrow, turn=disc.turn + s.side * rng.uniform(-0.3, 0.3),
        col=disc.col + s.side * disc.radius * (disc.aspect - narrow),
        rim=disc.rim * rgb(0.94, 0.84, 0.78),
    )  # fmt: skip
    paint_disc(s)


def large_cup(s: Scene, rng: Rng) -> None:
    """Pale hollow that fills most of the disc and leaves a thin rim."""
    s.disc = replace(
        s.disc, cup=rng.uniform(0.74, 0.84), shift=rng.uniform(0.0, 0.08),
        pallor=rgb(1.0, 0.95, 0.84), rim=s.disc.rim * rgb(0.96, 0.94, 0.94),
    )  # fmt: skip
    paint_disc(s)


def notched_rim(s: Scene, rng: Rng) -> None:
    """Pale hollow that breaks through the rim at the top or the bottom of the disc."""
    pole = np.pi / 2 + (np.pi if rng.random() < 0.4 else 0) + s.side * rng.uniform(0.0, 0.4)
    off = np.angle(np.exp(1j * (ANGLE - pole)))
    disc = replace(s.disc, cup=max(s.disc.cup, 0.45), shift=0.04, pallor=rgb(1.0, 0.94, 0.82))
    deep = 1.04 / disc.cup - 1
    notch = 1 + deep * np.exp(-((off / rng.uniform(0.36, 0.48)) ** 4))
    s.disc = replace(disc, notch=np.asarray(notch, np.float32))
    paint_disc(s)


def new_vessels(s: Scene, rng: Rng) -> None:
    """Tangle of fine red loops on the disc or beside an arcade."""
    if rng.random() < 0.5:
        root = np.array([s.disc.row, s.disc.col]) + rng.normal(0, 0.3, 2) * s.disc.radius
    else:
        root = np.array(s.find_place(rng, 0.2, 0.4, 0.85))
    lines: list[tuple[Points, float, Ink]] = []
    loop = np.linspace(0, 1, 30)[:, None]
    for _ in range(int(rng.integers(11, 16))):
        ends = root + rng.normal(0, 0.05, (2, 2))
        away = rng.uniform(0, 2 * np.pi)
        out = rng.uniform(0.08, 0.24) * np.array([np.sin(away), np.cos(away)])
        course = ends[0] + loop * (ends[1] - ends[0]) + np.sin(np.pi * loop) * out
        wiggle = np.sin(loop * rng.uniform(14, 40, (1, 2)) + rng.uniform(0, 6, (1, 2)))
        points = course + rng.uniform(0.012, 0.026) * wiggle
        lines.append((points, rng.uniform(0.008, 0.012), (255, 0, 0)))
    net = draw_lines(s.size, lines)[..., 0]
    s.stain(_ALL, np.clip(1.3 * net, 0, 1), rgb(0.62, 0.3, 0.34))


def dot_haemorrhages(s: Scene, rng: Rng) -> None:
    """Scattered small round dark red dots and blots."""
    for _ in range(int(rng.integers(12, 30))):
        big = rng.random() < 0.3
        radius = rng.uniform(0.028, 0.045) if big else rng.uniform(0.014, 0.024)
        place = s.find_place(rng, radius, 0.08, 0.8)
        outline = wavy(rng, 0.08, 2, 4)
        box, cover = blob(s, place, (radius, radius), 0.0, 0.012, outline)
        s.stain(box, cover, _BLOOD * rng.uniform(0.9, 1.05), 0.7)


def _streaks(s: Scene, rng: Rng, streaks: list[tuple[float, float, float, float]]) -> None:
    """Splinters of blood that point away from the disc.

    Args:
        s: the picture.
        rng: source of the draw.
        streaks: distance from the disc's centre, angle, half length and half width of each.
    """
    blood = np.zeros((s.size, s.size), np.float32)
    for far, angle, length, width in streaks:
        place = s.disc.row + far * np.sin(angle), s.disc.col + far * np.cos(angle)
        turn = angle + rng.normal(0, 0.08)
        box, cover = blob(s, place, (width, length), turn, 0.9 * width)
        blood[box] = np.maximum(blood[box], cover * np.float32(rng.uniform(0.7, 1.0)))
    s.stain(_ALL, blood, _BLOOD, 0.85)


def flame_haemorrhages(s: Scene, rng: Rng) -> None:
    """Many red streaks that fan out from the disc in one sector."""
    up = 1 if rng.random() < 0.5 else -1
    middle = up * (rng.uniform(1.9, 2.3) if s.side > 0 else rng.uniform(0.85, 1.25))
    spread, count = rng.uniform(0.4, 0.65), int(rng.integers(26, 44))
    angle = middle + rng.uniform(-spread, spread, count)
    far = s.disc.radius + rng.uniform(0.02, 0.65, count)
    long = rng.uniform(0.05, 0.13, count)
    wide = long * rng.uniform(0.2, 0.32, count)
    _streaks(s, rng, list(zip(far, angle, long, wide, strict=True)))


def disc_haemorrhage(s: Scene, rng: Rng) -> None:
    """One or two short red splinters across the border of the disc."""
    temporal = np.pi if s.side > 0 else 0.0
    up = rng.permutation([-1, 1])[: int(rng.integers(1, 3))]
    angles = temporal + up * rng.uniform(0.2, 0.9, len(up))
    _streaks(s, rng, [(s.disc.radius, a, rng.uniform(0.09, 0.12), 0.03) for a in angles])


def hard_exudates(s: Scene, rng: Rng) -> None:
    """Sharp waxy yellow specks: a ring of them, and clusters beside it."""
    for index in range(int(rng.integers(2, 5))):
        ring, reach = index == 0, rng.uniform(0.09, 0.17)
        row, col = s.find_place(rng, reach, 0.1, 0.55)
        for _ in range(int(rng.integers(14, 30))):
            angle = rng.uniform(0, 2 * np.pi)
            far = reach * (rng.normal(0.85, 0.1) if ring else np.sqrt(rng.random()))
            place = row + far * np.sin(angle), col + far * np.cos(angle)
            half = rng.uniform(0.01, 0.024, 2)
            box, cover = blob(s, place, (half[0], half[1]), rng.uniform(0, 3))
            s.paint(box, cover, rgb(1.0, rng.uniform(0.86, 0.94), rng.uniform(0.4, 0.55)), 0.8)


def cotton_wool_spots(s: Scene, rng: Rng) -> None:
    """A few fluffy greyish white patches that veil the vessels."""
    for _ in range(int(rng.integers(2, 7))):
        reach = rng.uniform(0.045, 0.085)
        place = s.find_place(rng, reach, 0.3, 0.8)
        half, outline = (reach, reach * rng.uniform(0.6, 1.0)), wavy(rng, 0.25, 2, 8)
        box, cover = blob(s, place, half, rng.uniform(0, 3), 0.8 * reach, outline)
        s.paint(box, cover * np.float32(0.9), rgb(0.95, 0.9, 0.8), 0.8)


def horseshoe_tear(s: Scene, rng: Rng) -> None:
    """Bright red horseshoe gap with a pale flap, far from the disc."""
    reach = rng.uniform(0.11, 0.15)
    s.taken.append((s.disc.row, s.disc.col, 0.4))
    row, col = s.find_place(rng, 1.6 * reach, 0.45, 0.95)
    angle = np.arctan2(row, col) + rng.normal(0, 0.2)
    box, cover = blob(s, (row, col), (1.6 * reach, 1.6 * reach), 0.0, 0.6 * reach)
    s.paint(box, cover * np.float32(0.8), rgb(0.74, 0.69, 0.62), 0.5)
    half = 0.95 * reach, reach
    box, gap = blob(s, (row, col), half, angle, 0.0, wavy(rng, 0.05, 2, 5))
    s.paint(box, gap, rgb(0.8, 0.16, 0.08), 1.0)
    base = row + 0.62 * reach * np.sin(angle), col + 0.62 * reach * np.cos(angle)
    box, flap = blob(s, base, (0.46 * reach, 1.05 * reach), angle, 0.0, wavy(rng, 0.08, 2, 5))
    s.paint(box, flap, rgb(0.84, 0.76, 0.66), 1.0)


# In the order in which they are applied: vessels, what lies deep, the disc, what lies on top.
SIGNS: dict[str, Sign] = {
    function.__name__: function
    for function in (
        tortuous_veins,
        strong_tessellation,
        grey_elevated_retina,
        nerve_fibre_wedge,
        geographic_atrophy,
        submacular_blood,
        soft_drusen,
        lacquer_cracks,
        disc_crescent,
        large_cup,
        notched_rim,
        cotton_wool_spots,
        hard_exudates,
        new_vessels,
        dot_haemorrhages,
        flame_haemorrhages,
        disc_haemorrhage,
        horseshoe_tear,
    )
}
