// What a run prints: the same tables for the terminal and, with `--markdown`, for docs/benchmarks.md.

import { formatBytes } from 'plimsoll'
import { type BenchCase, type Figure, type Grid, SYSTEM_TITLES, type System, type Target, type Unit } from './case.ts'
import { type CaseReport, type Measured, type Ratio, type Reached, type Spread, valueOf } from './figures.ts'
import type { Surroundings } from './surroundings.ts'

export type Style = 'text' | 'markdown'

export const RESULT_HEADERS = ['case', 'figure', 'system', 'median', 'min to max', 'Plimsoll is better by']
export const TARGET_HEADERS = ['case', 'to reach', 'reached', '']

export function formatNumber(value: number, unit: Unit): string {
  switch (unit) {
    case 'bytes':
      return formatBytes(value)
    case 'bytes/s':
      return `${formatBytes(value)}/s`
    case 'tasks/s':
      return `${grouped(value)}/s`
    case 'count':
      return grouped(value)
    case 'times':
      return `${value.toFixed(3)} x`
    default:
      return `${digits(value)} ${unit}`
  }
}

function digits(value: number): string {
  const size = Math.abs(value)
  if (size >= 100) return value.toFixed(0)
  return value.toFixed(size >= 10 ? 1 : size >= 1 ? 2 : 3)
}

function grouped(value: number): string {
  return Math.round(value).toLocaleString('en')
}

export function resultRows(bench: BenchCase, report: CaseReport): string[][] {
  const shown = bench.figures.filter(({ detail }) => detail !== true)
  return shown.flatMap((figure) =>
    (Object.keys(report.systems) as System[]).flatMap((system) => {
      const measured = report.systems[system] as Measured
      const spread = measured.figures[figure.name]
      if (spread !== undefined) return [measuredRow(report, figure, system, spread, measured)]
      // A system that ran but has no such figure is not compared in it.
      if (measured.failures.length < measured.samples.length) return []
      return [[report.id, figure.title, SYSTEM_TITLES[system], `not measured: ${measured.failures[0] ?? ''}`, '', '']]
    }),
  )
}

/** The table that a case has of its own, if it has one and was measured. */
export function caseGrid(bench: BenchCase, report: CaseReport): Grid | null {
  const spreads = Object.entries(report.systems.plimsoll?.figures ?? {})
  if (bench.grid === undefined || spreads.length === 0) return null
  return bench.grid(Object.fromEntries(spreads.map(([name, { median }]) => [name, median])))
}

function measuredRow(
  report: CaseReport,
  figure: Figure,
  system: System,
  spread: Spread,
  { samples, failures }: Measured,
): string[] {
  const ratio = report.ratios.find((each: Ratio) => each.figure === figure.name && each.peer === system)
  const failed = failures.length === 0 ? '' : ` (${failures.length} of ${samples.length} runs failed: ${failures[0]})`
  const range =
    samples.length === 1 ? '' : `${formatNumber(spread.min, figure.unit)} to ${formatNumber(spread.max, figure.unit)}`
  return [
    report.id,
    figure.summary === 'worst' ? `${figure.title} (worst)` : figure.title,
    SYSTEM_TITLES[system],
    formatNumber(valueOf(figure, spread), figure.unit) + failed,
    range,
    ratio === undefined ? '' : `${digits(ratio.times)} x`,
  ]
}

export function targetRows(bench: BenchCase, report: CaseReport): string[][] {
  return report.reached.map(({ target, value, met }: Reached) => {
    const figure = bench.figures.find(({ name }) => name === target.figure) as Figure
    const verdict = met === null ? 'not measured' : met ? 'met' : 'missed'
    const reached = value === null ? '' : 'atLeast' in target ? `${digits(value)} x` : formatNumber(value, figure.unit)
    return [report.id, targetText(figure, target), reached, verdict]
  })
}

function targetText(figure: Figure, target: Target): string {
  if ('atLeast' in target) {
    return `${figure.title}: at least ${target.atLeast} x better than ${SYSTEM_TITLES[target.timesBetterThan]}`
  }
  return `${figure.title}: at most ${formatNumber(target.atMost, figure.unit)}`
}

export function formatRows(style: Style, headers: readonly string[], rows: readonly (readonly string[])[]): string {
  if (style === 'markdown') {
    const line = (cells: readonly string[]): string =>
      `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
    return [line(headers), `|${headers.map(() => '---').join('|')}|`, ...rows.map(line)].join('\n')
  }
  const widths = headers.map((header, column) =>
    Math.max(header.length, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd()
  return [line(headers), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n')
}

/** Where and with what it was measured, in one sentence. */
export function formatSurroundings({ date, machine, versions, load }: Surroundings): string {
  const parts = Object.entries(versions).map(([name, version]) => `${name} ${version}`)
  return `${date.slice(0, 10)}; ${machine.cores} cores (${machine.model}), ${formatBytes(machine.memoryBytes)}, ${machine.platform}; load before ${load.before.toFixed(2)}, after ${load.after.toFixed(2)}; ${parts.join(', ')}`
}
