// Sizes and durations as people write them. 1 kB = 1000, 1 KiB = 1024; the output is always binary.

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1e3,
  kb: 1e3,
  m: 1e6,
  mb: 1e6,
  g: 1e9,
  gb: 1e9,
  t: 1e12,
  tb: 1e12,
  p: 1e15,
  pb: 1e15,
  ki: 2 ** 10,
  kib: 2 ** 10,
  mi: 2 ** 20,
  mib: 2 ** 20,
  gi: 2 ** 30,
  gib: 2 ** 30,
  ti: 2 ** 40,
  tib: 2 ** 40,
  pi: 2 ** 50,
  pib: 2 ** 50,
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  ms: 1,
  '': 1000,
  s: 1000,
  sec: 1000,
  second: 1000,
  seconds: 1000,
  m: 60_000,
  min: 60_000,
  minute: 60_000,
  minutes: 60_000,
  h: 3_600_000,
  hour: 3_600_000,
  hours: 3_600_000,
  d: 86_400_000,
  day: 86_400_000,
  days: 86_400_000,
}

const QUANTITY = /^\s*(\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)?\s*([a-z]*)\s*$/i

function parseQuantity(text: unknown, units: Readonly<Record<string, number>>): number | undefined {
  if (typeof text !== 'string') return undefined
  const match = QUANTITY.exec(text)
  if (match === null || text.trim() === '') return undefined
  const factor = units[(match[2] ?? '').toLowerCase()]
  if (factor === undefined) return undefined
  return (match[1] === undefined ? 1 : Number(match[1])) * factor
}

/**
 * Bytes from a number or a text such as `"4 GiB"`, `"600MB"`, `"1e6"`; a unit alone counts one of it.
 * @throws RangeError that names the text and the accepted units.
 */
export function parseBytes(value: string | number): number {
  const bytes = typeof value === 'number' ? value : parseQuantity(value, SIZE_UNITS)
  if (bytes === undefined || !Number.isFinite(bytes) || bytes < 0) {
    throw new RangeError(
      `"${String(value)}" is not a size: write bytes, or a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, such as "4 GiB"`,
    )
  }
  return Math.floor(bytes)
}

/**
 * Milliseconds from a number (milliseconds) or a text such as `"30s"`, `"5 min"`, `"100ms"`; a text without a unit is seconds.
 * @throws RangeError that names the text and the accepted units.
 */
export function parseDurationMs(value: string | number): number {
  const ms = typeof value === 'number' ? value : parseQuantity(value, DURATION_UNITS)
  if (ms === undefined || !Number.isFinite(ms) || ms < 0) {
    throw new RangeError(
      `"${String(value)}" is not a duration: write milliseconds, or a number with ms, s, min, h or d, such as "30s"`,
    )
  }
  return ms
}

/** `"1.50 GiB"`; below 1 KiB `"12 B"`. The unit is chosen so that the number stays below 1000 where it can. */
export function formatBytes(bytes: number): string {
  const sign = bytes < 0 ? '-' : ''
  const size = Math.abs(bytes)
  for (const [unit, factor] of [
    ['PiB', 2 ** 50],
    ['TiB', 2 ** 40],
    ['GiB', 2 ** 30],
    ['MiB', 2 ** 20],
    ['KiB', 2 ** 10],
  ] as const) {
    if (size >= factor * 0.9) return `${sign}${(size / factor).toFixed(2)} ${unit}`
  }
  return `${sign}${Math.round(size)} B`
}

/** `"12 ms"`, `"3.4 s"`, `"2 min 5 s"`, `"1 h 4 min"`. */
export function formatDurationMs(ms: number): string {
  if (ms < 1) return `${Math.round(ms * 1000)} us`
  if (ms < 1000) return `${Math.round(ms)} ms`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.floor((ms % 60_000) / 1000)} s`
  return `${Math.floor(ms / 3_600_000)} h ${Math.floor((ms % 3_600_000) / 60_000)} min`
}
