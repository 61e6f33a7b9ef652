// The features of one flight, as numbers. Calendar features come out of small tables, so that a block of a few hundred
// thousand values is filled in milliseconds; the definitions are shared by the cluster's job and by its check.

const MINUTES_PER_DAY = 1440
const DAYS_PER_YEAR = 366
const HARMONICS = 6

/** Columns of the block that the reductions use by name. */
export const COLUMN = { delay: 0, distance: 1, hour: 2, weekday: 3, dayOfYear: 4 } as const

function columnNames(): readonly string[] {
  const names = ['delay', 'distance', 'hour', 'weekday', 'day of year']
  for (const period of ['day', 'week', 'year']) {
    for (let k = 1; k <= HARMONICS; k++) names.push(`sin ${k}/${period}`, `cos ${k}/${period}`)
  }
  for (let hour = 0; hour < 24; hour++) names.push(`is hour ${hour}`)
  for (let weekday = 0; weekday < 7; weekday++) names.push(`is weekday ${weekday}`)
  for (let power = 2; power <= 5; power++) names.push(`distance^${power}`)
  for (let k = 1; k <= HARMONICS; k++) names.push(`distance x sin ${k}/day`, `distance x cos ${k}/day`)
  for (let k = 1; k <= 4; k++) names.push(`distance x sin ${k}/year`, `distance x cos ${k}/year`)
  return names
}

export const FEATURE_NAMES: readonly string[] = columnNames()
export const FEATURE_COUNT = FEATURE_NAMES.length

/** sin and cos of the first harmonics for each of `steps` positions in a period: [position][sin 1, cos 1, sin 2, …]. */
function harmonicTable(steps: number): Float64Array {
  const table = new Float64Array(steps * HARMONICS * 2)
  for (let step = 0; step < steps; step++) {
    for (let k = 1; k <= HARMONICS; k++) {
      const angle = (2 * Math.PI * k * step) / steps
      table[(step * HARMONICS + k - 1) * 2] = Math.sin(angle)
      table[(step * HARMONICS + k - 1) * 2 + 1] = Math.cos(angle)
    }
  }
  return table
}

const DAY = harmonicTable(MINUTES_PER_DAY)
const WEEK = harmonicTable(7)
const YEAR = harmonicTable(DAYS_PER_YEAR)

/**
 * Writes the features of one flight into `row`, in the order of FEATURE_NAMES.
 * @param minute minutes since 2001-01-01T00:00 local time @param delay minutes @param distance miles
 */
export function writeFeatures(minute: number, delay: number, distance: number, row: Float64Array): void {
  const minuteOfDay = minute % MINUTES_PER_DAY
  const day = Math.floor(minute / MINUTES_PER_DAY)
  const hour = Math.floor(minuteOfDay / 60)
  const weekday = (day + 1) % 7 // 2001-01-01 was a Monday.
  const miles = distance / 1000
  row[0] = delay
  row[1] = miles
  row[2] = hour
  row[3] = weekday
  row[4] = day
  let column = 5
  column = copyHarmonics(DAY, minuteOfDay, row, column)
  column = copyHarmonics(WEEK, weekday, row, column)
  column = copyHarmonics(YEAR, day, row, column)
  for (let h = 0; h < 24; h++) row[column++] = h === hour ? 1 : 0
  for (let d = 0; d < 7; d++) row[column++] = d === weekday ? 1 : 0
  for (let power = 2, value = miles * miles; power <= 5; power++, value *= miles) row[column++] = value
  for (let i = 0; i < HARMONICS * 2; i++) row[column++] = miles * (DAY[minuteOfDay * HARMONICS * 2 + i] as number)
  for (let i = 0; i < 8; i++) row[column++] = miles * (YEAR[day * HARMONICS * 2 + i] as number)
}

function copyHarmonics(table: Float64Array, step: number, row: Float64Array, column: number): number {
  const start = step * HARMONICS * 2
  for (let i = 0; i < HARMONICS * 2; i++) row[column + i] = table[start + i] as number
  return column + HARMONICS * 2
}

/**
 * Columns of the regression: delay explained by distance, the time of day and the day of the week. (The records cover only
 * part of a year, over which the year's harmonics are nearly dependent on each other: they would make the answer meaningless.)
 */
export const REGRESSORS: readonly string[] = [
  'distance',
  ...[1, 2, 3].flatMap((k) => [`sin ${k}/day`, `cos ${k}/day`]),
  ...[1, 2].flatMap((k) => [`sin ${k}/week`, `cos ${k}/week`]),
]
