// The colours of a map: viridis, which grows evenly in lightness, also for the colour-blind.

const STOPS = [
  [68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140],
  [40, 174, 128], [94, 201, 98], [173, 220, 48], [253, 231, 37],
];

// 256 colours, three bytes each.
export const VIRIDIS = Uint8Array.from({ length: 768 }, (_, i) => {
  const place = Math.floor(i / 3) / 255 * (STOPS.length - 1);
  const below = Math.min(STOPS.length - 2, Math.floor(place));
  const [from, to] = [STOPS[below][i % 3], STOPS[below + 1][i % 3]];
  return Math.round(from + (place - below) * (to - from));
});

// A map as pixels: weak places are left clear, so that the image stays to be seen.
export function painted({ width, height, strength }) {
  const image = new ImageData(width, height);
  const { data } = image;
  for (let i = 0, to = 0; i < strength.length; i += 1, to += 4) {
    const from = 3 * strength[i];
    data[to] = VIRIDIS[from];
    data[to + 1] = VIRIDIS[from + 1];
    data[to + 2] = VIRIDIS[from + 2];
    data[to + 3] = Math.min(255, 1.6 * strength[i]);
  }
  return image;
}

export function legend(canvas) {
  canvas.width = 256;
  canvas.height = 1;
  const image = new ImageData(256, 1);
  for (let i = 0; i < 256; i += 1) image.data.set([...VIRIDIS.subarray(3 * i, 3 * i + 3), 255], 4 * i);
  canvas.getContext("2d").putImageData(image, 0, 0);
}
