// The colours of a map: viridis, which grows evenly in lightness, also for the colour-blind.

const STOPS = [
  [68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140],
  [40, 174, 128], [94, 201, 98], [173, 220, 48], [253, 231, 37],
];

// 256 colours, three bytes each.
const VIRIDIS = Uint8Array.from({ length: 768 }, (_, i) => {
  const place = Math.floor(i / 3) / 255 * (STOPS.length - 1);
  const below = Math.min(STOPS.length - 2, Math.floor(place));
  const [from, to] = [STOPS[below][i % 3], STOPS[below + 1][i % 3]];
  return Math.round(from + (place - below) * (to - from));
});

// How opaque a strength is: the weaker part of a map is left clear, so that the image stays to be seen.
const opacity = Uint8Array.from({ length: 256 }, (_, strength) => {
  const share = Math.min(1, Math.max(0, (strength / 255 - 0.3) / 0.5));
  return Math.round(255 * share * share * (3 - 2 * share));
});

// A map as pixels.
export function painted({ width, height, strength }) {
  const image = new ImageData(width, height);
  const { data } = image;
  for (let i = 0, to = 0; i < strength.length; i += 1, to += 4) {
    const from = 3 * strength[i];
    data[to] = VIRIDIS[from];
    data[to + 1] = VIRIDIS[from + 1];
    data[to + 2] = VIRIDIS[from + 2];
    data[to + 3] = opacity[strength[i]];
  }
  return image;
}

// The colours from weak to strong, as opaque as in the map.
export function legend(canvas) {
  canvas.width = 256;
  canvas.height = 1;
  const strength = Uint8Array.from({ length: 256 }, (_, i) => i);
  canvas.getContext("2d").putImageData(painted({ width: 256, height: 1, strength }), 0, 0);
}
