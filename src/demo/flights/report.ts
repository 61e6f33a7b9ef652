// The answers and the memory report as small tables.

import { formatBytes } from '../../base/units.ts'
import { formatTable } from '../../diagnostics/table.ts'
import type { SchedulerInfo } from '../../protocol/scheduler-client.ts'
import { FEATURE_NAMES, REGRESSORS } from './features.ts'
import type { Answers } from './check.ts'

const SHOWN = 5

function worstHours(answers: Answers): string {
  const cells = [...answers.delays]
    .filter(([, { count }]) => count >= 200)
    .map(([cell, { sum, count }]) => ({ cell, count, mean: sum / count }))
  cells.sort((a, b) => b.mean - a.mean)
  const rows = cells.slice(0, SHOWN).map(({ cell, count, mean }) => {
    const [origin, hour] = cell.split('|') as [string, string]
    return [origin, `${hour.padStart(2, '0')}:00`, String(count), mean.toFixed(1)]
  })
  return formatTable(['origin', 'hour', 'flights', 'mean delay, min'], rows)
}

function worstRoutes(answers: Answers): string {
  const routes = answers.routes.toSorted((a, b) => b.p95 - a.p95 || a.route.localeCompare(b.route)).slice(0, SHOWN)
  return formatTable(
    ['route', 'flights', 'p95 delay, min'],
    routes.map((route) => [route.route, String(route.flights), String(route.p95)]),
  )
}

function regression(answers: Answers): string {
  const names = ['intercept', ...REGRESSORS.map((name) => (name === 'distance' ? 'distance, 1000 miles' : name))]
  const rows = names.slice(0, SHOWN).map((name, k) => [name, (answers.coefficients[k] as number).toFixed(3)])
  return formatTable(['delay, min', 'coefficient'], rows)
}

function summaries(answers: Answers): string {
  const { summary } = answers
  const rows = ['delay', 'distance', 'hour'].map((name) => {
    const column = FEATURE_NAMES.indexOf(name)
    const mean = (summary.sum[column] as number) / summary.count
    const deviation = Math.sqrt((summary.squares[column] as number) / summary.count - mean * mean)
    return [name, mean.toFixed(3), deviation.toFixed(3), String(summary.min[column]), String(summary.max[column])]
  })
  return formatTable(['feature', 'mean', 'deviation', 'min', 'max'], rows)
}

export function formatAnswers(answers: Answers): string {
  return [
    `Worst hours to leave (of ${answers.delays.size} hours and origins)`,
    worstHours(answers),
    '',
    `Worst routes (of ${answers.routes.length} busy ones)`,
    worstRoutes(answers),
    '',
    'What explains a delay (least squares, first terms)',
    regression(answers),
    '',
    `Features (${answers.summary.count} flights, 3 of ${FEATURE_NAMES.length} features)`,
    summaries(answers),
  ].join('\n')
}

export function formatMemoryReport(info: SchedulerInfo): string {
  const rows = Object.values(info.workers).map((worker) => [
    worker.name,
    formatBytes(worker.memoryLimit),
    formatBytes(worker.processPeak),
    formatBytes(worker.memory.managed),
    formatBytes(worker.spilledTotal),
    String(worker.restarts),
  ])
  return [
    'Memory',
    formatTable(['worker', 'limit', 'peak process memory', 'managed', 'spilled', 'restarts'], rows),
  ].join('\n')
}
