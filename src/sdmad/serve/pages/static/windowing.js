// Window and level: which values become black, grey and white.

// Grey of a value 0 to 1 within the window, and beyond it.
const shade = (share, inverted) => {
  const grey = Math.round(255 * Math.min(1, Math.max(0, share)));
  return inverted ? 255 - grey : grey;
};

// The pixel (red, green, blue and opaque) of each of 65536 raw values, as DICOM's linear function has
// it (PS3.3 C.11.2.1.2.1).
export function greys({ center, width }, slope, intercept, inverted) {
  const table = new Uint8Array(4 * 65536);
  const span = Math.max(width - 1, 1e-6);
  for (let raw = 0; raw < 65536; raw += 1) {
    const grey = shade((raw * slope + intercept - (center - 0.5)) / span + 0.5, inverted);
    table.fill(grey, 4 * raw, 4 * raw + 3);
    table[4 * raw + 3] = 255;
  }
  return new Uint32Array(table.buffer);
}

// The same of one channel of colours, for which there is no such standard: brightness and contrast.
export function tone({ center, width }, inverted) {
  return Uint8Array.from({ length: 256 }, (_, value) => shade((value - center) / Math.max(width, 1e-6) + 0.5, inverted));
}

// The values between which all but a share of the pixels lie.
function between(plane, share) {
  const counts = new Uint32Array(65536);
  for (const value of plane.values) counts[value] += 1;
  const edge = share * plane.values.length;
  const from = (step, start) => {
    let [place, seen] = [start, counts[start]];
    while (seen <= edge && place + step >= 0 && place + step < 65536) {
      place += step;
      seen += counts[place];
    }
    return place * plane.slope + plane.intercept;
  };
  return [from(1, 0), from(-1, 65535)];
}

const spanning = ([low, high]) => ({ center: (low + high) / 2, width: Math.max(high - low, plainStep(high)) });
const plainStep = (value) => Math.max(Math.abs(value) * 1e-3, 1e-3);

const HOUNSFIELD = [
  ["CT: brain", 40, 80], ["CT: soft tissue", 40, 400], ["CT: lung", -600, 1500], ["CT: bone", 400, 1800],
];

// Named windows of an image; the first is its own.
export function presets(plane) {
  if (plane.channels > 1) return [["As stored", { center: 127.5, width: 255 }], ["More contrast", { center: 127.5, width: 150 }], ["Brighter", { center: 95, width: 200 }]];
  const middle = spanning(between(plane, 0.01));
  const own = plane.windowWidth > 0 && plane.center !== null ? { center: plane.center, width: plane.windowWidth } : middle;
  const list = [
    ["As stored", own], ["Middle 98%", middle], ["All values", spanning(between(plane, 0))],
    ["High contrast", { center: own.center, width: own.width / 2 }], ["Low contrast", { center: own.center, width: own.width * 2 }],
  ];
  if (plane.intercept <= -1000) for (const [name, center, width] of HOUNSFIELD) list.push([name, { center, width }]);
  return list;
}
