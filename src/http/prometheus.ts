// Metrics as Prometheus reads them (text exposition format 0.0.4).

import { text, type HttpReply } from './server.ts'

export interface Metric {
  /** Without the prefix `plimsoll_`. */
  readonly name: string
  readonly help: string
  readonly type: 'gauge' | 'counter'
  readonly samples: readonly { readonly labels?: Readonly<Record<string, string>>; readonly value: number }[]
}

const PREFIX = 'plimsoll_'

export function metricsReply(metrics: readonly Metric[]): HttpReply {
  return text(renderMetrics(metrics), 'text/plain; version=0.0.4; charset=utf-8')
}

/** One family per metric, in the order given; a metric without samples still tells that it exists. */
export function renderMetrics(metrics: readonly Metric[]): string {
  const lines: string[] = []
  for (const { name, help, type, samples } of metrics) {
    lines.push(`# HELP ${PREFIX}${name} ${escapeHelp(help)}`, `# TYPE ${PREFIX}${name} ${type}`)
    for (const { labels = {}, value } of samples) lines.push(`${PREFIX}${name}${renderLabels(labels)} ${number(value)}`)
  }
  return `${lines.join('\n')}\n`
}

/** One sample per entry, with its name as this label. */
export function byLabel(label: string, values: Readonly<Record<string, number>>): Metric['samples'] {
  return samplesOf(label, values, (value) => value)
}

/** As `byLabel`, for one figure of each entry. */
export function samplesOf<Entry>(
  label: string,
  entries: Readonly<Record<string, Entry>>,
  of: (entry: Entry) => number,
): Metric['samples'] {
  return Object.entries(entries).map(([name, entry]) => ({ labels: { [label]: name }, value: of(entry) }))
}

/** What any process can tell of itself. */
export function processMetrics(): Metric[] {
  const { user, system } = process.cpuUsage()
  return [
    {
      name: 'process_cpu_seconds_total',
      help: 'CPU time of this process.',
      type: 'counter',
      samples: [{ value: (user + system) / 1e6 }],
    },
    {
      name: 'process_resident_memory_bytes',
      help: 'Resident size of this process.',
      type: 'gauge',
      samples: [{ value: process.memoryUsage.rss() }],
    },
    {
      name: 'process_uptime_seconds',
      help: 'Age of this process.',
      type: 'gauge',
      samples: [{ value: process.uptime() }],
    },
  ]
}

function renderLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function number(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return '+Inf'
  if (value === Number.NEGATIVE_INFINITY) return '-Inf'
  return String(value)
}

const escapeHelp = (help: string): string => help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')
const escapeLabel = (value: string): string => escapeHelp(value).replaceAll('"', '\\"')
