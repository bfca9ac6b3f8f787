/* format -- numbers for people. */
export function number(v: number | undefined, digits = 0): string {
  return v === undefined || !Number.isFinite(v) ? "-" : v.toLocaleString("en", { maximumFractionDigits: digits });
}

export function bytes(v: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (v >= 1024 && i < units.length - 1) { v /= 1024; i++; }
  return `${number(v, 1)} ${units[i]}`;
}

export function short(v: number): string {
  const steps: [number, string][] = [[1e12, " trillion"], [1e9, " billion"], [1e6, " million"]];
  for (const [size, word] of steps) if (Math.abs(v) >= size) return `${number(v / size, 1)}${word}`;
  return number(v, v < 10 ? 2 : 0);
}

export function duration(s: number): string {
  if (s < 1) return `${number(1000 * s)} ms`;
  if (s < 120) return `${number(s, 1)} s`;
  return s < 7200 ? `${number(s / 60)} min` : `${number(s / 3600, 1)} h`;
}
