/** Colours that stay apart for any number of clusters, by day and by night. */

/** Cluster -> colour as (red, green, blue), 0 to 255. The hue steps by the golden angle; lightness alternates. */
export function colour(cluster: number, dark: boolean): [number, number, number] {
  if (cluster < 0) return dark ? [110, 116, 124] : [165, 165, 160];
  const hue = (cluster * 137.508 + 255) % 360;
  const lightness = (dark ? [0.78, 0.68, 0.86] : [0.55, 0.66, 0.45])[cluster % 3] ?? 0.6;
  return fromOklch(lightness, dark ? 0.125 : 0.145, hue);
}

/** Source: Björn Ottosson, "A perceptual color space for image processing" (2020). */
function fromOklch(lightness: number, chroma: number, hue: number): [number, number, number] {
  const [a, b] = [chroma * Math.cos((hue * Math.PI) / 180), chroma * Math.sin((hue * Math.PI) / 180)];
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear: [number, number, number] = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  return linear.map((value) => {
    const shown = value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055;
    return Math.round(255 * Math.min(1, Math.max(0, shown)));
  }) as [number, number, number];
}

/** As a canvas' pixels hold it on a little-endian machine, opaque. */
export const packed = ([red, green, blue]: [number, number, number]): number => (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
